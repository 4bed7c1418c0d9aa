//! The messages that are posted: the fixture's discharge, each time about another person and with identifiers of its own, grown by
//! text of its narrative; one in ten carries a PDF of 1 MB.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use onward_core::NhsNumber;
use uuid::Uuid;

use crate::demo::renewed;

const DISCHARGE: &str = include_str!("../../../../fixtures/messages/edischarge-itk3.json");
/// The person of the fixture.
const PERSON: &str = "9990000018";
/// What a ward writes.
const SENTENCE: &str =
    "<p>Seen on the morning round: comfortable, eating and drinking, walks with a frame; observations stable.</p>";
/// The PDF of one message in ten, bytes.
const PDF: usize = 1_000_000;
/// One message in so many carries it.
const PDF_EVERY: usize = 10;

/// People whom messages are about.
pub(super) const PEOPLE: usize = 1_000;

/// The media type of all of them.
pub(super) const MEDIA_TYPE: &str = "application/fhir+json";

/// Messages of one size.
pub(super) struct Messages {
    plain: String,
    with_pdf: String,
    people: Vec<String>,
    count: AtomicUsize,
}

impl Messages {
    /// Messages of about so many thousand bytes, or as small as the fixture is.
    pub(super) fn of(kilobytes: usize) -> anyhow::Result<Self> {
        let fixture: serde_json::Value = serde_json::from_str(DISCHARGE).context("the fixture")?;
        let mut plain = fixture.to_string();
        let at = plain.find("</div>").context("the fixture has a narrative")?;
        let missing = (kilobytes * 1_000).saturating_sub(plain.len());
        plain.insert_str(at, &SENTENCE.repeat(missing / SENTENCE.len()));
        let with_pdf = with_pdf(&plain).context("the fixture has a PDF")?;
        Ok(Self { plain, with_pdf, people: people(), count: AtomicUsize::new(0) })
    }

    /// Their size without a PDF, thousands of bytes.
    pub(super) fn kilobytes(&self) -> usize {
        self.plain.len().div_ceil(1_000)
    }

    /// The next message.
    pub(super) fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        self.about(&self.people[count % self.people.len()], count % PDF_EVERY == PDF_EVERY - 1)
    }

    /// As many as have the PDF as often as all of them do, about the first person.
    pub(super) fn some(&self) -> impl Iterator<Item = String> + '_ {
        (1..=PDF_EVERY).map(|count| self.about(&self.people[0], count == PDF_EVERY))
    }

    fn about(&self, person: &str, pdf: bool) -> String {
        let template = if pdf { &self.with_pdf } else { &self.plain };
        renewed(&template.replace(PERSON, person), Uuid::new_v4)
    }
}

/// Numbers of the test range.
pub(super) fn people() -> Vec<String> {
    let numbers = (1_000..).flat_map(|n: u32| (0..10).map(move |check| format!("999{n:06}{check}")));
    numbers.filter(|number| number.parse::<NhsNumber>().is_ok()).take(PEOPLE).collect()
}

/// The same with a PDF that comments have made large. They are noise, as what a PDF holds is compressed already.
fn with_pdf(text: &str) -> Option<String> {
    // "%PDF-" in base64.
    let begins = text.find("\"JVBERi")? + 1;
    let content = text[begins..].split('"').next()?;
    let mut pdf = BASE64.decode(content).ok()?;
    let mut noise = [0; 100];
    while pdf.len() < PDF {
        getrandom::fill(&mut noise).ok()?;
        pdf.extend_from_slice(b"\n%");
        // A line's end would end the comment.
        pdf.extend(noise.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    }
    pdf.extend_from_slice(b"\n%%EOF\n");
    Some(text.replace(content, &BASE64.encode(pdf)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_grow_and_one_in_ten_has_a_pdf() {
        let messages = Messages::of(60).expect("messages");
        assert!((58..=61).contains(&messages.kilobytes()), "{}", messages.kilobytes());
        let sizes: Vec<usize> = (0..20).map(|_| messages.next().len()).collect();
        assert_eq!(sizes.iter().filter(|size| **size > PDF).count(), 2, "{sizes:?}");
        assert!(!messages.next().contains(PERSON) && people().len() == PEOPLE);
        let some: Vec<_> = messages.some().collect();
        assert_eq!(some.iter().filter(|message| message.len() > PDF).count() * PDF_EVERY, some.len());
        assert_ne!(some[0], some[1], "identifiers of its own");
    }
}
