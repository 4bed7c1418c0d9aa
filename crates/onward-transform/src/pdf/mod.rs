//! A page as PDF that can be carried: tagged (PDF/UA-1), with the person on top of every sheet.
//!
//! The content is the page itself, read by its own small vocabulary; nothing is interpreted a second time. No file, link or script of it goes
//! along.

mod faces;
mod layout;
mod markup;
mod spans;

use krilla::configure::{Accessibility, ConfigurationBuilder};
use krilla::metadata::Metadata;
use krilla::{Document, SerializeSettings};

use faces::Faces;
use markup::Block;

use crate::render::Fragment;

/// What goes onto the sheets.
struct Sheets {
    /// Title of the document; it says nothing about anybody, for it stands in windows and lists.
    title: String,
    /// On top of every sheet: whom it is about.
    person: String,
    /// At the foot of every sheet, before its number.
    foot: String,
}

/// Why there is no PDF. Never carries content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page cannot be written as PDF: {0}")]
pub struct PdfError(&'static str);

/// A stored page of ours as PDF; `foot` stands at the foot of every sheet, before its number.
///
/// # Errors
/// [`PdfError`] when it is no page of ours, or when what was drawn does not meet PDF/UA-1.
pub fn of_page(page: &str, foot: &str) -> Result<Vec<u8>, PdfError> {
    let fragment = Fragment::of(page).ok_or(PdfError("it is no page of ours"))?;
    let title = page.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let person: Vec<String> = markup::blocks(fragment.banner).iter().flat_map(markup::words_of).take(2).collect();
    let sheets = Sheets {
        title: title.map_or("Summary", |(title, _)| title).to_owned(),
        person: person.join("   "),
        foot: foot.to_owned(),
    };
    let mut blocks = markup::blocks(fragment.heading);
    blocks.extend(markup::blocks(fragment.banner));
    blocks.extend(markup::blocks(&fragment.stops));
    blocks.extend(markup::blocks(fragment.rest));
    write(&blocks, &sheets)
}

fn write(blocks: &[Block], sheets: &Sheets) -> Result<Vec<u8>, PdfError> {
    let faces = Faces::load().ok_or(PdfError("the type cannot be read"))?;
    let laid = layout::lay(blocks, sheets, faces);
    let builder = ConfigurationBuilder::new().with_accessibility_validator(Accessibility::UA1);
    let configuration = builder.finish().map_err(|_| PdfError("PDF/UA-1 is not to be had"))?;
    let mut document = Document::new_with(SerializeSettings { configuration, ..SerializeSettings::default() });
    document.set_metadata(Metadata::new().title(sheets.title.clone()).language("en-GB".to_owned()));
    layout::draw(&laid, faces, &mut document);
    document.finish().map_err(|_| PdfError("it does not meet PDF/UA-1"))
}

#[cfg(test)]
mod tests;
