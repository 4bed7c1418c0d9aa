//! FHIR XML (R4 §2.6.1), read token by token into the tree. The tokens are quick-xml's; what XML 1.0 and
//! namespaces demand beyond tokens (one root, references, declarations, limits) is checked here.

use std::ops::Range;

use quick_xml::Reader as TokenReader;
use quick_xml::events::Event;

use super::attributes::{Attribute, attribute_value, attributes, is_xml_name, prefix_of};
use super::narrative::{self, tag_name};
use super::{DEPTH_MAX, Limits, ReadError, ReadErrorKind, is_allowed_character, is_element_name, is_resource_name};
use crate::tree::{Builder, Lexical, NodeId, Tree};

/// The namespaces that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    Fhir,
    Xhtml,
    /// `xsi`, whose `schemaLocation` is let through unread and remembered.
    Schema,
    Other,
}

impl Namespace {
    fn of(uri: &str) -> Self {
        match uri {
            "http://hl7.org/fhir" => Self::Fhir,
            "http://www.w3.org/1999/xhtml" => Self::Xhtml,
            "http://www.w3.org/2001/XMLSchema-instance" => Self::Schema,
            _ => Self::Other,
        }
    }
}

/// A start tag, resolved.
pub(super) struct Entered<'s> {
    pub(super) namespace: Namespace,
    /// All attributes but namespace declarations.
    pub(super) attributes: Vec<Attribute<'s>>,
    /// The tag itself declares the default namespace.
    pub(super) declares_default: bool,
}

/// The tokens of a document, with the namespaces in scope.
pub(super) struct Tokens<'s, 'l> {
    pub(super) source: &'s str,
    pub(super) limits: &'l Limits,
    reader: TokenReader<&'s [u8]>,
    /// Prefix, namespace, and the depth of the tag that declares it.
    scope: Vec<(&'s str, Namespace, usize)>,
    depth: usize,
}

impl<'s, 'l> Tokens<'s, 'l> {
    pub(super) fn new(source: &'s str, limits: &'l Limits) -> Self {
        let mut reader = TokenReader::from_str(source);
        reader.config_mut().check_comments = true;
        Self { source, limits, reader, scope: Vec::new(), depth: 0 }
    }

    pub(super) fn fail<T>(&self, at: usize, kind: ReadErrorKind, message: impl Into<String>) -> Result<T, ReadError> {
        Err(ReadError::at(self.source, at, kind, message))
    }

    fn offset(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    /// The next token and where it stands.
    pub(super) fn next(&mut self) -> Result<(Event<'s>, Range<usize>), ReadError> {
        let start = self.offset();
        match self.reader.read_event() {
            Ok(event) => Ok((event, start..self.offset())),
            // The library's messages may quote the document.
            Err(quick_xml::Error::IllFormed(quick_xml::errors::IllFormedError::MismatchedEndTag { .. })) => {
                self.fail(start, ReadErrorKind::Syntax, "an end tag does not fit its start tag")
            }
            Err(quick_xml::Error::Syntax(error)) => self.fail(start, ReadErrorKind::Syntax, error.to_string()),
            Err(_) => self.fail(start, ReadErrorKind::Syntax, "not well-formed XML"),
        }
    }

    /// Takes in a start tag's declarations and gives its namespace and other attributes.
    pub(super) fn enter(&mut self, tag: &'s str, tag_at: usize, name: &'s str) -> Result<Entered<'s>, ReadError> {
        self.depth += 1;
        if !is_xml_name(name) {
            return self.fail(tag_at, ReadErrorKind::Syntax, "not the name of an element");
        }
        let mut found = attributes(tag, name.len(), self.limits.attributes)
            .or_else(|(at, kind, message)| self.fail(tag_at + at, kind, message))?;
        let before = self.scope.len();
        for attribute in &found {
            let prefix = match attribute.name.strip_prefix("xmlns") {
                Some("") => "",
                Some(rest) if rest.starts_with(':') => &rest[1..],
                _ => continue,
            };
            let at = tag_at + attribute.at;
            let uri = attribute_value(attribute.raw).or_else(|(_, kind, message)| self.fail(at, kind, message))?;
            if matches!(prefix, "xml" | "xmlns") || (!prefix.is_empty() && (uri.is_empty() || prefix.contains(':'))) {
                return self.fail(at, ReadErrorKind::Syntax, "a namespace declaration that XML forbids");
            }
            self.scope.push((prefix, Namespace::of(&uri), self.depth));
        }
        let declares_default = self.scope[before..].iter().any(|(prefix, ..)| prefix.is_empty());
        found.retain(|attribute| attribute.name != "xmlns" && !attribute.name.starts_with("xmlns:"));
        Ok(Entered { namespace: self.namespace_of(name, tag_at)?, attributes: found, declares_default })
    }

    /// Forgets the declarations of the innermost tag.
    pub(super) fn leave(&mut self) {
        while self.scope.last().is_some_and(|(_, _, depth)| *depth == self.depth) {
            self.scope.pop();
        }
        self.depth -= 1;
    }

    /// The namespace of an element's name.
    pub(super) fn namespace_of(&self, name: &str, at: usize) -> Result<Namespace, ReadError> {
        let prefix = prefix_of(name).0.unwrap_or_default();
        match self.declared(prefix) {
            Some((_, namespace, _)) => Ok(*namespace),
            None if prefix.is_empty() || prefix == "xml" => Ok(Namespace::Other),
            None => self.fail(at, ReadErrorKind::Syntax, "a prefix that no namespace declaration explains"),
        }
    }

    fn declared(&self, prefix: &str) -> Option<&(&'s str, Namespace, usize)> {
        // Most elements have no prefix, and most declarations none either.
        self.scope
            .iter()
            .rev()
            .find(|(known, ..)| known.len() == prefix.len() && (prefix.is_empty() || *known == prefix))
    }

    /// True when the prefix is declared by the innermost tag or one of the `levels` around it.
    pub(super) fn is_declared_within(&self, prefix: &str, levels: usize) -> bool {
        self.declared(prefix).is_some_and(|(_, _, depth)| depth + levels >= self.depth)
    }
}

pub(super) fn read<'s>(text: &'s str, limits: &Limits) -> Result<Tree<'s>, ReadError> {
    check_characters(text)?;
    let mut reader =
        Reader { tokens: Tokens::new(text, limits), builder: Builder::over(text), frames: Vec::new(), first: true };
    while reader.token()? {}
    Ok(reader.builder.finish())
}

/// XML 1.0 §2.2: characters that no XML text may hold.
pub(super) fn check_characters(text: &str) -> Result<(), ReadError> {
    // Chunk by chunk without early exit, so that it runs at the width of the machine. 0xEF begins the two
    // forbidden characters U+FFFE and U+FFFF.
    let suspicious = |byte: u8| (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0xef;
    let found = text
        .as_bytes()
        .chunks(1 << 12)
        .position(|chunk| chunk.iter().fold(false, |found, byte| found | suspicious(*byte)));
    // The exact look begins at a whole character at or before the chunk.
    let mut from = found.map_or(text.len(), |chunk| chunk << 12);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    let forbidden = |c: char| !is_allowed_character(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    match text[from..].find(forbidden) {
        None => Ok(()),
        Some(at) => {
            Err(ReadError::at(text, from + at, ReadErrorKind::ForbiddenCharacter, "a character that XML forbids"))
        }
    }
}

/// An open tag.
enum Frame {
    /// An element, with its node.
    Element(NodeId, usize),
    /// The tag of a resource; its node is the element around it, or the root.
    Resource,
}

struct Reader<'s, 'l> {
    tokens: Tokens<'s, 'l>,
    builder: Builder<'s>,
    frames: Vec<Frame>,
    first: bool,
}

impl<'s> Reader<'s, '_> {
    fn not_fhir<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ReadError> {
        self.tokens.fail(at, ReadErrorKind::NotFhir, message)
    }

    /// Reads one token; false at the end of the document.
    fn token(&mut self) -> Result<bool, ReadError> {
        let (event, span) = self.tokens.next()?;
        let first = std::mem::take(&mut self.first);
        match event {
            Event::Start(_) => self.start(span, false)?,
            Event::Empty(_) => self.start(span, true)?,
            Event::End(_) => self.end(span.end),
            Event::Text(_) => {
                let text = &self.tokens.source[span.clone()];
                if !text.trim_ascii().is_empty() {
                    return self.stray_text(span.start);
                }
            }
            Event::Comment(_) => {}
            Event::CData(_) => return self.stray_text(span.start),
            Event::GeneralRef(_) => {
                return self.tokens.fail(
                    span.start,
                    ReadErrorKind::Doctype,
                    "a reference outside of values and narrative",
                );
            }
            Event::Decl(declaration) if first => self.declaration(&declaration, span.start)?,
            Event::Decl(_) => {
                return self.tokens.fail(
                    span.start,
                    ReadErrorKind::Syntax,
                    "an XML declaration that is not at the start",
                );
            }
            Event::DocType(_) => return self.tokens.fail(span.start, ReadErrorKind::Doctype, "a DOCTYPE"),
            Event::PI(_) => return self.tokens.fail(span.start, ReadErrorKind::Doctype, "a processing instruction"),
            Event::Eof if !self.frames.is_empty() => {
                return self.tokens.fail(span.start, ReadErrorKind::Syntax, "the document ends within an element");
            }
            Event::Eof if self.builder.is_empty() => {
                return self.tokens.fail(span.start, ReadErrorKind::Syntax, "the document has no element");
            }
            Event::Eof => return Ok(false),
        }
        Ok(true)
    }

    fn stray_text<T>(&self, at: usize) -> Result<T, ReadError> {
        if self.frames.is_empty() {
            return self.tokens.fail(at, ReadErrorKind::Syntax, "text outside of the root element");
        }
        self.not_fhir(at, "text outside of narrative")
    }

    fn declaration(&self, declaration: &quick_xml::events::BytesDecl<'_>, at: usize) -> Result<(), ReadError> {
        if declaration.version().ok().as_deref() != Some("1.0") {
            return self.tokens.fail(at, ReadErrorKind::Charset, "not XML 1.0");
        }
        match declaration.encoding() {
            None => Ok(()),
            Some(Ok(label)) if label.eq_ignore_ascii_case("utf-8") => Ok(()),
            Some(_) => {
                self.tokens.fail(at, ReadErrorKind::Charset, "the document declares another encoding than UTF-8")
            }
        }
    }

    fn start(&mut self, span: Range<usize>, empty: bool) -> Result<(), ReadError> {
        if self.frames.is_empty() && !self.builder.is_empty() {
            return self.tokens.fail(span.start, ReadErrorKind::Syntax, "a second root element");
        }
        let tag = &self.tokens.source[span.clone()];
        let name = tag_name(tag);
        let (_, local) = prefix_of(name);
        let entered = self.tokens.enter(tag, span.start, name)?;
        match entered.namespace {
            Namespace::Fhir => {}
            Namespace::Xhtml if local == "div" && !self.frames.is_empty() => {
                // Its declarations are taken in again by the narrative's own reader.
                self.tokens.leave();
                return self.narrative(span, empty);
            }
            _ => {
                let message = "an element that is not of the FHIR namespace";
                return self.tokens.fail(span.start, ReadErrorKind::ForeignNamespace, message);
            }
        }
        if local.starts_with(|c: char| c.is_ascii_uppercase()) {
            self.resource(local, &entered, span.start)?;
        } else {
            self.element(local, &entered, span.start)?;
        }
        if empty {
            self.end(span.end);
        }
        Ok(())
    }

    /// Opens a node below the innermost one, within the limits.
    fn open(&mut self, name: &'s str, at: usize) -> Result<NodeId, ReadError> {
        if self.builder.len() >= self.tokens.limits.nodes {
            return self.tokens.fail(at, ReadErrorKind::TooManyNodes, "the resource has too many elements");
        }
        if self.builder.depth() >= self.tokens.limits.depth.min(DEPTH_MAX) {
            return self.tokens.fail(at, ReadErrorKind::TooDeep, "the elements are nested too deeply");
        }
        if let Some(known) = self.builder.known(name) {
            return Ok(self.builder.open_named(known));
        }
        if !is_element_name(name) {
            return self.not_fhir(at, "a name that no FHIR element can have");
        }
        Ok(self.builder.open(name))
    }

    /// `<Patient>`: the type of the element around it (`resource`, `contained` …), or the root.
    fn resource(&mut self, name: &'s str, entered: &Entered<'s>, at: usize) -> Result<(), ReadError> {
        if !is_resource_name(name) {
            return self.not_fhir(at, "a name that no FHIR resource can have");
        }
        match self.frames.last() {
            None => {
                self.open(name, at)?;
            }
            Some(Frame::Resource) => return self.not_fhir(at, "a resource directly within a resource"),
            Some(Frame::Element(node, _)) => {
                let holder = self.builder.so_far().element(*node);
                if holder.resource_type().is_some() || holder.has_children() || holder.value().is_some() {
                    return self.not_fhir(at, "an element holds a resource and something else");
                }
            }
        }
        self.builder.set_resource_type(name);
        for attribute in &entered.attributes {
            if !self.is_schema_hint(attribute) {
                return self.not_fhir(at + attribute.at, "an attribute that FHIR resources do not have");
            }
            self.builder.hinted();
        }
        self.frames.push(Frame::Resource);
        Ok(())
    }

    fn element(&mut self, name: &'s str, entered: &Entered<'s>, at: usize) -> Result<(), ReadError> {
        match self.frames.last() {
            None => return self.not_fhir(at, "the root is not a FHIR resource"),
            Some(Frame::Element(node, _)) => {
                let holder = self.builder.so_far().element(*node);
                if holder.resource_type().is_some() {
                    return self.not_fhir(at, "an element holds a resource and something else");
                }
                // In XML these are attributes (R4 §2.6.1); as elements they could not be told from them.
                if name == "id" || (name == "url" && is_extension(holder.name())) {
                    return self.not_fhir(at, format!("{name} is an attribute here"));
                }
            }
            Some(Frame::Resource) => {}
        }
        let node = self.open(name, at)?;
        for attribute in &entered.attributes {
            let value = attribute_value(attribute.raw)
                .or_else(|(offset, kind, message)| self.tokens.fail(at + attribute.at + offset, kind, message))?;
            match attribute.name {
                "value" => self.builder.set_value(value, Lexical::Untold),
                "id" | "url" if attribute.name == "id" || is_extension(name) => {
                    let child = self.open(attribute.name, at + attribute.at)?;
                    self.builder.set_value(value, Lexical::Untold);
                    let start = at + attribute.at;
                    self.builder.set_span(child, start..start + attribute.name.len() + attribute.raw.len() + 3);
                    self.builder.close();
                }
                _ if self.is_schema_hint(attribute) => self.builder.hinted(),
                _ => return self.not_fhir(at + attribute.at, "an attribute that FHIR elements do not have"),
            }
        }
        self.frames.push(Frame::Element(node, at));
        Ok(())
    }

    /// `xsi:schemaLocation` and the like, which carry no content.
    fn is_schema_hint(&self, attribute: &Attribute<'_>) -> bool {
        attribute.name.split_once(':').is_some_and(|(prefix, local)| {
            matches!(local, "schemaLocation" | "noNamespaceSchemaLocation")
                && self.tokens.declared(prefix).is_some_and(|(_, namespace, _)| *namespace == Namespace::Schema)
        })
    }

    fn narrative(&mut self, span: Range<usize>, empty: bool) -> Result<(), ReadError> {
        if let Some(Frame::Element(node, _)) = self.frames.last()
            && self.builder.so_far().element(*node).resource_type().is_some()
        {
            return self.not_fhir(span.start, "an element holds a resource and something else");
        }
        let start = span.start;
        let node = self.open("div", start)?;
        let text = narrative::read(&mut self.tokens, span, empty)?;
        self.builder.set_value(text, Lexical::Untold);
        self.builder.set_span(node, start..self.tokens.offset());
        self.builder.close();
        Ok(())
    }

    fn end(&mut self, end: usize) {
        self.tokens.leave();
        match self.frames.pop() {
            Some(Frame::Element(node, start)) => {
                self.builder.set_span(node, start..end);
                self.builder.close();
            }
            // The root's tag is its node; any other resource's node is closed by the element around it.
            Some(Frame::Resource) if self.frames.is_empty() => {
                if let Some(root) = self.builder.innermost() {
                    self.builder.set_span(root, 0..end);
                }
                self.builder.close();
            }
            Some(Frame::Resource) | None => {}
        }
    }
}

fn is_extension(name: &str) -> bool {
    matches!(name, "extension" | "modifierExtension")
}
