//! The messages that the hospital posts: synthetic ones, each time as a fresh copy with identifiers of its own.

use std::collections::HashMap;

use anyhow::Context as _;
use onward_fhir::Message;
use onward_fhir::read::{self, Format, Limits};
use uuid::Uuid;

/// A discharge that goes all the ways.
pub(super) const DISCHARGE: &str = include_str!("../../../../fixtures/messages/edischarge-itk3.xml");
/// One about a restricted person, which a person must decide about.
pub(super) const RESTRICTED: &str = include_str!("../../../../fixtures/messages/restricted-itk3.xml");
/// One with mistakes.
pub(super) const REFUSED: &str = include_str!("../../../../fixtures/messages/refused-itk3.xml");

/// One message, ready to be posted.
pub(super) struct Posting {
    /// Its bytes.
    pub(super) text: String,
    /// Their media type.
    pub(super) media_type: &'static str,
    /// Its own identifier.
    pub(super) message_id: String,
    /// MessageHeader.id: what responses name.
    pub(super) header_id: String,
}

impl Posting {
    /// A copy of `original` in which every UUID is a new one, the same one wherever it stood: message, header,
    /// document and set are new to the gateway, and every reference still resolves.
    ///
    /// # Errors
    /// When the original is no FHIR message.
    pub(super) fn fresh(original: &str) -> anyhow::Result<Self> {
        let text = renewed(original, Uuid::new_v4);
        let format = read::sniff(text.as_bytes()).context("a message of the demo is not FHIR")?;
        let tree =
            read::bytes(text.as_bytes(), format, &Limits::default()).context("a message of the demo cannot be read")?;
        let message = Message::read(tree.root()).context("a message of the demo is no message")?;
        let said = |text: Option<&str>| text.map(str::to_owned).context("a message of the demo has no identifier");
        let (message_id, header_id) = (said(message.message_id)?, said(message.header_id)?);
        let media_type = match format {
            Format::Json => "application/fhir+json",
            Format::Xml => "application/fhir+xml",
        };
        drop(tree);
        Ok(Self { message_id, header_id, media_type, text })
    }
}

/// The text with every UUID replaced, the same one by the same one.
pub(crate) fn renewed(text: &str, mut make: impl FnMut() -> Uuid) -> String {
    let mut new: HashMap<Uuid, String> = HashMap::new();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while at + 36 <= text.len() {
        let Some(found) = uuid_at(text, at) else {
            at += 1;
            continue;
        };
        out.push_str(&text[copied..at]);
        out.push_str(new.entry(found).or_insert_with(|| make().to_string()));
        at += 36;
        copied = at;
    }
    out.push_str(&text[copied..]);
    out
}

/// The hyphenated UUID that stands at a byte, alone.
fn uuid_at(text: &str, at: usize) -> Option<Uuid> {
    let bytes = text.as_bytes();
    let joined = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if at > 0 && joined(&bytes[at - 1]) || bytes.get(at + 36).is_some_and(joined) || bytes[at + 8] != b'-' {
        return None;
    }
    let found = text.get(at..at + 36)?;
    (found.matches('-').count() == 4).then(|| Uuid::try_parse(found).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use onward_fhir::Document;
    use onward_fhir::message::DocumentPart;

    use super::*;

    #[test]
    fn the_same_uuid_becomes_the_same_new_one() {
        let (a, b) = ("11111111-1111-4111-8111-111111111111", "2222aaaa-2222-4222-8222-222222222222");
        let text = format!("<id value=\"{a}\"/>é urn:uuid:{b} {} {a}x {a}-1 {a}", b.to_uppercase());
        let mut next = 0;
        let renewed = renewed(&text, || {
            next += 1;
            Uuid::from_u128(next)
        });
        let (one, two) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        assert_eq!(renewed, format!("<id value=\"{one}\"/>é urn:uuid:{two} {two} {a}x {a}-1 {one}"));
        assert_eq!(super::renewed("", Uuid::new_v4), "");
        assert_eq!(super::renewed(a, Uuid::nil), Uuid::nil().to_string());
    }

    fn identifiers(xml: &str) -> Vec<Option<String>> {
        let tree = read::xml(xml, &Limits::default()).expect("XML");
        let message = Message::read(tree.root()).expect("a message");
        let document = match message.document {
            DocumentPart::Nested(element) => Document::read(element, message.release).ok(),
            _ => None,
        };
        let of = |text: Option<&str>| text.map(str::to_owned);
        vec![
            of(message.message_id),
            of(message.header_id),
            of(document.as_ref().and_then(|document| document.document_id)),
            of(document.as_ref().and_then(|document| document.set_id)),
        ]
    }

    #[test]
    fn every_identifier_that_onward_compares_is_new() {
        for original in [DISCHARGE, RESTRICTED, REFUSED] {
            let (old, posting) = (identifiers(original), Posting::fresh(original).expect("a message"));
            let new = identifiers(&posting.text);
            assert_eq!(posting.text.len(), original.len());
            for (old, new) in old.iter().zip(&new) {
                assert!(old.is_some() == new.is_some() && (old.is_none() || old != new), "{old:?} {new:?}");
            }
            assert_eq!((&new[0], &new[1]), (&Some(posting.message_id), &Some(posting.header_id)));
        }
        assert!(identifiers(DISCHARGE).iter().all(Option::is_some));
    }
}
