//! StructureDefinition and ElementDefinition (R4 §5.1, §2.28), as much of them as constrains an instance, read from
//! the tree of either syntax.

mod element;
mod value;

use onward_fhir::Element;

pub(crate) use element::{
    Binding, Constraint, Discriminator, DiscriminatorKind, ElementDefinition, Slicing, SlicingRules, TypeRef,
};
pub(crate) use value::Value;

/// What sort of type it defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Primitive,
    Complex,
    Resource,
    Logical,
}

/// Where an extension may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtensionContext {
    /// `element`, `extension` or `fhirpath`.
    pub(crate) kind: String,
    pub(crate) expression: String,
}

/// One StructureDefinition.
#[derive(Debug, Clone)]
pub(crate) struct StructureDefinition {
    pub(crate) url: String,
    pub(crate) kind: Kind,
    pub(crate) is_abstract: bool,
    pub(crate) type_name: String,
    pub(crate) base: Option<String>,
    /// True for a profile (`derivation` = `constraint`).
    pub(crate) constrains: bool,
    pub(crate) contexts: Vec<ExtensionContext>,
    pub(crate) context_invariants: Vec<String>,
    pub(crate) snapshot: Vec<ElementDefinition>,
    pub(crate) differential: Vec<ElementDefinition>,
}

impl StructureDefinition {
    /// Reads a StructureDefinition.
    ///
    /// # Errors
    /// A sentence that says what it lacks.
    pub(crate) fn read(root: Element<'_, '_>) -> Result<Self, String> {
        let text = |name: &str| root.text(name).map(str::to_owned);
        if !root.is("StructureDefinition") {
            return Err("it is not a StructureDefinition".to_owned());
        }
        let kind = match root.text("kind") {
            Some("primitive-type") => Kind::Primitive,
            Some("complex-type") => Kind::Complex,
            Some("resource") => Kind::Resource,
            Some("logical") => Kind::Logical,
            _ => return Err("it has no known kind".to_owned()),
        };
        let elements = |view: &str| -> Vec<ElementDefinition> {
            root.get(view).map(|view| view.all("element").map(ElementDefinition::read).collect()).unwrap_or_default()
        };
        Ok(Self {
            url: text("url").ok_or("it has no url")?,
            kind,
            is_abstract: root.text("abstract") == Some("true"),
            type_name: text("type").ok_or("it has no type")?,
            base: text("baseDefinition"),
            constrains: root.text("derivation") == Some("constraint"),
            contexts: root.all("context").map(context).collect(),
            context_invariants: root
                .all("contextInvariant")
                .filter_map(|each| each.value().map(str::to_owned))
                .collect(),
            snapshot: elements("snapshot"),
            differential: elements("differential"),
        })
    }
}

fn context(element: Element<'_, '_>) -> ExtensionContext {
    let text = |name: &str| element.text(name).unwrap_or_default().to_owned();
    ExtensionContext { kind: text("type"), expression: text("expression") }
}

/// The canonical of FHIR's own definition of a type.
pub(crate) fn core_canonical(type_name: &str) -> String {
    format!("http://hl7.org/fhir/StructureDefinition/{type_name}")
}

/// A canonical without its version.
pub(crate) fn without_version(canonical: &str) -> &str {
    canonical.split('|').next().unwrap_or(canonical)
}
