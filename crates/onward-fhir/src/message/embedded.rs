//! A document carried as bytes: R4 DocumentReference and Binary around the STU3 document.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::{DocumentPart, Message};
use crate::bundle::Bundle;
use crate::read::{self, Format};
use crate::tree::{Element, Release};

/// Padding is optional in what is met; everything else is strict.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A document taken out of its attachment.
#[derive(Clone)]
pub struct EmbeddedDocument {
    /// Its bytes: patient data.
    pub bytes: Vec<u8>,
    /// How they are written.
    pub format: Format,
    /// FHIR release by the media type's `fhirVersion`; `None` when it does not tell (the content does).
    pub release: Option<Release>,
}

impl std::fmt::Debug for EmbeddedDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedDocument")
            .field("bytes", &self.bytes.len())
            .field("format", &self.format)
            .field("release", &self.release)
            .finish()
    }
}

/// Why there is no embedded document to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddedError {
    /// The message carries its document in another way, or none.
    #[error("the message does not carry its document as an attachment")]
    NotEmbedded,
    /// The Binary or Attachment has no data.
    #[error("the attachment has no data")]
    NoData,
    /// The data is not base64.
    #[error("the attachment's data is not base64")]
    NotBase64,
    /// The media type is not FHIR XML or JSON.
    #[error("the attachment's media type is not application/fhir+xml or application/fhir+json")]
    MediaType,
}

/// Base64 as FHIR allows it: white space between the characters, padding or none.
///
/// # Errors
/// When it is not base64.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, EmbeddedError> {
    // White space is below every letter of base64, and the least byte is found many bytes at a time.
    let least = text.bytes().fold(u8::MAX, u8::min);
    let decoded = if least <= b' ' {
        let dense: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        BASE64.decode(dense)
    } else {
        BASE64.decode(text)
    };
    decoded.map_err(|_| EmbeddedError::NotBase64)
}

/// The data of a Binary (`content` in STU3, `data` in R4) or of an Attachment.
#[must_use]
pub fn data_of<'t, 's>(holder: Element<'t, 's>) -> Option<Element<'t, 's>> {
    holder.get("data").or_else(|| holder.get("content")).filter(|data| data.value().is_some())
}

pub(super) fn part<'t, 's>(bundle: &Bundle<'t, 's>, reference: Element<'t, 's>) -> DocumentPart<'t, 's> {
    let attachments = || reference.all("content").filter_map(|content| content.get("attachment"));
    for attachment in attachments() {
        let binary = match attachment.text("url") {
            Some(url) => bundle.resolve_text(url).filter(|resource| resource.is("Binary")),
            None => data_of(attachment).map(|_| attachment),
        };
        if let Some(binary) = binary {
            let media_type = attachment.text("contentType").or_else(|| binary.text("contentType"));
            return DocumentPart::Embedded { reference, binary, media_type };
        }
    }
    DocumentPart::Missing
}

impl Message<'_, '_> {
    /// Decodes the document of a [`DocumentPart::Embedded`] message.
    ///
    /// # Errors
    /// When there is none, it has no data, the data is not base64 or its media type is not FHIR.
    pub fn embedded_document(&self) -> Result<EmbeddedDocument, EmbeddedError> {
        let DocumentPart::Embedded { binary, media_type, .. } = self.document else {
            return Err(EmbeddedError::NotEmbedded);
        };
        let (format, release) = fhir_media_type(media_type.unwrap_or_default()).ok_or(EmbeddedError::MediaType)?;
        let data = data_of(binary).and_then(Element::value).ok_or(EmbeddedError::NoData)?;
        Ok(EmbeddedDocument { bytes: decode_base64(data)?, format, release })
    }
}

/// Format and release of a FHIR media type (`application/fhir+xml; fhirVersion=3.0`).
fn fhir_media_type(text: &str) -> Option<(Format, Option<Release>)> {
    let format = read::format_of_media_type(text)?;
    let version = text.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("fhirVersion").then(|| value.trim().trim_matches('"'))
    });
    let release = match version {
        Some(version) if version.starts_with("3.") => Some(Release::Stu3),
        Some(version) if version.starts_with("4.") => Some(Release::R4),
        _ => None,
    };
    Some((format, release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        assert_eq!(fhir_media_type("application/fhir+xml; fhirVersion=3.0"), Some((Format::Xml, Some(Release::Stu3))));
        assert_eq!(
            fhir_media_type("APPLICATION/FHIR+JSON;charset=utf-8;fhirversion=\"4.0\""),
            Some((Format::Json, Some(Release::R4)))
        );
        assert_eq!(fhir_media_type("application/fhir+xml"), Some((Format::Xml, None)));
        assert_eq!(fhir_media_type("application/pdf"), None);
        assert_eq!(fhir_media_type(""), None);
    }

    #[test]
    fn base64_is_strict_but_for_white_space_and_padding() {
        assert_eq!(decode_base64("aGk=").as_deref(), Ok(&b"hi"[..]));
        assert_eq!(decode_base64("aG\n k").as_deref(), Ok(&b"hi"[..]));
        for bad in ["aG*k", "a", "aGk=aGk=", "aG_k"] {
            assert_eq!(decode_base64(bad), Err(EmbeddedError::NotBase64), "{bad}");
        }
    }
}
