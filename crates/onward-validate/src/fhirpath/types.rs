//! Types by name: FHIR's hierarchy over the element table, and FHIRPath's `System` types (FHIRPath §2.1, FHIR R4 §2.9).

use onward_fhir::elements::{Table, TypeDef, TypeKind};

/// Which model a type's name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    /// `FHIR.Patient`
    Fhir,
    /// `System.Boolean`
    System,
}

/// A type as an expression names it: `Quantity`, `FHIR.code`, `System.Boolean`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeName {
    /// Told, or found by its name.
    pub(super) namespace: Option<Namespace>,
    pub(super) name: Box<str>,
}

/// The types that FHIRPath itself has.
pub(super) const SYSTEM_TYPES: &[&str] =
    &["Any", "Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity"];

/// Abstract FHIR types and those that only the narrative or FHIRPath knows: not in every element table.
const ABSTRACT: &[&str] = &["Element", "BackboneElement", "Resource", "DomainResource", "DataType", "PrimitiveType"];

impl TypeName {
    /// True for a name that the release's FHIR or FHIRPath knows.
    pub(super) fn is_known(&self, table: &Table) -> bool {
        let fhir = || table.type_def(&self.name).is_some() || ABSTRACT.contains(&&*self.name);
        let system = || SYSTEM_TYPES.contains(&&*self.name);
        match self.namespace {
            Some(Namespace::Fhir) => fhir(),
            Some(Namespace::System) => system(),
            None => fhir() || system(),
        }
    }

    /// True when the name means the FHIR type of this name, had an element it.
    pub(super) fn may_be_fhir(&self) -> bool {
        self.namespace != Some(Namespace::System)
    }

    /// True when the name means the `System` type of this name, had a value it.
    pub(super) fn may_be_system(&self) -> bool {
        self.namespace != Some(Namespace::Fhir)
    }
}

/// A type as definitions name it: `HumanName`, `SimpleQuantity`, `http://hl7.org/fhirpath/System.String`, or by its canonical URL.
pub(super) fn definition(table: &'static Table, name: &str) -> Option<&'static TypeDef> {
    if let Some(system) = name.strip_prefix("http://hl7.org/fhirpath/System.") {
        return table.type_def(match system {
            "Boolean" => "boolean",
            "Integer" => "integer",
            "Decimal" => "decimal",
            "Date" => "date",
            "DateTime" => "dateTime",
            "Time" => "time",
            _ => "string",
        });
    }
    match name.strip_prefix("http://hl7.org/fhir/StructureDefinition/").unwrap_or(name) {
        "SimpleQuantity" | "MoneyQuantity" => table.type_def("Quantity"),
        name => table.type_def(name),
    }
}

/// The name that `type()` tells and that `ofType` takes: a backbone's own path is nobody's type.
pub(super) fn public_name(def: &TypeDef) -> &'static str {
    match def.kind() {
        TypeKind::Backbone if is_in_data_type(def.name()) => "Element",
        TypeKind::Backbone => "BackboneElement",
        _ => def.name(),
    }
}

/// Backbones within data types (`Timing.repeat`) are plain elements, but for those of the BackboneElement types.
fn is_in_data_type(path: &str) -> bool {
    matches!(
        path.split('.').next(),
        Some("Timing" | "ElementDefinition" | "DataRequirement" | "Dosage" | "SubstanceAmount" | "ParameterDefinition")
    )
}

/// True when a FHIR type is another or is derived from it.
pub(super) fn inherits(def: &TypeDef, ancestor: &str) -> bool {
    if def.name() == ancestor || public_name(def) == ancestor {
        return true;
    }
    match def.kind() {
        TypeKind::Primitive => {
            ancestor == "Element" || ancestor == "PrimitiveType" || primitive_parent(def.name()) == Some(ancestor)
        }
        TypeKind::DataType => {
            ancestor == "Element"
                || ancestor == "DataType"
                || data_type_parent(def.name()).is_some_and(|parent| parent == ancestor)
        }
        TypeKind::Backbone => ancestor == "Element",
        TypeKind::Resource => {
            ancestor == "Resource"
                || (ancestor == "DomainResource" && !matches!(def.name(), "Bundle" | "Binary" | "Parameters"))
        }
    }
}

/// Primitive types derived from others (R4 §2.24.0.1).
fn primitive_parent(name: &str) -> Option<&'static str> {
    match name {
        "code" | "id" | "markdown" => Some("string"),
        "canonical" | "oid" | "url" | "uuid" => Some("uri"),
        "positiveInt" | "unsignedInt" => Some("integer"),
        _ => None,
    }
}

fn data_type_parent(name: &str) -> Option<&'static str> {
    match name {
        "Age" | "Count" | "Distance" | "Duration" | "SimpleQuantity" | "MoneyQuantity" => Some("Quantity"),
        "Dosage" | "ElementDefinition" | "Timing" | "MarketingStatus" | "Population" | "ProdCharacteristic"
        | "ProductShelfLife" | "SubstanceAmount" => Some("BackboneElement"),
        _ => None,
    }
}

/// The `System` type that a FHIR primitive's value is of (FHIR R4 fhirpath.html §2.9.1.1); `None` for a type that is none.
pub(super) fn system_type(fhir_primitive: &str) -> Option<&'static str> {
    Some(match fhir_primitive {
        "boolean" => "Boolean",
        "integer" | "positiveInt" | "unsignedInt" => "Integer",
        "decimal" => "Decimal",
        "date" => "Date",
        "dateTime" | "instant" => "DateTime",
        "time" => "Time",
        other if other.starts_with(|c: char| c.is_ascii_lowercase()) => "String",
        _ => return None,
    })
}
