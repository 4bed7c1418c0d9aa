//! Reads FHIR JSON and XML into the one borrowed tree.
//!
//! It refuses rather than repairs: duplicate keys, lone surrogates, DOCTYPE, entities, a second root, text
//! where FHIR has none. It keeps what it accepts as written: numbers, strings, narrative, order. It does
//! not validate: an element that FHIR does not know is read like any other.

mod attributes;
pub(crate) mod json;
pub(crate) mod narrative;
pub(crate) mod xml;

use crate::tree::{Tree, line_column};

/// The two syntaxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/fhir+json`
    Json,
    /// `application/fhir+xml`
    Xml,
}

/// What a sender may make us hold. A node costs about 64 bytes beside its text.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Elements within each other, 128 at most. Elements of the narrative are counted apart, by the same limit.
    pub depth: usize,
    /// Elements altogether.
    pub nodes: usize,
    /// Bytes of the whole text.
    pub text_bytes: usize,
    /// Properties of one JSON object.
    pub properties: usize,
    /// Attributes of one XML tag, namespace declarations included.
    pub attributes: usize,
}

impl Default for Limits {
    /// Fits a body of 50 MB whose bulk is attachments, or about 15 MB of elements (32 MB of nodes).
    fn default() -> Self {
        Self { depth: 64, nodes: 500_000, text_bytes: 64 << 20, properties: 512, attributes: 64 }
    }
}

/// Depth beyond which no limit may go: the JSON reader and the writers recurse.
const DEPTH_MAX: usize = 128;

/// Why a text is not read. The answer to the sender differs by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// Not UTF-8, or begun by a byte order mark.
    Encoding,
    /// The XML declaration names another encoding or version than we read.
    Charset,
    /// Not well-formed.
    Syntax,
    /// One object or tag says the same thing twice.
    DuplicateKey,
    /// Nested beyond [`Limits::depth`].
    TooDeep,
    /// More than [`Limits::nodes`] elements.
    TooManyNodes,
    /// More than [`Limits::properties`] or [`Limits::attributes`].
    TooManyProperties,
    /// Longer than [`Limits::text_bytes`].
    TooLarge,
    /// DOCTYPE, processing instruction, or an entity that XML does not predefine.
    Doctype,
    /// An element or attribute of a namespace that FHIR does not use there.
    ForeignNamespace,
    /// A character that FHIR strings must not hold (R4 §2.24.0.1: below 32 except tab and line ends).
    ForbiddenCharacter,
    /// A number beyond the range of a double, such as `1e400`.
    NumberTooLarge,
    /// A number that is not zero but smaller than a double can tell from it, such as `1e-400`.
    NumberTooSmall,
    /// Well-formed, but not the shape of a FHIR resource (R4 §2.6.1, §2.6.2).
    NotFhir,
}

/// Why and where a text was not read. Never carries content beyond names of elements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ReadError {
    /// The reason, for the choice of an answer.
    pub kind: ReadErrorKind,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The reason, for people.
    pub message: String,
}

impl ReadError {
    fn at(text: &str, offset: usize, kind: ReadErrorKind, message: impl Into<String>) -> Self {
        let (line, column) = line_column(text, offset);
        Self { kind, line, column, message: message.into() }
    }
}

/// Reads FHIR JSON.
///
/// # Errors
/// [`ReadError`] at the first thing that is not FHIR JSON within the limits.
pub fn json<'s>(text: &'s str, limits: &Limits) -> Result<Tree<'s>, ReadError> {
    check_text(text, limits)?;
    json::read(text, limits)
}

/// Reads FHIR XML.
///
/// # Errors
/// [`ReadError`] at the first thing that is not FHIR XML within the limits.
pub fn xml<'s>(text: &'s str, limits: &Limits) -> Result<Tree<'s>, ReadError> {
    check_text(text, limits)?;
    xml::read(text, limits)
}

/// Reads a body: UTF-8 without byte order mark, in the format that its media type tells.
///
/// # Errors
/// As [`json`] and [`xml`], and for other encodings than UTF-8.
pub fn bytes<'s>(bytes: &'s [u8], format: Format, limits: &Limits) -> Result<Tree<'s>, ReadError> {
    // Length first: a body too long is not worth the look at its encoding.
    if bytes.len() > limits.text_bytes {
        return Err(ReadError::at("", 0, ReadErrorKind::TooLarge, too_large(limits)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        ReadError::at(valid, valid.len(), ReadErrorKind::Encoding, "the text is not UTF-8")
    })?;
    match format {
        Format::Json => json(text, limits),
        Format::Xml => xml(text, limits),
    }
}

/// What makes a narrative's text no XHTML `div` that stands alone (R4 §2.4.0): not well-formed, an entity of HTML, another element.
///
/// # Errors
/// [`ReadError`] with its place within the text.
pub fn narrative(text: &str) -> Result<(), ReadError> {
    narrative::for_xml(text).map(|_| ())
}

/// The format that a body looks like: the first byte that is not white space tells.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<Format> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'{' => Some(Format::Json),
        b'<' => Some(Format::Xml),
        _ => None,
    }
}

/// The format that a media type names (R4 §3.1.0.1.9, and the STU3 and generic names); parameters are not looked at.
#[must_use]
pub fn format_of_media_type(media_type: &str) -> Option<Format> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/fhir+json" | "application/json+fhir" | "application/json" | "text/json" | "json" => {
            Some(Format::Json)
        }
        "application/fhir+xml" | "application/xml+fhir" | "application/xml" | "text/xml" | "xml" => Some(Format::Xml),
        _ => None,
    }
}

fn too_large(limits: &Limits) -> String {
    format!("the text is longer than {} bytes", limits.text_bytes)
}

fn check_text(text: &str, limits: &Limits) -> Result<(), ReadError> {
    // Spans are 32 bits wide.
    if text.len() > limits.text_bytes || u32::try_from(text.len()).is_err() {
        return Err(ReadError::at(text, 0, ReadErrorKind::TooLarge, too_large(limits)));
    }
    if text.starts_with('\u{feff}') {
        return Err(ReadError::at(text, 0, ReadErrorKind::Encoding, "the text begins with a byte order mark"));
    }
    Ok(())
}

/// True for what may name an element: names reach paths, logs and XML tags, so nothing else gets in.
pub(crate) fn is_element_name(name: &str) -> bool {
    name.len() <= 80
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// True for the shape of a resource type's name.
fn is_resource_name(name: &str) -> bool {
    is_element_name(name) && name.starts_with(|c: char| c.is_ascii_uppercase())
}

/// True for a character that FHIR strings and XML 1.0 may hold.
fn is_allowed_character(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}')
}

#[cfg(test)]
mod tests;
