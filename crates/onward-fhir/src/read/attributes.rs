//! The parts of XML 1.0 that the token reader leaves to its caller: attributes, references, names.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{ReadErrorKind, is_allowed_character};

/// What is wrong, and at which byte of the text given.
pub(super) type Wrong = (usize, ReadErrorKind, &'static str);

/// One attribute of a tag, its value as written.
pub(super) struct Attribute<'s> {
    pub(super) name: &'s str,
    pub(super) raw: &'s str,
    /// Byte offset of the name within the tag.
    pub(super) at: usize,
}

/// The attributes of a tag `<name a="1" b='2'/>`; refuses repeats and more than `most`.
pub(super) fn attributes<'s>(tag: &'s str, name_length: usize, most: usize) -> Result<Vec<Attribute<'s>>, Wrong> {
    let syntax = |at: usize, message| (at, ReadErrorKind::Syntax, message);
    let bytes = tag.as_bytes();
    let end = tag.len() - if tag.ends_with("/>") { 2 } else { 1 };
    let mut found: Vec<Attribute<'s>> = Vec::new();
    let mut at = 1 + name_length;
    loop {
        let before = at;
        at += space(&bytes[at..end]);
        if at == end {
            return Ok(found);
        }
        if at == before {
            return Err(syntax(at, "white space is missing before an attribute"));
        }
        // Byte by byte: names are too short for a search that has to be set up.
        let equals = bytes[at..end].iter().position(|byte| *byte == b'=');
        let equals = equals.ok_or(syntax(at, "an attribute without value"))?;
        let name = tag[at..at + equals].trim_end_matches([' ', '\t', '\r', '\n']);
        if !is_xml_name(name) {
            return Err(syntax(at, "not the name of an attribute"));
        }
        if found.iter().any(|attribute| attribute.name == name) {
            return Err((at, ReadErrorKind::DuplicateKey, "an attribute stands twice in one tag"));
        }
        if found.len() == most {
            return Err((at, ReadErrorKind::TooManyProperties, "a tag has too many attributes"));
        }
        let mut value_at = at + equals + 1;
        value_at += space(&bytes[value_at..end]);
        let quote = match bytes.get(value_at) {
            Some(quote @ (b'"' | b'\'')) => *quote,
            _ => return Err(syntax(value_at, "an attribute's value is not quoted")),
        };
        let rest = tag.get(value_at + 1..end).unwrap_or_default();
        let open = syntax(value_at, "an attribute's value is not closed");
        let length = memchr2(quote, b'<', rest.as_bytes()).ok_or(open)?;
        if rest.as_bytes()[length] != quote {
            memchr(quote, rest.as_bytes()).ok_or(open)?;
            return Err(syntax(value_at, "< within an attribute's value"));
        }
        found.push(Attribute { name, raw: &rest[..length], at });
        at = value_at + 1 + length + 1;
    }
}

/// The prefix of a name, if it has one, and what follows it.
pub(super) fn prefix_of(name: &str) -> (Option<&str>, &str) {
    match name.as_bytes().iter().position(|byte| *byte == b':') {
        Some(colon) => (Some(&name[..colon]), &name[colon + 1..]),
        None => (None, name),
    }
}

fn space(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// True for an XML name; beyond ASCII every character is let through.
pub(super) fn is_xml_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') || !byte.is_ascii();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|first| letter(*first))
        && bytes.iter().all(|byte| letter(*byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// The value of an attribute: references resolved, literal white space normalised (XML 1.0 §3.3.3).
pub(super) fn attribute_value(raw: &str) -> Result<Cow<'_, str>, Wrong> {
    let Some(first) = raw.bytes().position(|byte| matches!(byte, b'&' | b'\t' | b'\r' | b'\n')) else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut value = String::with_capacity(raw.len());
    value.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '&' => {
                let at = raw.len() - rest.len();
                let end = rest.find(';').ok_or((at, ReadErrorKind::Syntax, "& that begins no reference"))?;
                value.push(reference(&rest[1..end]).map_err(|(kind, message)| (at, kind, message))?);
                length = end + 1;
            }
            // A line end of two characters is one, before it becomes a space (§2.11).
            '\r' => {
                value.push(' ');
                length += usize::from(rest[1..].starts_with('\n'));
            }
            '\t' | '\n' => value.push(' '),
            other => value.push(other),
        }
        rest = &rest[length..];
    }
    Ok(Cow::Owned(value))
}

/// The character of a reference `&…;`, given without its frame: predefined or by number, nothing else.
pub(super) fn reference(name: &str) -> Result<char, (ReadErrorKind, &'static str)> {
    let wrong = (ReadErrorKind::Syntax, "a character reference that XML forbids");
    let number = match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => name.strip_prefix('#').ok_or((ReadErrorKind::Doctype, "an entity that XML does not predefine"))?,
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hexadecimal| (hexadecimal, 16));
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(wrong);
    }
    let code = u32::from_str_radix(digits, radix).map_err(|_| wrong)?;
    char::from_u32(code)
        .filter(|character| is_allowed_character(*character) && !matches!(character, '\u{fffe}' | '\u{ffff}'))
        .ok_or(wrong)
}
