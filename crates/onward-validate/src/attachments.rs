//! Rules of attachments: kinds that receivers expect (eDischarge guide), bytes that are what they say, nothing that
//! lies elsewhere.

use onward_fhir::document::{Attachment, attachments};
use onward_fhir::message::decode_base64;
use onward_fhir::{Bundle, Element};

use crate::findings::Report;
use crate::{ITK_PAYLOAD, IssueCode, Scope, Severity, shown};

/// ITK response: the kind of file is not approved.
const ITK_NOT_APPROVED: Option<u32> = Some(20004);
/// ITK response: the file is not supported.
const ITK_UNSUPPORTED: Option<u32> = Some(20005);

/// How the bytes of a kind begin.
enum Begin {
    /// With one of these.
    Bytes(&'static [&'static [u8]]),
    /// Anything that is text.
    Text,
}

struct Kind {
    media_types: &'static [&'static str],
    begin: Begin,
}

/// What receivers expect: pdf, doc, docx, rtf, html, txt, xml, jpg, png, tiff.
const KINDS: &[Kind] = &[
    Kind { media_types: &["application/pdf"], begin: Begin::Bytes(&[b"%PDF-"]) },
    Kind { media_types: &["application/msword"], begin: Begin::Bytes(&[b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"]) },
    Kind {
        media_types: &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"],
        begin: Begin::Bytes(&[b"PK\x03\x04"]),
    },
    Kind { media_types: &["application/rtf", "text/rtf"], begin: Begin::Bytes(&[b"{\\rtf"]) },
    Kind { media_types: &["image/jpeg", "image/jpg"], begin: Begin::Bytes(&[b"\xFF\xD8\xFF"]) },
    Kind { media_types: &["image/png"], begin: Begin::Bytes(&[b"\x89PNG\r\n\x1A\n"]) },
    Kind { media_types: &["image/tiff", "image/tif"], begin: Begin::Bytes(&[b"II*\0", b"MM\0*"]) },
    Kind { media_types: &["text/html", "text/plain", "text/xml", "application/xml"], begin: Begin::Text },
];

/// Beginnings that are never text.
const NOT_TEXT: [&[u8]; 5] = [b"MZ", b"\x7FELF", b"PK\x03\x04", b"%PDF-", b"\xD0\xCF\x11\xE0"];

pub(crate) fn validate(root: Element<'_, '_>, scope: Scope, report: &mut Report) {
    let level = scope.unsafe_to_carry();
    let mut bundles: Vec<Bundle<'_, '_>> = Vec::new();
    for attachment in attachments(root) {
        if carries_the_document(&attachment) {
            continue;
        }
        if attachment.url.is_some() {
            elsewhere(&attachment, level, &mut bundles, report);
        }
        if let Some(title) = attachment.title {
            check_title(&attachment, title, level, report);
        }
        match attachment.data {
            Some(data) => bytes(&attachment, data, level, report),
            None if attachment.element.is("Binary") => report.add(
                level,
                "attachment-empty",
                IssueCode::Required,
                attachment.element,
                ITK_UNSUPPORTED,
                "The Binary has no data. Send the attachment's bytes in base64, or leave the Binary out.".to_owned(),
            ),
            None => {}
        }
    }
}

/// The DocumentReference and Binary of an R4 message around its FHIR document have rules of their own.
fn carries_the_document(attachment: &Attachment<'_, '_>) -> bool {
    let fhir = attachment.media_type.is_some_and(|media_type| media_type.contains("fhir"));
    let entry = attachment.element.resource().parent();
    fhir && entry.and_then(Element::parent).is_some_and(|bundle| bundle.text("type") == Some("message"))
}

fn elsewhere<'t, 's>(
    attachment: &Attachment<'t, 's>,
    level: Severity,
    bundles: &mut Vec<Bundle<'t, 's>>,
    report: &mut Report,
) {
    let Some(url) = attachment.element.get("url") else { return };
    let text = url.value().unwrap_or_default();
    let mut around = attachment.element.parent();
    while let Some(element) = around {
        if element.is("Bundle") {
            let known = bundles.iter().position(|bundle| bundle.element() == element);
            let bundle = match known {
                Some(at) => Some(&bundles[at]),
                None => {
                    bundles.extend(Bundle::new(element));
                    bundles.last()
                }
            };
            if bundle.is_some_and(|bundle| bundle.resolve_text(text).is_some()) {
                return;
            }
            break;
        }
        around = element.parent();
    }
    report.add(
        level,
        "attachment-url",
        IssueCode::NotSupported,
        url,
        ITK_NOT_APPROVED,
        "The attachment lies outside the message; its address is not followed. Put the bytes into a Binary of the same \
         Bundle (or into data) and refer to that."
            .to_owned(),
    );
}

/// Titles become file names at receivers.
fn check_title(attachment: &Attachment<'_, '_>, title: &str, level: Severity, report: &mut Report) {
    let unfit = title.chars().any(char::is_control) || title.contains("../") || title.contains("..\\");
    if unfit {
        report.add(
            level,
            "attachment-title",
            IssueCode::Value,
            attachment.element.get("title").unwrap_or(attachment.element),
            ITK_PAYLOAD,
            "The attachment's title holds line ends, control characters or a path. Use one line of plain text."
                .to_owned(),
        );
    }
}

fn bytes(attachment: &Attachment<'_, '_>, data: Element<'_, '_>, level: Severity, report: &mut Report) {
    let kind = kind(attachment, level, report);
    let Ok(bytes) = decode_base64(data.value().unwrap_or_default()) else {
        report.error(
            "attachment-base64",
            IssueCode::Value,
            data,
            ITK_UNSUPPORTED,
            "The attachment's data is not base64. Encode the bytes with the standard alphabet (RFC 4648 §4).",
        );
        return;
    };
    size(attachment, bytes.len(), report);
    let Some(kind) = kind else { return };
    let fits = match kind.begin {
        Begin::Bytes(beginnings) => beginnings.iter().any(|beginning| bytes.starts_with(beginning)),
        Begin::Text => !bytes.contains(&0) && !NOT_TEXT.iter().any(|other| bytes.starts_with(other)),
    };
    if bytes.is_empty() || !fits {
        report.add(
            level,
            "attachment-content",
            IssueCode::Value,
            data,
            ITK_UNSUPPORTED,
            format!(
                "The bytes are not what contentType {} says: their beginning is that of another kind of file, or they are \
                 empty. Correct contentType or the bytes.",
                shown::media_type(attachment.media_type.unwrap_or_default())
            ),
        );
    } else if kind.media_types.contains(&"text/html") && is_active(&bytes) {
        report.add(
            level,
            "attachment-active",
            IssueCode::Security,
            data,
            ITK_NOT_APPROVED,
            "The HTML or XML attachment holds script. Send it without, or as PDF.".to_owned(),
        );
    }
}

/// `Attachment.size` is the number of bytes before encoding.
fn size(attachment: &Attachment<'_, '_>, length: usize, report: &mut Report) {
    let Some(size) = attachment.element.get("size") else { return };
    if size.value().and_then(|said| said.parse::<usize>().ok()).is_some_and(|said| said != length) {
        report.error(
            "attachment-size",
            IssueCode::Value,
            size,
            ITK_UNSUPPORTED,
            format!("Attachment.size is not the number of bytes of data, which is {length}: it may have been cut off."),
        );
    }
}

/// The kind of file that the media type names; tells when it is none that receivers take.
fn kind(attachment: &Attachment<'_, '_>, level: Severity, report: &mut Report) -> Option<&'static Kind> {
    let at = attachment.element.get("contentType").unwrap_or(attachment.element);
    let Some(media_type) = attachment.media_type else {
        report.add(
            level,
            "attachment-media-type",
            IssueCode::Required,
            at,
            ITK_UNSUPPORTED,
            "The attachment has no contentType. Say what it is, for example application/pdf.".to_owned(),
        );
        return None;
    };
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = KINDS.iter().find(|kind| kind.media_types.contains(&essence.as_str()));
    if kind.is_none() {
        report.add(
            level,
            "attachment-media-type",
            IssueCode::NotSupported,
            at,
            ITK_NOT_APPROVED,
            format!(
                "Receivers take pdf, doc, docx, rtf, html, txt, xml, jpg, png and tiff; contentType is {}. Convert the \
                 attachment, best to PDF.",
                shown::media_type(media_type)
            ),
        );
    }
    kind
}

fn is_active(bytes: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    let holds = |needle: &[u8]| lower.windows(needle.len()).any(|window| window == needle);
    holds(b"<script") || holds(b"javascript:") || holds(b"onerror=") || holds(b"onload=")
}
