//! CBOR (RFC 8949) as authenticators must write it: CTAP 2.1 §8 allows no indefinite lengths and no tags, and numbers in their
//! shortest form. Anything else is refused. A library would read more than may come, and its features would change how every
//! other crate of ours is built.

use super::Refused;

/// How deep items may stand in each other (CTAP 2.1 §8 allows 4; an attestation statement stands within a map).
const DEPTH_MAX: u8 = 5;

/// One data item; it borrows what it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    /// UTF-8, unchecked: it is only compared.
    Text(&'a [u8]),
    List(Vec<Item<'a>>),
    Map(Vec<(Item<'a>, Item<'a>)>),
    /// `false`, `true`, `null`, or another simple value.
    Simple(u8),
}

impl<'a> Item<'a> {
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// One item; what stands behind it is left.
///
/// # Errors
/// When there is none.
pub(super) fn read<'a>(bytes: &mut &'a [u8]) -> Result<Item<'a>, Refused> {
    item(bytes, DEPTH_MAX).ok_or(Refused::Malformed("not CBOR as authenticators write it"))
}

/// A map that names nothing twice.
///
/// # Errors
/// When it is none.
pub(super) fn map(item: Item<'_>) -> Result<Vec<(Item<'_>, Item<'_>)>, Refused> {
    match item {
        Item::Map(entries) => Ok(entries),
        _ => Err(Refused::Malformed("not a map")),
    }
}

pub(super) fn member<'i, 'a>(map: &'i [(Item<'a>, Item<'a>)], name: &Item<'_>) -> Option<&'i Item<'a>> {
    map.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

fn item<'a>(bytes: &mut &'a [u8], depth: u8) -> Option<Item<'a>> {
    let depth = depth.checked_sub(1)?;
    let (kind, argument) = head(bytes)?;
    match kind {
        0 => Some(Item::Number(i64::try_from(argument).ok()?)),
        1 => Some(Item::Number(-1 - i64::try_from(argument).ok()?)),
        2 => take(bytes, argument).map(Item::Bytes),
        3 => take(bytes, argument).map(Item::Text),
        // An item takes a byte or more: what claims more items than bytes are left ends before it takes memory.
        4 if argument <= bytes.len() as u64 => {
            (0..argument).map(|_| item(bytes, depth)).collect::<Option<_>>().map(Item::List)
        }
        5 if argument <= bytes.len() as u64 => {
            let mut entries: Vec<(Item<'a>, Item<'a>)> = Vec::new();
            for _ in 0..argument {
                let name = item(bytes, depth)?;
                if entries.iter().any(|(other, _)| *other == name) {
                    return None;
                }
                entries.push((name, item(bytes, depth)?));
            }
            Some(Item::Map(entries))
        }
        7 => u8::try_from(argument).ok().filter(|value| *value < 24).map(Item::Simple),
        _ => None,
    }
}

/// Major type and argument, in its shortest form.
fn head(bytes: &mut &[u8]) -> Option<(u8, u64)> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    let (kind, short) = (first >> 5, first & 0x1f);
    let width = match short {
        0..24 => return Some((kind, u64::from(short))),
        24..28 if kind != 7 => 1 << (short - 24),
        _ => return None,
    };
    let argument = take(bytes, width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let least = if width == 1 { 24 } else { 1 << (width * 4) };
    (argument >= least).then_some((kind, argument))
}

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(hexadecimal: &str) -> Option<String> {
        let bytes = hex::decode(hexadecimal).expect("hexadecimal");
        let mut rest = bytes.as_slice();
        let item = read(&mut rest).ok()?;
        rest.is_empty().then(|| format!("{item:?}"))
    }

    /// RFC 8949, appendix A.
    #[test]
    fn examples_of_the_rfc() {
        for (bytes, item) in [
            ("00", "Number(0)"),
            ("17", "Number(23)"),
            ("1818", "Number(24)"),
            ("1903e8", "Number(1000)"),
            ("1a000f4240", "Number(1000000)"),
            ("1b000000e8d4a51000", "Number(1000000000000)"),
            ("20", "Number(-1)"),
            ("3863", "Number(-100)"),
            ("3903e7", "Number(-1000)"),
            ("f4", "Simple(20)"),
            ("f6", "Simple(22)"),
            ("40", "Bytes([])"),
            ("4401020304", "Bytes([1, 2, 3, 4])"),
            ("6161", "Text([97])"),
            ("80", "List([])"),
            ("83010203", "List([Number(1), Number(2), Number(3)])"),
            ("8301820203820405", "List([Number(1), List([Number(2), Number(3)]), List([Number(4), Number(5)])])"),
            ("a201020304", "Map([(Number(1), Number(2)), (Number(3), Number(4))])"),
        ] {
            assert_eq!(whole(bytes).as_deref(), Some(item), "{bytes}");
        }
    }

    #[test]
    fn what_authenticators_must_not_write_is_refused() {
        let refused = [
            // Numbers that are too large, floating point, a tag.
            "1bffffffffffffffff",
            "3bffffffffffffffff",
            "f93c00",
            "fb3ff199999999999a",
            "c11a514b67b0",
            // Indefinite lengths.
            "5f42010243030405ff",
            "9fff",
            "bfff",
            "ff",
            // Longer than need be.
            "1817",
            "190018",
            "1a00000018",
            "580100",
            "f818",
            // A name twice; too deep; cut off; more items than bytes.
            "a201020103",
            "818181818100",
            "",
            "18",
            "4401",
            "8201",
            "a101",
            "9bffffffffffffffff",
            "bb00ffffffffffffff",
        ];
        for bytes in refused {
            assert_eq!(whole(bytes), None, "{bytes}");
        }
        assert!(whole("8181818100").is_some(), "as deep as may be");
    }
}
