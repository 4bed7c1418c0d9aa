//! XHTML narrative (`Narrative.div`, R4 §2.33.6): checked for well-formedness and kept as it was written.
//!
//! Whether it is safe to show is not decided here.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::events::Event;

use super::attributes::{attribute_value, is_xml_name, reference};
use super::xml::{Namespace, Tokens};
use super::{Limits, ReadError, ReadErrorKind};

/// Reads the narrative whose start tag was the token just read, to its end tag. Text and elements are kept
/// as written. A `div` that leans on declarations outside of itself is made to stand alone: prefixes of XHTML
/// elements are taken off and the namespace is declared on the `div`.
pub(super) fn read<'s>(
    tokens: &mut Tokens<'s, '_>,
    start: Range<usize>,
    empty: bool,
) -> Result<Cow<'s, str>, ReadError> {
    let mut reader = Reader { depth: 0, edits: Vec::new(), foreign: None };
    let from = start.start;
    let mut end = start.end;
    reader.start(tokens, start, empty)?;
    while reader.depth > 0 {
        let (event, span) = tokens.next()?;
        end = span.end;
        match event {
            Event::Start(_) => reader.start(tokens, span, false)?,
            Event::Empty(_) => reader.start(tokens, span, true)?,
            Event::End(_) => reader.end(tokens, span)?,
            Event::Text(_) => {
                let text = &tokens.source[span.clone()];
                if text.as_bytes().contains(&b']') && text.contains("]]>") {
                    return tokens.fail(span.start, ReadErrorKind::Syntax, "]]> within text");
                }
            }
            Event::GeneralRef(_) => {
                let name = &tokens.source[span.start + 1..span.end - 1];
                reference(name).or_else(|(kind, message)| tokens.fail(span.start, kind, message))?;
            }
            Event::Comment(_) | Event::CData(_) => {}
            Event::DocType(_) | Event::PI(_) | Event::Decl(_) => {
                let message = "a processing instruction or DOCTYPE in narrative";
                return tokens.fail(span.start, ReadErrorKind::Doctype, message);
            }
            Event::Eof => return tokens.fail(span.start, ReadErrorKind::Syntax, "the narrative is not closed"),
        }
    }
    if reader.edits.is_empty() {
        return Ok(Cow::Borrowed(&tokens.source[from..end]));
    }
    // Taking prefixes off could move an element of another namespace into XHTML's.
    if let Some(at) = reader.foreign {
        let message = "narrative mixes prefixed XHTML with another namespace";
        return tokens.fail(at, ReadErrorKind::ForeignNamespace, message);
    }
    Ok(Cow::Owned(reader.edited(tokens.source, from, end)))
}

struct Reader {
    depth: usize,
    /// What to put in place of a range of the source, in order.
    edits: Vec<(Range<usize>, &'static str)>,
    /// The first element that is not XHTML.
    foreign: Option<usize>,
}

impl Reader {
    fn start(&mut self, tokens: &mut Tokens<'_, '_>, span: Range<usize>, empty: bool) -> Result<(), ReadError> {
        let tag = &tokens.source[span.clone()];
        let name = tag_name(tag);
        let entered = tokens.enter(tag, span.start, name)?;
        check_attributes(tokens, &entered.attributes, span.start, self.depth)?;
        if entered.namespace == Namespace::Xhtml {
            self.take_prefix_off(name, span.start + 1);
        } else {
            self.foreign = self.foreign.or(Some(span.start));
        }
        if self.depth == 0 && !entered.declares_default {
            let behind_name = span.start + 1 + name.len();
            self.edits.push((behind_name..behind_name, " xmlns=\"http://www.w3.org/1999/xhtml\""));
        }
        if empty {
            tokens.leave();
            return Ok(());
        }
        self.depth += 1;
        if self.depth > tokens.limits.depth {
            return tokens.fail(span.start, ReadErrorKind::TooDeep, "the narrative is nested too deeply");
        }
        Ok(())
    }

    fn end(&mut self, tokens: &mut Tokens<'_, '_>, span: Range<usize>) -> Result<(), ReadError> {
        let name = &tokens.source[span.start + 2..span.end - 1];
        if tokens.namespace_of(name, span.start)? == Namespace::Xhtml {
            self.take_prefix_off(name, span.start + 2);
        }
        tokens.leave();
        self.depth -= 1;
        Ok(())
    }

    fn take_prefix_off(&mut self, name: &str, name_at: usize) {
        if let Some(colon) = name.find(':') {
            self.edits.push((name_at..name_at + colon + 1, ""));
        }
    }

    fn edited(&self, source: &str, from: usize, end: usize) -> String {
        let mut text = String::with_capacity(end - from + 64);
        let mut plain_from = from;
        for (range, replacement) in &self.edits {
            text.push_str(&source[plain_from..range.start]);
            text.push_str(replacement);
            plain_from = range.end;
        }
        text.push_str(&source[plain_from..end]);
        text
    }
}

/// The name in a start tag.
pub(super) fn tag_name(tag: &str) -> &str {
    let rest = &tag[1..];
    let ends = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>');
    &rest[..rest.bytes().position(ends).unwrap_or(rest.len())]
}

fn check_attributes(
    tokens: &Tokens<'_, '_>,
    attributes: &[super::attributes::Attribute<'_>],
    tag_at: usize,
    depth: usize,
) -> Result<(), ReadError> {
    for attribute in attributes {
        let at = tag_at + attribute.at;
        if let Err((offset, kind, message)) = attribute_value(attribute.raw) {
            return tokens.fail(at + offset, kind, message);
        }
        if let Some((prefix, local)) = attribute.name.split_once(':')
            && !matches!(prefix, "xml" | "xmlns")
        {
            if !is_xml_name(local) || local.contains(':') {
                return tokens.fail(at, ReadErrorKind::Syntax, "not the name of an attribute");
            }
            // A declaration within the div is carried along with it; one outside is not.
            if !tokens.is_declared_within(prefix, depth) {
                return tokens.fail(
                    at,
                    ReadErrorKind::ForeignNamespace,
                    "an attribute's prefix is not declared in the narrative",
                );
            }
        }
    }
    Ok(())
}

/// Looks at a narrative text as JSON carries it. Gives the text to insert into XML, and whether the XHTML
/// namespace had to be declared for that.
pub(crate) fn for_xml(text: &str) -> Result<(Cow<'_, str>, bool), ReadError> {
    // The limits of the XML that it goes into.
    let limits = Limits::default();
    super::check_text(text, &limits)?;
    super::xml::check_characters(text)?;
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    // As nearly everybody writes it: the first tag need not be read twice.
    if trimmed.strip_prefix("<div xmlns=\"http://www.w3.org/1999/xhtml\"").is_some_and(|rest| rest.starts_with('>')) {
        return Ok((standing_alone(trimmed, &limits)?, false));
    }
    let mut tokens = Tokens::new(trimmed, &limits);
    let (event, span) = tokens.next()?;
    if !matches!(event, Event::Start(_) | Event::Empty(_)) {
        return tokens.fail(span.start, ReadErrorKind::Syntax, "narrative is not one div");
    }
    let tag = &trimmed[span.clone()];
    let name = tag_name(tag);
    let entered = tokens.enter(tag, span.start, name)?;
    if name.rsplit(':').next() == Some("div") && entered.namespace == Namespace::Xhtml {
        let alone = standing_alone(trimmed, &limits)?;
        let changed = matches!(alone, Cow::Owned(_));
        return Ok((alone, changed));
    }
    if name != "div" || entered.declares_default {
        return tokens.fail(span.start, ReadErrorKind::NotFhir, "narrative is not a div of XHTML");
    }
    // Read again with its declaration, so that what is inserted is what was checked.
    let declared = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"{}", &trimmed["<div".len()..]);
    standing_alone(&declared, &limits)?;
    Ok((Cow::Owned(declared), true))
}

fn standing_alone<'s>(text: &'s str, limits: &Limits) -> Result<Cow<'s, str>, ReadError> {
    let mut tokens = Tokens::new(text, limits);
    let (event, span) = tokens.next()?;
    let alone = read(&mut tokens, span, matches!(event, Event::Empty(_)))?;
    let (event, span) = tokens.next()?;
    if !matches!(event, Event::Eof) {
        return tokens.fail(span.start, ReadErrorKind::Syntax, "text after the narrative's div");
    }
    Ok(alone)
}
