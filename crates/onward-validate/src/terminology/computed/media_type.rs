//! Media types: RFC 6838 §4.2 for the names, RFC 2045 §5.1 for the parameters.

use crate::terminology::Membership;

/// Top-level types that are registered (RFC 6838 §4.2, RFC 8081, RFC 9695).
const TOP_LEVEL: [&str; 11] =
    ["application", "audio", "example", "font", "haptics", "image", "message", "model", "multipart", "text", "video"];

/// Longer names are refused, so that the work is bounded.
const CODE_BYTES_MAX: usize = 512;

pub(super) fn judge(code: &str) -> Membership {
    if matches!(code, "xml" | "json" | "ttl" | "turtle") {
        return Membership::unknown(
            "it names a format of FHIR, which is a code only where FHIR says so (R4 §3.1.0.1.9)",
        );
    }
    let mut parts = code.split(';');
    let Some((top, subtype)) = parts.next().and_then(|essence| essence.trim().split_once('/')) else {
        return Membership::No;
    };
    if code.len() > CODE_BYTES_MAX || !is_name(top) || !is_name(subtype) || !parts.all(is_parameter) {
        return Membership::No;
    }
    let top = top.to_ascii_lowercase();
    if TOP_LEVEL.contains(&&*top) || top.starts_with("x-") {
        Membership::Yes { display: None }
    } else {
        Membership::unknown("the top-level type of the media type is not registered")
    }
}

fn is_name(name: &str) -> bool {
    (1..=127).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

fn is_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.trim().split_once('=') else { return false };
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    is_token(name) && (is_token(value) || is_quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_syntax() {
        for good in
            ["text/plain", "application/fhir+json", "text/html; charset=utf-8", "image/svg+xml", "TEXT/Plain", "x-a/b"]
        {
            assert!(judge(good).is_yes(), "{good}");
        }
        for bad in ["", "text", "text/", "/plain", "text/plain;", "text/pla in", "text/plain;charset", "a/b/c"] {
            assert_eq!(judge(bad), Membership::No, "{bad}");
        }
        for open in ["json", "chemical/x-pdb"] {
            assert!(matches!(judge(open), Membership::Unknown { .. }), "{open}");
        }
    }
}
