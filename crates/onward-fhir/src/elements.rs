//! What FHIR says about each element, one table per release: its type, whether it repeats, its place in
//! the order of XML, and how its primitive stands in JSON. Decoded once from the packed tables whose
//! provenance `tables/README.md` tells.
//!
//! It knows structure only: cardinality minimums, bindings and invariants are the validator's.

use std::io::Read;
use std::sync::LazyLock;

use foldhash::{HashMap, HashMapExt};

use crate::tree::Release;

/// The element table of a release.
#[must_use]
pub fn table(release: Release) -> &'static Table {
    static STU3: LazyLock<Table> = LazyLock::new(|| Table::decode(include_bytes!("../tables/stu3.tsv.gz")));
    static R4: LazyLock<Table> = LazyLock::new(|| Table::decode(include_bytes!("../tables/r4.tsv.gz")));
    match release {
        Release::Stu3 => &STU3,
        Release::R4 => &R4,
    }
}

/// All types of one FHIR release.
#[derive(Debug)]
pub struct Table {
    types: Vec<TypeDef>,
    by_name: HashMap<&'static str, usize>,
}

/// What sort of type it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeKind {
    /// `string`, `dateTime`, `xhtml` …
    Primitive,
    /// `HumanName`, `Extension` …
    DataType,
    /// `Patient`, `Bundle` …, and the abstract `Resource` and `DomainResource`.
    Resource,
    /// The unnamed type of an element with children, named by its path: `Patient.contact`.
    Backbone,
}

/// How a primitive's value stands in JSON (R4 §2.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// `true` or `false`.
    Boolean,
    /// A bare number: `integer`, `positiveInt`, `unsignedInt`, `decimal`.
    Number,
    /// A string.
    String,
}

/// One type and its elements.
#[derive(Debug)]
pub struct TypeDef {
    name: &'static str,
    kind: TypeKind,
    elements: Vec<ElementDef>,
    by_name: HashMap<&'static str, usize>,
}

/// One element of a type; each type of a choice (`value[x]`) is one of its own.
#[derive(Debug, Clone)]
pub struct ElementDef {
    /// The name as it stands in a document: `birthDate`, `valueQuantity`.
    pub name: &'static str,
    /// Its type, `Resource` for any resource; a backbone's or content reference's type is a path.
    pub type_name: &'static str,
    /// True when more than one is allowed.
    pub array: bool,
    /// Place among its siblings in XML; the types of one choice share theirs.
    pub order: u16,
    /// The stem of a choice element: `value` of `valueQuantity`.
    pub choice: Option<&'static str>,
    /// How it stands in JSON, when it is a primitive.
    pub primitive: Option<JsonKind>,
    /// True for `Narrative.div`.
    pub xhtml: bool,
    /// The place of its type in the table.
    type_at: Option<usize>,
}

impl Table {
    fn decode(packed: &[u8]) -> Self {
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("the committed table is gzip of UTF-8");
        let mut types: Vec<TypeDef> = Vec::new();
        // Leaked once per process, so that names and types can be handed out freely.
        for line in Box::leak(text.into_boxed_str()).lines() {
            let mut fields = line.split('\t');
            let first = fields.next().unwrap_or_default();
            let name = fields.next().expect("a row has a name");
            if first.is_empty() {
                let owner = types.last_mut().expect("an element follows its type");
                owner.add(name, fields.next().expect("an element has a type"), fields.next() == Some("*"));
            } else {
                types.push(TypeDef::new(first, name));
            }
        }
        let by_name: HashMap<&'static str, usize> = types.iter().zip(0..).map(|(each, at)| (each.name, at)).collect();
        for element in types.iter_mut().flat_map(|each| &mut each.elements) {
            element.type_at = by_name.get(element.type_name).copied();
        }
        Self { types, by_name }
    }

    /// A type by its name: `Patient`, `HumanName`, `dateTime`, `Patient.contact`.
    #[must_use]
    pub fn type_def(&self, name: &str) -> Option<&TypeDef> {
        self.by_name.get(name).map(|at| &self.types[*at])
    }

    /// The type of an element of this table.
    #[must_use]
    pub fn type_of(&self, element: &ElementDef) -> Option<&TypeDef> {
        element.type_at.map(|at| &self.types[at])
    }

    /// True for a concrete resource type of this release.
    #[must_use]
    pub fn is_resource(&self, name: &str) -> bool {
        !matches!(name, "Resource" | "DomainResource")
            && self.type_def(name).is_some_and(|each| each.kind == TypeKind::Resource)
    }

    /// The element of this name of a type.
    #[must_use]
    pub fn child(&self, type_name: &str, name: &str) -> Option<&ElementDef> {
        self.type_def(type_name)?.child(name)
    }

    /// Every type.
    pub fn types(&self) -> impl Iterator<Item = &TypeDef> {
        self.types.iter()
    }
}

impl TypeDef {
    fn new(kind: &str, name: &'static str) -> Self {
        let kind = match kind {
            "P" => TypeKind::Primitive,
            "T" => TypeKind::DataType,
            "R" => TypeKind::Resource,
            _ => TypeKind::Backbone,
        };
        let mut made = Self { name, kind, elements: Vec::new(), by_name: HashMap::new() };
        if kind == TypeKind::Primitive {
            made.add("id", "string", false);
            made.add("extension", "Extension", true);
        }
        made
    }

    fn add(&mut self, name: &'static str, types: &'static str, array: bool) {
        let order = self.elements.last().map_or(0, |last| last.order + 1);
        match name.strip_suffix("[x]") {
            None => self.push(name, types, array, order, None),
            Some(stem) => {
                for type_name in types.split('|') {
                    let name: &'static str = Box::leak(choice_name(stem, type_name).into_boxed_str());
                    self.push(name, type_name, array, order, Some(stem));
                }
            }
        }
    }

    fn push(
        &mut self,
        name: &'static str,
        type_name: &'static str,
        array: bool,
        order: u16,
        choice: Option<&'static str>,
    ) {
        self.by_name.insert(name, self.elements.len());
        self.elements.push(ElementDef {
            name,
            type_name,
            array,
            order,
            choice,
            primitive: json_kind(type_name),
            xhtml: type_name == "xhtml",
            type_at: None,
        });
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What sort of type it is.
    #[must_use]
    pub fn kind(&self) -> TypeKind {
        self.kind
    }

    /// Its elements in the order of XML.
    #[must_use]
    pub fn elements(&self) -> &[ElementDef] {
        &self.elements
    }

    /// The element of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&ElementDef> {
        self.by_name.get(name).map(|at| &self.elements[*at])
    }

    /// The elements of a choice: `choice("value")` gives `valueQuantity`, `valueString` …
    pub fn choice<'a>(&'a self, stem: &'a str) -> impl Iterator<Item = &'a ElementDef> {
        self.elements.iter().filter(move |element| element.choice == Some(stem))
    }
}

fn choice_name(stem: &str, type_name: &str) -> String {
    let mut name = String::with_capacity(stem.len() + type_name.len());
    name.push_str(stem);
    name.extend(type_name.chars().take(1).map(|first| first.to_ascii_uppercase()));
    name.push_str(&type_name[1..]);
    name
}

/// Primitive types begin with a small letter, all others with a capital (R4 §2.24).
fn json_kind(type_name: &str) -> Option<JsonKind> {
    match type_name {
        "boolean" => Some(JsonKind::Boolean),
        "integer" | "positiveInt" | "unsignedInt" | "decimal" => Some(JsonKind::Number),
        other => other.starts_with(|c: char| c.is_ascii_lowercase()).then_some(JsonKind::String),
    }
}

#[cfg(test)]
mod tests;
