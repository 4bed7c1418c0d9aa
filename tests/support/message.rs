//! Messages for tests, made from the project's fixtures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// The ITK3 eDischarge fixture.
pub const EDISCHARGE_ITK3: &str = include_str!("../../fixtures/messages/edischarge-itk3.xml");
/// The R4 fixture whose focus is a document Bundle.
pub const EDISCHARGE_R4: &str = include_str!("../../fixtures/messages/edischarge-r4.json");
/// The R4 fixture that wraps the STU3 document in a Binary.
pub const DOCUMENT_REFERENCE_R4: &str = include_str!("../../fixtures/messages/documentreference-r4.json");
/// A person whom PDS marks as restricted.
pub const RESTRICTED_ITK3: &str = include_str!("../../fixtures/messages/restricted-itk3.xml");
/// A message with several errors.
pub const REFUSED_ITK3: &str = include_str!("../../fixtures/messages/refused-itk3.xml");

/// The same message with other identifiers throughout: every UUID is replaced, each by the same new one wherever it
/// stands, so that references keep resolving.
#[must_use]
pub fn fresh(message: &str) -> String {
    let salt = Uuid::new_v4();
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = find_uuid(rest) {
        let old = &rest[at..at + 36];
        out.push_str(&rest[..at]);
        out.push_str(&Uuid::new_v5(&salt, old.to_ascii_lowercase().as_bytes()).to_string());
        rest = &rest[at + 36..];
    }
    out.push_str(rest);
    out
}

/// The ITK3 eDischarge under new identifiers, with these bytes at the end of the letter that is attached to it.
///
/// # Panics
/// When the fixture has no such letter.
#[must_use]
pub fn with_attached(tail: &str) -> String {
    let message = fresh(EDISCHARGE_ITK3);
    let (head, rest) = message.split_once("<Binary").expect("an attachment");
    let (before, rest) = rest.split_once("<content value=\"").expect("its bytes");
    let (data, rest) = rest.split_once('"').expect("closed");
    let mut bytes = STANDARD.decode(data).expect("base64");
    bytes.extend_from_slice(tail.as_bytes());
    format!("{head}<Binary{before}<content value=\"{}\"{rest}", STANDARD.encode(bytes))
}

fn find_uuid(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_uuid = |window: &[u8]| {
        window.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
    };
    (0..bytes.len().saturating_sub(35))
        .find(|at| is_uuid(&bytes[*at..at + 36]) && (*at == 0 || !bytes[at - 1].is_ascii_alphanumeric()))
}
