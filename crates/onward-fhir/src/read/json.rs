//! FHIR JSON, read in one pass straight into the tree (R4 §2.6.2). Text without escapes is borrowed.

use std::borrow::Cow;

use super::{DEPTH_MAX, Limits, ReadError, ReadErrorKind, is_allowed_character, is_element_name, is_resource_name};
use crate::tree::{Builder, Lexical, NameId, NodeId, Tree};

pub(super) fn read<'s>(text: &'s str, limits: &Limits) -> Result<Tree<'s>, ReadError> {
    let mut reader = Reader { text, at: 0, builder: Builder::over(text), limits, seen: Vec::new() };
    reader.document()?;
    Ok(reader.builder.finish())
}

struct Reader<'s, 'l> {
    text: &'s str,
    at: usize,
    builder: Builder<'s>,
    limits: &'l Limits,
    /// Properties of all open objects, innermost last.
    seen: Vec<Property>,
}

/// One name of one object, with its value (`birthDate`) and companion (`_birthDate`) merged.
#[derive(Clone, Copy)]
struct Property {
    name: NameId,
    first: NodeId,
    key_at: usize,
    has_value: bool,
    has_companion: bool,
    array: bool,
    primitive: bool,
    /// A `null` was met: every element must turn out to have a value or content all the same.
    holes: bool,
}

/// The element that has `resourceType` as an ordinary child: `ExampleScenario.instance`.
pub(crate) const TYPED_BY_CHILD: &str = "instance";

/// What an object stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The document: must be a resource.
    Root,
    /// An element, or a resource when it says `resourceType`.
    Element,
    /// `_field`: the `id` and `extension` of a primitive, which is no resource.
    Companion,
    /// [`TYPED_BY_CHILD`]: there `resourceType` is no type.
    Untyped,
}

type Read<T> = Result<T, ReadError>;

impl<'s> Reader<'s, '_> {
    fn fail<T>(&self, at: usize, kind: ReadErrorKind, message: impl Into<String>) -> Read<T> {
        Err(ReadError::at(self.text, at, kind, message))
    }

    fn syntax<T>(&self, message: &str) -> Read<T> {
        self.fail(self.at, ReadErrorKind::Syntax, message)
    }

    fn not_fhir<T>(&self, at: usize, message: impl Into<String>) -> Read<T> {
        self.fail(at, ReadErrorKind::NotFhir, message)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Skips white space and one expected byte.
    fn expect(&mut self, wanted: u8, message: &str) -> Read<()> {
        self.skip_space();
        if self.peek() != Some(wanted) {
            return self.syntax(message);
        }
        self.at += 1;
        Ok(())
    }

    fn document(&mut self) -> Read<()> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return self.syntax("a FHIR resource in JSON is an object");
        }
        // Renamed by its `resourceType`.
        let root = self.builder.open("resource");
        let start = self.at;
        self.object(Role::Root)?;
        if self.builder.so_far().element(root).resource_type().is_none() {
            return self.not_fhir(start, "the object has no resourceType");
        }
        self.builder.set_span(root, start..self.at);
        self.builder.close();
        self.skip_space();
        if self.at < self.text.len() {
            return self.syntax("text after the end of the resource");
        }
        Ok(())
    }

    /// Reads an object into the innermost open node.
    fn object(&mut self, role: Role) -> Read<()> {
        let start = self.at;
        self.at += 1;
        let base = self.seen.len();
        self.skip_space();
        if self.peek() == Some(b'}') {
            return self.not_fhir(start, "an object without properties");
        }
        loop {
            self.property(base, role)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.syntax("expected , or } after a property"),
            }
        }
        self.at += 1;
        for index in base..self.seen.len() {
            if self.seen[index].holes {
                self.check_holes(self.seen[index])?;
            }
        }
        self.seen.truncate(base);
        Ok(())
    }

    fn property(&mut self, base: usize, role: Role) -> Read<()> {
        self.skip_space();
        let key_at = self.at;
        if self.peek() != Some(b'"') {
            return self.syntax("expected a property name");
        }
        let key = self.string()?;
        self.expect(b':', "expected : after a property name")?;
        self.skip_space();
        if key == "resourceType" && role == Role::Companion {
            // In XML it would stand as a child like any other, and come back from there as the type of a resource.
            return self.not_fhir(key_at, "a _companion with a resourceType");
        }
        if key == "resourceType" && role != Role::Untyped {
            // An object is the ordinary element of STU3's Claim.payee and ExplanationOfBenefit.payee.
            if self.peek() != Some(b'{') {
                return self.resource_type(base, key_at);
            }
            if self.has_resource_type() {
                return self.fail(key_at, ReadErrorKind::DuplicateKey, "resourceType stands twice in one object");
            }
        }
        let companion = key.starts_with('_');
        let name = self.name(key, companion, key_at)?;
        let known = self.seen[base..].iter().position(|property| property.name == name).map(|index| base + index);
        if let Some(index) = known {
            let property = self.seen[index];
            if if companion { property.has_companion } else { property.has_value } {
                return self.fail(key_at, ReadErrorKind::DuplicateKey, "a property stands twice in one object");
            }
        } else if self.seen.len() - base >= self.limits.properties {
            return self.fail(key_at, ReadErrorKind::TooManyProperties, "an object has too many properties");
        }
        if companion { self.companion(name, known, key_at) } else { self.value(name, known, key_at) }
    }

    /// The interned name of a key, checked when it is new.
    fn name(&mut self, key: Cow<'s, str>, companion: bool, key_at: usize) -> Read<NameId> {
        let bare = if companion { &key[1..] } else { &key[..] };
        if let Some(known) = self.builder.known(bare) {
            return Ok(known);
        }
        if !is_element_name(bare) {
            return self.not_fhir(key_at, "a property name that no FHIR element can have");
        }
        let bare = match key {
            Cow::Borrowed(key) => Cow::Borrowed(if companion { &key[1..] } else { key }),
            Cow::Owned(key) => Cow::Owned(if companion { key[1..].to_owned() } else { key }),
        };
        Ok(self.builder.intern(bare))
    }

    fn has_resource_type(&self) -> bool {
        self.builder.innermost().is_some_and(|node| self.builder.so_far().element(node).resource_type().is_some())
    }

    fn resource_type(&mut self, base: usize, key_at: usize) -> Read<()> {
        let value_at = self.at;
        if self.peek() != Some(b'"') {
            return self.not_fhir(value_at, "resourceType is not a string");
        }
        let name = self.string()?;
        if !is_resource_name(&name) {
            return self.not_fhir(value_at, "resourceType is not the name of a resource");
        }
        let ordinary = self.builder.known("resourceType");
        let ordinary = self.seen[base..].iter().any(|property| Some(property.name) == ordinary);
        if ordinary || self.has_resource_type() {
            return self.fail(key_at, ReadErrorKind::DuplicateKey, "resourceType stands twice in one object");
        }
        self.builder.set_resource_type(name);
        Ok(())
    }

    /// Opens node `index` of a property that may have been begun by its other half.
    fn open_at(&mut self, name: NameId, known: Option<NodeId>) -> Read<NodeId> {
        if let Some(node) = known {
            self.builder.reopen(node);
            return Ok(node);
        }
        if self.builder.len() >= self.limits.nodes {
            return self.fail(self.at, ReadErrorKind::TooManyNodes, "the resource has too many elements");
        }
        if self.builder.depth() >= self.limits.depth.min(DEPTH_MAX) {
            return self.fail(self.at, ReadErrorKind::TooDeep, "the elements are nested too deeply");
        }
        Ok(self.builder.open_named(name))
    }

    fn value(&mut self, name: NameId, known: Option<usize>, key_at: usize) -> Read<()> {
        let begun = known.map(|index| self.seen[index]);
        let array = self.peek() == Some(b'[');
        if begun.is_some_and(|property| property.array != array) {
            return self.not_fhir(key_at, "a property and its _companion: one is an array, the other not");
        }
        let (first, primitive, holes) = if array {
            self.array(name, begun.map(|property| property.first), false)?
        } else {
            let (node, primitive) = self.item(name, begun.map(|property| property.first))?;
            self.builder.set_listed(node, false);
            (node, primitive, false)
        };
        if begun.is_some() && !primitive {
            return self.not_fhir(key_at, "a _companion of a property that is not primitive");
        }
        match known {
            None => self.seen.push(Property {
                name,
                first,
                key_at,
                has_value: true,
                has_companion: false,
                array,
                primitive,
                holes,
            }),
            Some(index) => {
                self.seen[index].has_value = true;
                self.seen[index].holes |= holes;
            }
        }
        Ok(())
    }

    fn companion(&mut self, name: NameId, known: Option<usize>, key_at: usize) -> Read<()> {
        let begun = known.map(|index| self.seen[index]);
        let array = self.peek() == Some(b'[');
        if begun.is_some_and(|property| property.array != array) {
            return self.not_fhir(key_at, "a property and its _companion: one is an array, the other not");
        }
        if begun.is_some_and(|property| !property.primitive) {
            return self.not_fhir(key_at, "a _companion of a property that is not primitive");
        }
        let (first, holes) = if array {
            let (first, _, holes) = self.array(name, begun.map(|property| property.first), true)?;
            (first, holes)
        } else {
            let node = self.companion_item(name, begun.map(|property| property.first))?;
            self.builder.set_listed(node, false);
            (node, false)
        };
        match known {
            None => self.seen.push(Property {
                name,
                first,
                key_at,
                has_value: false,
                has_companion: true,
                array,
                primitive: true,
                holes,
            }),
            Some(index) => {
                self.seen[index].has_companion = true;
                self.seen[index].holes |= holes;
            }
        }
        Ok(())
    }

    /// Reads an array, each item into its node; gives the first node, whether the items are primitive, and
    /// whether any was `null`.
    fn array(&mut self, name: NameId, begun: Option<NodeId>, companion: bool) -> Read<(NodeId, bool, bool)> {
        let start = self.at;
        self.at += 1;
        let (mut first, mut kind, mut holes) = (begun, companion.then_some(true), false);
        let mut next = begun;
        self.skip_space();
        if self.peek() == Some(b']') {
            return self.not_fhir(start, "an empty array");
        }
        loop {
            self.skip_space();
            let item_at = self.at;
            let node = if self.peek() == Some(b'n') {
                self.literal("null")?;
                holes = true;
                let node = self.open_at(name, next)?;
                if next.is_none() {
                    self.builder.set_valueless();
                }
                self.builder.close();
                node
            } else if companion {
                self.companion_item(name, next)?
            } else {
                let (node, primitive) = self.item(name, next)?;
                if *kind.get_or_insert(primitive) != primitive {
                    return self.not_fhir(item_at, "an array mixes objects and primitive values");
                }
                node
            };
            self.builder.set_listed(node, true);
            first = first.or(Some(node));
            next = next.and_then(|node| self.builder.next_of_name(node));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.syntax("expected , or ] after an item"),
            }
        }
        self.at += 1;
        Ok((first.expect("an array has an item"), kind.unwrap_or(true), holes))
    }

    /// Reads one value into its node; tells whether it is primitive.
    fn item(&mut self, name: NameId, begun: Option<NodeId>) -> Read<(NodeId, bool)> {
        let start = self.at;
        let node = self.open_at(name, begun)?;
        let primitive = match self.peek() {
            Some(b'{') => {
                let scenario = self.builder.so_far().element(node).name() == TYPED_BY_CHILD;
                self.object(if scenario { Role::Untyped } else { Role::Element })?;
                false
            }
            Some(b'"') => {
                let value = self.string()?;
                self.builder.set_value(value, Lexical::String);
                true
            }
            Some(b't' | b'f') => {
                let word = if self.peek() == Some(b't') { "true" } else { "false" };
                self.literal(word)?;
                self.builder.set_value(word, Lexical::Boolean);
                true
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                self.builder.set_value(number, Lexical::Number);
                true
            }
            Some(b'n') => return self.not_fhir(start, "null where FHIR has none"),
            Some(b'[') => return self.not_fhir(start, "an array within an array"),
            _ => return self.syntax("expected a value"),
        };
        self.builder.set_span(node, start..self.at);
        self.builder.close();
        Ok((node, primitive))
    }

    fn companion_item(&mut self, name: NameId, begun: Option<NodeId>) -> Read<NodeId> {
        let start = self.at;
        if self.peek() != Some(b'{') {
            return self.not_fhir(start, "a _companion that is not an object");
        }
        let node = self.open_at(name, begun)?;
        if begun.is_none() {
            self.builder.set_valueless();
            self.object(Role::Companion)?;
            self.builder.set_span(node, start..self.at);
        } else {
            self.object(Role::Companion)?;
        }
        self.builder.close();
        Ok(node)
    }

    /// Every element of a primitive array with `null` has a value or content after all.
    fn check_holes(&self, property: Property) -> Read<()> {
        let mut next = Some(property.first);
        while let Some(node) = next {
            let element = self.builder.so_far().element(node);
            if element.value().is_none() && !element.has_children() {
                return self.not_fhir(property.key_at, format!("null in {} without content", element.name()));
            }
            next = self.builder.next_of_name(node);
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Read<()> {
        if !self.text[self.at..].starts_with(word) {
            return self.syntax("expected a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Read<&'s str> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some(b'0'..=b'9')) {
                reader.at += 1;
            }
            reader.at - from
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = digits(self);
        if whole == 0 || (leading_zero && whole > 1) {
            return self.syntax("not a JSON number");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if digits(self) == 0 {
                return self.syntax("not a JSON number");
            }
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if digits(self) == 0 {
                return self.syntax("not a JSON number");
            }
        }
        let text = &self.text[start..self.at];
        if exponent || text.len() > 300 {
            self.check_range(text, start)?;
        }
        Ok(text)
    }

    /// Others read our numbers as doubles: one that would become infinite or zero there is refused here.
    fn check_range(&self, text: &str, start: usize) -> Read<()> {
        let double: f64 = text.parse().unwrap_or(f64::NAN);
        if !double.is_finite() {
            return self.fail(start, ReadErrorKind::NumberTooLarge, "a number is too large");
        }
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        if double == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
            return self.fail(start, ReadErrorKind::NumberTooSmall, "a number is too small");
        }
        Ok(())
    }

    /// A string; borrowed unless it has escapes.
    fn string(&mut self) -> Read<Cow<'s, str>> {
        let start = self.at + 1;
        self.at = plain_until(self.text.as_bytes(), start);
        if self.peek() == Some(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        self.escaped_string(start)
    }

    /// The string from `start` on, of which the text up to here is plain.
    fn escaped_string(&mut self, start: usize) -> Read<Cow<'s, str>> {
        let bytes = self.text.as_bytes();
        let mut owned: Vec<u8> = Vec::with_capacity(2 * (self.at - start) + 64);
        owned.extend_from_slice(&bytes[start..self.at]);
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut owned)?,
                Some(0..=0x1f) => return self.syntax("a control character within a string"),
                Some(_) => {
                    let end = plain_until(bytes, self.at);
                    owned.extend_from_slice(&bytes[self.at..end]);
                    self.at = end;
                }
                None => return self.syntax("a string is not closed"),
            }
        }
        self.at += 1;
        Ok(Cow::Owned(String::from_utf8(owned).expect("pieces of a text, cut at ASCII, and whole characters")))
    }

    #[inline]
    fn escape(&mut self, owned: &mut Vec<u8>) -> Read<()> {
        let start = self.at;
        let letter = self.text.as_bytes().get(start + 1).copied();
        self.at += 2;
        match letter {
            Some(plain @ (b'"' | b'\\' | b'/')) => owned.push(plain),
            Some(b'n') => owned.push(b'\n'),
            Some(b'r') => owned.push(b'\r'),
            Some(b't') => owned.push(b'\t'),
            Some(b'b' | b'f') => return self.forbidden(start),
            Some(b'u') => {
                let character = self.unicode_escape(start)?;
                if !is_allowed_character(character) {
                    return self.forbidden(start);
                }
                owned.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return self.fail(start, ReadErrorKind::Syntax, "an escape that JSON does not know"),
        }
        Ok(())
    }

    fn forbidden(&self, at: usize) -> Read<()> {
        self.fail(at, ReadErrorKind::ForbiddenCharacter, "a control character that FHIR forbids")
    }

    fn unicode_escape(&mut self, start: usize) -> Read<char> {
        let high = self.hex4(start)?;
        if let Some(character) = char::from_u32(high) {
            return Ok(character);
        }
        if (0xd800..0xdc00).contains(&high) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex4(start)?;
            if (0xdc00..0xe000).contains(&low) {
                let joined = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(joined).expect("a surrogate pair is a character"));
            }
        }
        self.fail(start, ReadErrorKind::Syntax, "half of a surrogate pair")
    }

    fn hex4(&mut self, start: usize) -> Read<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return self.fail(start, ReadErrorKind::Syntax, "\\u without four hexadecimal digits");
            };
            code = code * 16 + value;
        }
        if digits.len() != 4 {
            return self.fail(start, ReadErrorKind::Syntax, "\\u without four hexadecimal digits");
        }
        self.at += 4;
        Ok(code)
    }
}

/// What is plain for so long is likely to go on: a narrative, or a file of megabytes.
const LONG: usize = 64;

/// The place of the first quote, backslash or control character from `from` on; eight bytes at a time, and more where there are none.
pub(crate) fn plain_until(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quotes = word ^ (ONES * u64::from(b'"'));
        let slashes = word ^ (ONES * u64::from(b'\\'));
        // The lowest flagged byte is exact: borrows only spoil the bytes above a true match.
        let flags = (quotes.wrapping_sub(ONES) & !quotes)
            | (slashes.wrapping_sub(ONES) & !slashes)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if flags & HIGHS != 0 {
            return at + (flags & HIGHS).trailing_zeros() as usize / 8;
        }
        at += 8;
        if at - from == LONG {
            at = long_plain_until(bytes, at);
        }
    }
    while at < bytes.len() && !matches!(bytes[at], b'"' | b'\\' | 0..=0x1f) {
        at += 1;
    }
    at
}

/// The same up to 32 bytes before it: no branch for a byte, so that they are looked at together.
fn long_plain_until(bytes: &[u8], mut at: usize) -> usize {
    let marked = |byte: &u8| u8::from(*byte == b'"') | u8::from(*byte == b'\\') | u8::from(*byte < 0x20);
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
        && chunk.iter().fold(0, |any, byte| any | marked(byte)) == 0
    {
        at += chunk.len();
    }
    at
}
