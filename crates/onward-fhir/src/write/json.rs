//! FHIR JSON (R4 §2.6.2).

use super::{Ledger, Written};
use crate::elements::{ElementDef, JsonKind, TypeDef};
use crate::read::json::{TYPED_BY_CHILD, plain_until};
use crate::tree::{Element, Lexical, Release};

pub(super) fn write(element: Element<'_, '_>, release: Release, pretty: bool) -> Written {
    let ledger = Ledger::new(release);
    let root_type = ledger.root_type(element);
    let mut writer = Writer { out: String::new(), ledger, pretty, indent: 0, done: Vec::new() };
    writer.object(element, root_type);
    if pretty {
        writer.out.push('\n');
    }
    writer.ledger.written(writer.out, element)
}

struct Writer {
    out: String,
    ledger: Ledger,
    pretty: bool,
    indent: usize,
    /// The names that are written of all open objects, innermost last, by their places in the tree.
    done: Vec<usize>,
}

/// The children of one name, and what the table says of them.
struct Group<'g, 't, 's> {
    name: &'t str,
    items: &'g [Element<'t, 's>],
    def: Option<&'static ElementDef>,
    array: bool,
}

impl Writer {
    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.indent += 1;
    }

    fn close(&mut self, bracket: char) {
        self.indent -= 1;
        self.line();
        self.out.push(bracket);
    }

    fn line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            for _ in 0..self.indent {
                self.out.push_str("  ");
            }
        }
    }

    /// Begins a property or item, with a comma unless it is the first.
    fn separate(&mut self) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
        self.line();
    }

    fn key(&mut self, prefix: &str, name: &str) {
        self.separate();
        self.out.push('"');
        self.out.push_str(prefix);
        escape(name, &mut self.out);
        self.out.push_str(if self.pretty { "\": " } else { "\":" });
    }

    fn object<'t, 's>(&mut self, element: Element<'t, 's>, type_def: Option<&'static TypeDef>) {
        self.open('{');
        if let Some(resource_type) = element.resource_type() {
            if element.name() == TYPED_BY_CHILD && element.parent().is_some() {
                self.ledger.lose(element, "is a resource where JSON takes its type for an ordinary element");
            }
            self.key("", "resourceType");
            self.string(resource_type);
        }
        let base = self.done.len();
        let mut items: Vec<Element<'t, 's>> = Vec::new();
        let mut previous = None;
        for child in element.children() {
            let (name, place) = (child.name(), child.name_place());
            if previous == Some(place) {
                continue;
            }
            previous = Some(place);
            if self.done[base..].contains(&place) {
                self.ledger.lose(child, "stood apart from the others of its name, which JSON keeps together");
                continue;
            }
            self.done.push(place);
            items.clear();
            items.extend(element.children().filter(|each| each.name_place() == place));
            if is_mistaken_for_type(child) {
                self.ledger.lose(child, MISTAKEN);
                continue;
            }
            let def = self.ledger.child(element, type_def, name);
            self.group(name, &items, def);
        }
        self.done.truncate(base);
        self.close('}');
    }

    fn group<'t, 's>(&mut self, name: &'t str, items: &[Element<'t, 's>], def: Option<&'static ElementDef>) {
        let array = items.len() > 1 || def.map_or_else(|| items[0].listed() == Some(true), |def| def.array);
        if let Some(def) = def
            && !def.array
            && items.len() > 1
        {
            self.ledger.lose(items[1], "repeats, although FHIR allows one: written as an array");
        }
        let group = Group { name, items, def, array };
        if is_primitive(items, def) { self.primitives(&group) } else { self.complexes(&group) }
    }

    fn complexes(&mut self, group: &Group<'_, '_, '_>) {
        let mut begun = false;
        for item in group.items {
            if item.value().is_some() {
                self.ledger.lose(*item, "has a value beside a resource: the value is not written");
            }
            if is_hollow(*item) {
                self.ledger.lose(*item, "is empty, which JSON cannot express");
                continue;
            }
            if !begun {
                self.key("", group.name);
                if group.array {
                    self.open('[');
                }
                begun = true;
            }
            if group.array {
                self.separate();
            }
            let type_def = self.ledger.type_of(*item, group.def);
            self.object(*item, type_def);
        }
        if begun && group.array {
            self.close(']');
        }
    }

    fn primitives(&mut self, group: &Group<'_, '_, '_>) {
        for item in group.items.iter().filter(|item| is_hollow(**item)) {
            self.ledger.lose(*item, "is empty, which JSON cannot express");
        }
        // Of those that have a companion its writing tells.
        for item in group.items.iter().filter(|item| item.value().is_some() && !has_companion(**item)) {
            for child in item.children().filter(|child| is_mistaken_for_type(*child)) {
                self.ledger.lose(child, MISTAKEN);
            }
        }
        let type_def = group.def.and_then(|def| self.ledger.table.type_def(def.type_name));
        for companion in [false, true] {
            let present = |item: &Element<'_, '_>| {
                if companion { has_companion(*item) } else { item.value().is_some() }
            };
            if !group.items.iter().any(present) {
                continue;
            }
            self.key(if companion { "_" } else { "" }, group.name);
            if group.array {
                self.open('[');
            }
            for item in group.items.iter().filter(|item| !is_hollow(**item)) {
                if group.array {
                    self.separate();
                }
                match item.value() {
                    _ if !present(item) => self.out.push_str("null"),
                    _ if companion => self.object(*item, type_def),
                    Some(value) => self.primitive(*item, value, group.def),
                    None => {}
                }
            }
            if group.array {
                self.close(']');
            }
        }
    }

    /// As the source wrote it, where that told; else as the type says.
    fn primitive(&mut self, item: Element<'_, '_>, value: &str, def: Option<&'static ElementDef>) {
        let kind = match item.lexical() {
            Lexical::Number => JsonKind::Number,
            Lexical::Boolean => JsonKind::Boolean,
            Lexical::String => JsonKind::String,
            Lexical::Untold => def.and_then(|def| def.primitive).unwrap_or(JsonKind::String),
        };
        let bare = match kind {
            JsonKind::Number => is_json_number(value),
            JsonKind::Boolean => matches!(value, "true" | "false"),
            JsonKind::String => return self.string(value),
        };
        if bare {
            self.out.push_str(value);
        } else {
            self.ledger.lose(item, "is not the number or boolean that its type demands: written as a string");
            self.string(value);
        }
    }

    fn string(&mut self, value: &str) {
        self.out.push('"');
        escape(value, &mut self.out);
        self.out.push('"');
    }
}

/// True for a child of the name `resourceType` that would not come back from JSON as a child. Where FHIR has one it is an object (STU3's
/// `Claim.payee`), or its holder is no resource ([`TYPED_BY_CHILD`]).
fn is_mistaken_for_type(child: Element<'_, '_>) -> bool {
    if child.name() != "resourceType" {
        return false;
    }
    let Some(holder) = child.parent() else { return false };
    let is_valued = |item: Element<'_, '_>| item.value().is_some() || item.lexical() != Lexical::Untold;
    // Of a primitive it would stand in the companion.
    let of_primitive = holder.parent().is_some_and(|around| around.all(holder.name()).any(is_valued));
    if holder.resource_type().is_some() || of_primitive {
        return true;
    }
    let is_object = !is_valued(child) && child.listed() != Some(true) && holder.all(child.name()).nth(1).is_none();
    !is_object && holder.name() != TYPED_BY_CHILD
}

/// A primitive by what it holds, else by its type.
fn is_primitive(items: &[Element<'_, '_>], def: Option<&ElementDef>) -> bool {
    if items.iter().any(|item| item.resource_type().is_some()) {
        return false;
    }
    if items.iter().any(|item| item.value().is_some() || item.lexical() != Lexical::Untold) {
        return true;
    }
    def.is_some_and(|def| def.primitive.is_some())
        && items.iter().all(|item| item.children().all(|child| matches!(child.name(), "id" | "extension")))
}

/// What is lost of [`is_mistaken_for_type`].
const MISTAKEN: &str = "would be read as the type of a resource in JSON: not written";

/// True when anything of the element must stand beside its value, in `_field`.
fn has_companion(element: Element<'_, '_>) -> bool {
    element.children().any(|child| !is_hollow(child) && !is_mistaken_for_type(child))
}

/// True when nothing of the element can stand in JSON, which has neither empty objects nor empty arrays.
fn is_hollow(element: Element<'_, '_>) -> bool {
    element.value().is_none()
        && element.resource_type().is_none()
        && element.children().all(|child| is_hollow(child) || is_mistaken_for_type(child))
}

fn escape(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    loop {
        let at = plain_until(bytes, plain_from);
        out.push_str(&text[plain_from..at]);
        match bytes.get(at) {
            None => return,
            Some(b'"') => out.push_str("\\\""),
            Some(b'\\') => out.push_str("\\\\"),
            Some(b'\n') => out.push_str("\\n"),
            Some(b'\r') => out.push_str("\\r"),
            Some(b'\t') => out.push_str("\\t"),
            Some(control) => {
                let hex = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('0');
                out.push_str("\\u00");
                out.push(hex(control >> 4));
                out.push(hex(control & 15));
            }
        }
        plain_from = at + 1;
    }
}

/// True when the text may stand bare: a JSON number that a double can hold, as our own reader asks.
fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let shaped = digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    if !shaped || (exponent.is_none() && text.len() <= 300) {
        return shaped;
    }
    let double: f64 = text.parse().unwrap_or(f64::NAN);
    double.is_finite() && (double != 0.0 || mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.')))
}
