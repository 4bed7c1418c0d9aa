//! What a collection holds: elements of the tree, and values computed or written in the expression.

use std::borrow::Cow;

use onward_fhir::elements::{Table, TypeDef, TypeKind};
use onward_fhir::{Element, Lexical};

use super::decimal::Decimal;
use super::quantity::{Quantity, Unit};
use super::temporal::Temporal;
use super::types;

/// One member of a collection.
#[derive(Clone)]
pub enum Item<'t> {
    /// An element of the tree.
    Node(Node<'t>),
    /// `true`, `false`
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A decimal, its places kept.
    Decimal(Decimal),
    /// Text; borrowed from the tree or the expression where it can be.
    String(Cow<'t, str>),
    /// A date, date-time or time with its precision.
    Temporal(Temporal),
    /// A number of units.
    Quantity(Box<Quantity<'t>>),
    /// What `type()` tells.
    Type {
        /// `FHIR` or `System`.
        namespace: &'static str,
        /// `Patient`, `code`, `Boolean` …
        name: &'t str,
    },
}

impl std::fmt::Debug for Item<'_> {
    /// The kind only: values are patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            _ => f.debug_tuple("Value").field(&self.type_name()).finish(),
        }
    }
}

/// An element and what FHIR says that it is.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    /// The element.
    pub element: Element<'t, 't>,
    /// Its type; `None` for an element that the release does not know.
    pub type_def: Option<&'static TypeDef>,
}

impl std::fmt::Debug for Node<'_> {
    /// Path and type.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("path", &self.element.path()).field("type", &self.type_name()).finish()
    }
}

impl<'t> Node<'t> {
    /// A resource, its type told by itself.
    #[must_use]
    pub fn resource(element: Element<'t, 't>, table: &'static Table) -> Self {
        Self { element, type_def: element.resource_type().and_then(|name| table.type_def(name)) }
    }

    /// The element table's name of its type: `Patient`, `code`, `Patient.contact`.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        self.type_def.map(TypeDef::name)
    }

    /// True for a primitive, or for an element of unknown type that has a text.
    pub(super) fn is_primitive(&self) -> bool {
        match self.type_def {
            Some(def) => def.kind() == TypeKind::Primitive,
            None => self.element.value().is_some(),
        }
    }

    /// A child of it with its type.
    pub(super) fn child(&self, element: Element<'t, 't>, table: &'static Table) -> Self {
        if element.resource_type().is_some() {
            return Self::resource(element, table);
        }
        let Some(parent) = self.type_def else { return Self { element, type_def: None } };
        let name = element.name();
        // The identity of a resource is an `id`, that of any other element a string.
        let type_def = if name == "id" && parent.kind() == TypeKind::Resource {
            table.type_def("id")
        } else {
            parent.child(name).and_then(|each| table.type_of(each))
        };
        Self { element, type_def }
    }

    /// The `System` value of a primitive; `None` when it has none, or one that is not of its type.
    fn value(&self) -> Option<Item<'t>> {
        let text = self.element.value()?;
        let system = match self.type_def {
            Some(def) => types::system_type(def.name())?,
            None => match self.element.lexical() {
                Lexical::Boolean => "Boolean",
                Lexical::Number => "Decimal",
                Lexical::String | Lexical::Untold => "String",
            },
        };
        Some(match system {
            "Boolean" => Item::Boolean(match text {
                "true" => true,
                "false" => false,
                _ => return None,
            }),
            "Integer" => Item::Integer(text.parse().ok()?),
            "Decimal" => Item::Decimal(Decimal::parse(text)?),
            "Date" => Item::Temporal(Temporal::date(text)?),
            "DateTime" => Item::Temporal(Temporal::date_time(text)?),
            "Time" => Item::Temporal(Temporal::time(text)?),
            _ => Item::String(Cow::Borrowed(text)),
        })
    }

    /// The `Quantity` that it is, if it is one.
    fn quantity(&self) -> Option<Quantity<'t>> {
        self.type_def.filter(|def| types::inherits(def, "Quantity"))?;
        let value = Decimal::parse(self.element.text("value")?)?;
        let (system, code) = (self.element.text("system"), self.element.text("code"));
        let unit = match (system, code) {
            (Some("http://unitsofmeasure.org"), Some(code)) => Unit::Ucum(Cow::Borrowed(code)),
            (None, None) if self.element.get("unit").is_none() => Unit::Ucum(Cow::Borrowed("1")),
            (system, code) => Unit::Other { system, code: code.or_else(|| self.element.text("unit")) },
        };
        Some(Quantity { value, unit })
    }
}

impl<'t> Item<'t> {
    /// The node, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<&Node<'t>> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The name of its type, without namespace: `code`, `Patient`, `Boolean`.
    #[must_use]
    pub fn type_name(&self) -> &'t str {
        match self {
            Self::Node(node) => node.type_def.map_or("Element", types::public_name),
            Self::Boolean(_) => "Boolean",
            Self::Integer(_) => "Integer",
            Self::Decimal(_) => "Decimal",
            Self::String(_) => "String",
            Self::Temporal(temporal) => match temporal.kind() {
                super::TemporalKind::Date => "Date",
                super::TemporalKind::DateTime => "DateTime",
                super::TemporalKind::Time => "Time",
            },
            Self::Quantity(_) => "Quantity",
            Self::Type { .. } => "TypeInfo",
        }
    }

    /// Itself as a `System` value: a primitive element gives its value, a `Quantity` element a quantity, a value itself.
    /// `None` for any other element and for a primitive without a value.
    pub(super) fn value(&self) -> Option<Cow<'_, Item<'t>>> {
        match self {
            Self::Node(node) if node.is_primitive() => node.value().map(Cow::Owned),
            Self::Node(node) => node.quantity().map(|quantity| Cow::Owned(Self::Quantity(Box::new(quantity)))),
            value => Some(Cow::Borrowed(value)),
        }
    }

    /// Its value as text, as `toString()` gives it; `None` for what has none.
    pub(super) fn to_text(&self) -> Option<Cow<'t, str>> {
        Some(match self {
            Self::String(text) => text.clone(),
            // A primitive's text as it was written.
            Self::Node(node) if node.is_primitive() => Cow::Borrowed(node.element.value()?),
            Self::Node(node) => Cow::Owned(node.quantity()?.to_string()),
            Self::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Decimal(value) => Cow::Owned(value.to_string()),
            Self::Temporal(value) => Cow::Owned(value.to_string()),
            Self::Quantity(value) => Cow::Owned(value.to_string()),
            Self::Type { .. } => return None,
        })
    }

    /// Its number, when it is an integer or decimal.
    pub(super) fn number(&self) -> Option<Decimal> {
        match self.value()?.as_ref() {
            Self::Integer(value) => Some(Decimal::from(*value)),
            Self::Decimal(value) => Some(*value),
            _ => None,
        }
    }

    /// Its quantity; a number is one of the unit `1`.
    pub(super) fn as_quantity(&self) -> Option<Quantity<'t>> {
        match self.value()?.as_ref() {
            Self::Quantity(quantity) => Some((**quantity).clone()),
            Self::Integer(value) => Some(Quantity::of_number(Decimal::from(*value))),
            Self::Decimal(value) => Some(Quantity::of_number(*value)),
            _ => None,
        }
    }
}

impl<'t> From<&'t str> for Item<'t> {
    fn from(text: &'t str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}
