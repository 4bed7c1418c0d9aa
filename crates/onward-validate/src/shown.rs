//! What of a message may be repeated in a finding. Senders put names and numbers into the wrong elements, so only
//! texts of a form that cannot be one are shown.

/// A code for people: FHIR codes, ITK events, SNOMED CT identifiers; never ten digits, which may be an NHS number.
pub(crate) fn code(value: &str) -> String {
    let bytes = value.as_bytes();
    let kebab = bytes.iter().all(|b| b.is_ascii_lowercase() || *b == b'-') && bytes.len() <= 30;
    let itk = bytes.len() == 7 && value.starts_with("ITK") && bytes[3..].iter().all(u8::is_ascii_alphanumeric);
    let concept = (6..=18).contains(&bytes.len()) && bytes.len() != 10 && bytes.iter().all(u8::is_ascii_digit);
    if !bytes.is_empty() && (kebab || itk || concept) { format!("\"{value}\"") } else { "another value".to_owned() }
}

/// A media type without parameters.
pub(crate) fn media_type(value: &str) -> String {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let known = ["application/", "text/", "image/", "audio/", "video/", "message/", "multipart/", "model/"];
    let plain = essence.len() <= 100
        && essence.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'+' | b'-' | b'.'));
    if plain && known.iter().any(|prefix| essence.starts_with(prefix)) {
        format!("\"{essence}\"")
    } else {
        "another value".to_owned()
    }
}

/// Name of an element or attribute.
pub(crate) fn name(value: &str) -> String {
    let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-');
    let plain = !value.is_empty() && value.len() <= 30 && value.bytes().all(of_name);
    if plain { value.to_owned() } else { "(another name)".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_codes_but_nothing_that_may_identify() {
        assert_eq!(code("entered-in-error"), "\"entered-in-error\"");
        assert_eq!(code("ITK007C"), "\"ITK007C\"");
        assert_eq!(code("373942005"), "\"373942005\"");
        for hidden in ["9990000018", "Smith", "Jo Smith", "1970-01-01", ""] {
            assert_eq!(code(hidden), "another value");
        }
        assert_eq!(media_type("application/x-msdownload; name=smith"), "\"application/x-msdownload\"");
        assert_eq!(media_type("smith/9990000018"), "another value");
        assert_eq!(name("on load"), "(another name)");
    }
}
