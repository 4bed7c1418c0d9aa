//! FHIR XML (R4 §2.6.1).

use super::{LOSSES_MAX, Ledger, Written};
use crate::elements::{ElementDef, JsonKind, TypeDef};
use crate::read::narrative;
use crate::tree::{Element, Lexical, Release};

pub(super) fn write(element: Element<'_, '_>, release: Release) -> Written {
    let ledger = Ledger::new(release);
    let root_type = ledger.root_type(element);
    let mut writer = Writer { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), ledger };
    let name = element.resource_type().unwrap_or(element.name());
    writer.body(element, root_type, name, " xmlns=\"http://hl7.org/fhir\"");
    writer.ledger.written(writer.out, element)
}

pub(super) fn out_of_order(element: Element<'_, '_>, release: Release) -> Vec<String> {
    let ledger = Ledger::new(release);
    let mut found = Vec::new();
    displaced(&ledger, element, ledger.root_type(element), &mut found);
    found
}

fn displaced(ledger: &Ledger, element: Element<'_, '_>, type_def: Option<&'static TypeDef>, found: &mut Vec<String>) {
    let mut furthest = 0;
    for child in element.children().filter(|child| !is_attribute(element, type_def, child.name())) {
        let place = type_def.and_then(|known| known.child(child.name())).map_or(furthest, |def| def.order);
        if place < furthest && found.len() < LOSSES_MAX {
            found.push(child.path());
        }
        furthest = furthest.max(place);
        let def = ledger.child(element, type_def, child.name());
        displaced(ledger, child, ledger.type_of(child, def), found);
    }
}

/// `id` and, of extensions, `url` are attributes in XML, which have no order.
fn is_attribute(holder: Element<'_, '_>, type_def: Option<&'static TypeDef>, child: &str) -> bool {
    let extension = type_def.is_some_and(|def| def.name() == "Extension");
    holder.resource_type().is_none() && (child == "id" || (extension && child == "url"))
}

struct Writer {
    out: String,
    ledger: Ledger,
}

impl Writer {
    /// A tag with an element's children; `id` and `url` are attributes where FHIR says so.
    fn body<'t, 's>(
        &mut self,
        element: Element<'t, 's>,
        type_def: Option<&'static TypeDef>,
        name: &str,
        attributes: &str,
    ) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(attributes);
        let resource = element.resource_type().is_some();
        let extension = type_def.is_some_and(|def| def.name() == "Extension");
        if !resource {
            self.attribute_child(element, "id");
            if extension {
                self.attribute_child(element, "url");
            }
            if let Some(value) = element.value() {
                self.attribute(element, "value", value);
            }
        }
        let mut children: Vec<(u16, Element<'t, 's>, Option<&'static ElementDef>)> = Vec::new();
        let mut place = 0;
        for child in element.children().filter(|child| !is_attribute(element, type_def, child.name())) {
            let known = type_def.and_then(|known| known.child(child.name()));
            // What the table does not know stays behind what it followed.
            place = known.map_or(place, |def| def.order);
            let def = known.or_else(|| self.ledger.child_of_every(element, child.name()));
            children.push((place, child, def));
        }
        if children.is_empty() {
            self.out.push_str("/>");
            return;
        }
        self.out.push('>');
        children.sort_by_key(|(place, ..)| *place);
        for (_, child, def) in children {
            self.child(child, def);
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn child(&mut self, child: Element<'_, '_>, def: Option<&'static ElementDef>) {
        let name = child.name();
        if !crate::read::is_element_name(name) || name.starts_with(|c: char| c.is_ascii_uppercase()) {
            self.ledger.lose(child, "has a name that no FHIR element can have in XML: not written");
            return;
        }
        self.note_form(child, def);
        if def.is_some_and(|def| def.xhtml) || (name == "div" && child.value().is_some_and(|it| it.starts_with('<'))) {
            return self.narrative(child);
        }
        let type_def = self.ledger.type_of(child, def);
        let Some(resource_type) = child.resource_type() else {
            return self.body(child, type_def, name, "");
        };
        if child.value().is_some() {
            self.ledger.lose(child, "has a value beside a resource: the value is not written");
        }
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        self.body(child, type_def, resource_type, "");
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Lists what JSON told of a primitive and XML cannot tell.
    fn note_form(&mut self, child: Element<'_, '_>, def: Option<&'static ElementDef>) {
        let usual = def.and_then(|def| def.primitive).unwrap_or(JsonKind::String);
        let told = match child.lexical() {
            Lexical::Untold => usual,
            Lexical::String => JsonKind::String,
            Lexical::Number => JsonKind::Number,
            Lexical::Boolean => JsonKind::Boolean,
        };
        if child.value().is_some() && told != usual {
            self.ledger.lose(child, "stood as another JSON type than its own, which XML does not tell");
        }
        if def.is_none() {
            if child.value().is_none() && child.lexical() != Lexical::Untold {
                self.ledger.lose(child, "is a primitive without value of no known type, which XML does not tell");
            }
            let alone = child.parent().is_some_and(|holder| holder.all(child.name()).nth(1).is_none());
            if child.listed() == Some(true) && alone {
                self.ledger.lose(child, "is an array of one of no known type, which XML does not tell");
            }
        }
    }

    fn narrative(&mut self, div: Element<'_, '_>) {
        if div.has_children() {
            self.ledger.lose(div, "has id or extension beside its XHTML, which XML has no place for");
        }
        let Some(value) = div.value() else {
            self.ledger.lose(div, "is narrative without XHTML: not written");
            return;
        };
        match narrative::for_xml(value) {
            Ok((text, changed)) => {
                if changed {
                    self.ledger.lose(div, "did not declare XHTML as its default namespace: declared");
                }
                self.out.push_str(&text);
            }
            Err(_) => self.ledger.lose(div, "is not well-formed XHTML: not written"),
        }
    }

    /// A child that stands as an attribute.
    fn attribute_child(&mut self, element: Element<'_, '_>, name: &str) {
        for (index, child) in element.all(name).enumerate() {
            if child.has_children() || child.resource_type().is_some() {
                self.ledger.lose(child, "has content that an XML attribute cannot hold");
            }
            match child.value() {
                Some(value) if index == 0 => self.attribute(child, name, value),
                _ => self.ledger.lose(child, "cannot stand as an XML attribute: not written"),
            }
        }
    }

    fn attribute(&mut self, element: Element<'_, '_>, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        let mut forbidden = false;
        let bytes = value.as_bytes();
        let (mut plain_from, mut at) = (0, 0);
        loop {
            at = plain_until(bytes, at);
            let Some(byte) = bytes.get(at) else { break };
            let (replacement, length) = match byte {
                b'&' => ("&amp;", 1),
                b'<' => ("&lt;", 1),
                b'>' => ("&gt;", 1),
                b'"' => ("&quot;", 1),
                // As such they would come back as spaces (XML 1.0 §3.3.3).
                b'\n' => ("&#xA;", 1),
                b'\r' => ("&#xD;", 1),
                b'\t' => ("&#x9;", 1),
                0..=0x1f => ("\u{fffd}", 1),
                0xef if value[at..].starts_with(['\u{fffe}', '\u{ffff}']) => ("\u{fffd}", 3),
                _ => {
                    at += 1;
                    continue;
                }
            };
            forbidden |= replacement == "\u{fffd}";
            self.out.push_str(&value[plain_from..at]);
            self.out.push_str(replacement);
            at += length;
            plain_from = at;
        }
        self.out.push_str(&value[plain_from..]);
        self.out.push('"');
        if forbidden {
            self.ledger.lose(element, "holds a character that XML forbids: replaced by U+FFFD");
        }
    }
}

/// The place of the first byte from `at` on that may not stand in an attribute as it is; 32 bytes at a time while there are none. 0xEF
/// begins the two forbidden characters U+FFFE and U+FFFF, and others.
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    let marked = |byte: &u8| {
        u8::from(*byte < 0x20)
            | u8::from(*byte == b'&')
            | u8::from(*byte == b'<')
            | u8::from(*byte == b'>')
            | u8::from(*byte == b'"')
            | u8::from(*byte == 0xef)
    };
    // No branch for a byte, so that they are looked at together: a file may have a megabyte.
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
        && chunk.iter().fold(0, |any, byte| any | marked(byte)) == 0
    {
        at += chunk.len();
    }
    bytes[at..].iter().position(|byte| marked(byte) == 1).map_or(bytes.len(), |length| at + length)
}
