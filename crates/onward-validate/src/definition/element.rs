//! One ElementDefinition.

use std::sync::Arc;

use onward_fhir::Element;

use super::value::Value;

/// A constraint on an element, as a FHIRPath invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constraint {
    pub(crate) key: String,
    /// True when a breach is an error, false for a warning.
    pub(crate) is_error: bool,
    pub(crate) human: String,
    pub(crate) expression: Option<String>,
    /// Marked as best practice only.
    pub(crate) best_practice: bool,
}

/// An allowed type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeRef {
    pub(crate) code: String,
    pub(crate) profiles: Vec<String>,
    pub(crate) target_profiles: Vec<String>,
    pub(crate) aggregation: Vec<String>,
    /// `either`, `independent`, `specific`.
    pub(crate) versioning: Option<String>,
}

/// A value set that codes must come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) strength: String,
    pub(crate) value_set: Option<String>,
    /// `elementdefinition-maxValueSet`.
    pub(crate) max_value_set: Option<String>,
}

/// How a slice is told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscriminatorKind {
    /// `value` and `pattern` mean the same since R4 allows both on either.
    Value,
    Exists,
    Type,
    Profile,
}

/// One discriminator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discriminator {
    pub(crate) kind: DiscriminatorKind,
    pub(crate) path: String,
}

/// What may stand beside the slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlicingRules {
    Open,
    Closed,
    OpenAtEnd,
}

/// How an element is sliced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slicing {
    pub(crate) discriminators: Vec<Discriminator>,
    pub(crate) ordered: bool,
    pub(crate) rules: SlicingRules,
}

/// One ElementDefinition; what it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ElementDefinition {
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) slice_name: Option<String>,
    pub(crate) slicing: Option<Slicing>,
    pub(crate) min: Option<u32>,
    /// `u32::MAX` for `*`.
    pub(crate) max: Option<u32>,
    /// True when the base definition allows the element to repeat: in JSON it is an array.
    pub(crate) base_repeats: Option<bool>,
    pub(crate) types: Vec<TypeRef>,
    pub(crate) content_reference: Option<String>,
    pub(crate) fixed: Option<Arc<Value>>,
    pub(crate) pattern: Option<Arc<Value>>,
    pub(crate) min_value: Option<Arc<Value>>,
    pub(crate) max_value: Option<Arc<Value>>,
    pub(crate) max_length: Option<u32>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) binding: Option<Binding>,
    pub(crate) is_modifier: bool,
    /// `regex` of a primitive's value.
    pub(crate) regex: Option<String>,
}

impl ElementDefinition {
    pub(crate) fn read(element: Element<'_, '_>) -> Self {
        let text = |name: &str| element.text(name).map(str::to_owned);
        let value = |stem: &str| element.choice(stem).map(|found| Arc::new(Value::read(found, stem)));
        let path = text("path").unwrap_or_default();
        Self {
            id: text("id").unwrap_or_else(|| path.clone()),
            path,
            slice_name: text("sliceName"),
            slicing: element.get("slicing").map(slicing),
            min: element.text("min").and_then(|min| min.parse().ok()),
            max: element.text("max").and_then(most),
            base_repeats: element.text_at("base.max").and_then(most).map(|max| max > 1),
            types: element.all("type").map(type_ref).collect(),
            content_reference: text("contentReference"),
            fixed: value("fixed"),
            pattern: value("pattern"),
            min_value: value("minValue"),
            max_value: value("maxValue"),
            max_length: element.text("maxLength").and_then(|length| length.parse().ok()),
            constraints: element.all("constraint").map(constraint).collect(),
            binding: element.get("binding").map(binding),
            is_modifier: element.text("isModifier") == Some("true"),
            regex: element
                .at("type")
                .and_then(|each| each.extension(REGEX))
                .and_then(|each| each.choice("value").and_then(Element::value).map(str::to_owned)),
        }
    }

    /// The name in its parent: the last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

const REGEX: &str = "http://hl7.org/fhir/StructureDefinition/regex";
const FHIR_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type";
const MAX_VALUE_SET: &str = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet";
const BEST_PRACTICE: &str = "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice";

fn most(max: &str) -> Option<u32> {
    if max == "*" { Some(u32::MAX) } else { max.parse().ok() }
}

fn slicing(element: Element<'_, '_>) -> Slicing {
    Slicing {
        discriminators: element
            .all("discriminator")
            .map(|each| Discriminator {
                kind: match each.text("type") {
                    Some("exists") => DiscriminatorKind::Exists,
                    Some("type") => DiscriminatorKind::Type,
                    Some("profile") => DiscriminatorKind::Profile,
                    _ => DiscriminatorKind::Value,
                },
                path: each.text("path").unwrap_or("$this").to_owned(),
            })
            .collect(),
        ordered: element.text("ordered") == Some("true"),
        rules: match element.text("rules") {
            Some("closed") => SlicingRules::Closed,
            Some("openAtEnd") => SlicingRules::OpenAtEnd,
            _ => SlicingRules::Open,
        },
    }
}

fn type_ref(element: Element<'_, '_>) -> TypeRef {
    let values = |name: &str| element.all(name).filter_map(Element::value).map(str::to_owned).collect();
    TypeRef {
        code: code_of(element),
        profiles: values("profile"),
        target_profiles: values("targetProfile"),
        aggregation: values("aggregation"),
        versioning: element.text("versioning").map(str::to_owned),
    }
}

/// The FHIR type; definitions of R4 say `System.String` and add the FHIR type by an extension.
fn code_of(element: Element<'_, '_>) -> String {
    let code = element.text("code").unwrap_or_default();
    let Some(system) = code.strip_prefix("http://hl7.org/fhirpath/System.") else {
        let plain = code.strip_prefix("http://hl7.org/fhir/StructureDefinition/").unwrap_or(code);
        return plain.to_owned();
    };
    let told = element.extension(FHIR_TYPE).or_else(|| element.get("code").and_then(|code| code.extension(FHIR_TYPE)));
    if let Some(told) = told.and_then(|told| told.choice("value")).and_then(Element::value) {
        return told.to_owned();
    }
    let mut name = system.to_owned();
    if let Some(first) = name.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    name
}

fn constraint(element: Element<'_, '_>) -> Constraint {
    let text = |name: &str| element.text(name).unwrap_or_default().to_owned();
    Constraint {
        key: text("key"),
        is_error: element.text("severity") != Some("warning"),
        human: text("human"),
        expression: element.text("expression").map(str::to_owned),
        best_practice: element.extension(BEST_PRACTICE).and_then(|each| each.text("valueBoolean")) == Some("true"),
    }
}

fn binding(element: Element<'_, '_>) -> Binding {
    let value_set = |holder: Element<'_, '_>| holder.choice("value").and_then(Element::value).map(str::to_owned);
    Binding {
        strength: element.text("strength").unwrap_or_default().to_owned(),
        value_set: element
            .text("valueSet")
            .or_else(|| element.text("valueSetUri"))
            .or_else(|| element.text_at("valueSetReference.reference"))
            .map(str::to_owned),
        max_value_set: element.extension(MAX_VALUE_SET).and_then(value_set),
    }
}
