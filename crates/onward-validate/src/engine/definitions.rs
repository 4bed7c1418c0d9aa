//! Conformance resources as instances: rules of R4 that no invariant tells.

use onward_fhir::Element;

use super::Session;
use crate::conformance::Kind;
use crate::definition::StructureDefinition;
use crate::invariant::Invariants;
use crate::plan::{Names, compile};
use crate::snapshot::Missing;

impl<'t, 's> Session<'_, 't, 's> {
    /// A profile must fit what it is a profile of (R4 §5.1.0.4).
    pub(super) fn structure_definition(&mut self, element: Element<'t, 's>) {
        let Ok(definition) = StructureDefinition::read(element) else { return };
        if !definition.constrains || definition.differential.is_empty() {
            return;
        }
        match self.validator.shapes.of_definition(definition) {
            Ok(profile) => {
                // What a document names must not stay in the validator's own tables.
                let (invariants, names) = (Invariants::default(), Names::default());
                let plan = compile(&profile, &self.validator.shapes, &invariants, &names);
                let holder = element.get("differential").unwrap_or(element);
                for problem in plan.problems.iter().filter(|problem| problem.is_wrong) {
                    let at = holder.all("element").find(|each| each.text("id") == Some(problem.element.as_str()));
                    let text = format!("{}: {}.", problem.element, problem.text);
                    self.definition_error(at.unwrap_or(holder), &format!("definition {}", problem.element), text);
                }
            }
            Err(Missing::Unknown) => {}
            Err(missing @ Missing::Unusable(_)) => {
                self.unresolved(element, element.text("url").unwrap_or_default(), &missing, crate::Severity::Warning);
            }
        }
    }

    pub(super) fn definition_error(&mut self, at: Element<'t, 's>, rule: &str, text: String) {
        self.answer_error(at, rule, text);
    }

    /// R4 CodeSystem §4.8: supplements, and the properties that concepts have.
    pub(super) fn code_system(&mut self, element: Element<'t, 's>) {
        if element.get("supplements").is_some() && element.text("content") != Some("supplement") {
            let at = element.get("content").unwrap_or(element);
            self.definition_error(
                at,
                "code-system-supplement",
                "A CodeSystem that supplements has the content supplement.".to_owned(),
            );
        }
        let declared: Vec<(&str, &str)> =
            element.all("property").filter_map(|each| Some((each.text("code")?, each.text("type")?))).collect();
        for property in element.all("property") {
            let (Some(code), Some(kind)) = (property.text("code"), property.text("type")) else { continue };
            let standard = property.text("uri").and_then(|uri| uri.strip_prefix(STANDARD)).and_then(standard_type);
            if standard.is_some_and(|standard| standard != kind) {
                let text = format!("This property is a standard one of type {}.", standard.unwrap_or_default());
                self.definition_error(property, "code-system-property-type", text);
            }
            if declared.iter().filter(|(known, _)| *known == code).count() > 1 {
                self.definition_error(
                    property,
                    "code-system-property-twice",
                    "A property of this code is declared twice.".to_owned(),
                );
            }
        }
        let concepts = element.descendants().filter(|each| each.name() == "concept" && each.get("code").is_some());
        for property in concepts.flat_map(|concept| concept.all("property")) {
            let (Some(code), Some(value)) = (property.text("code"), property.choice("value")) else { continue };
            // FHIR's own properties need no declaration (R4 §4.8.12).
            let known = declared
                .iter()
                .find(|(known, _)| *known == code)
                .map(|(_, kind)| *kind)
                .or_else(|| standard_type(code));
            match known {
                None => {
                    self.definition_error(property, "code-system-property", "The property is not declared.".to_owned())
                }
                Some(kind) => {
                    let found = &value.name()["value".len()..];
                    if !crate::snapshot::suffix_is_type(found, kind) && !found.eq_ignore_ascii_case(kind) {
                        self.definition_error(
                            value,
                            "code-system-property-value",
                            format!("The property is of type {kind}."),
                        );
                    }
                }
            }
        }
    }

    /// R4 ValueSet §4.9: systems are absolute; what a filter compares with is of the property's type.
    pub(super) fn value_set(&mut self, element: Element<'t, 's>) {
        let Some(compose) = element.get("compose") else { return };
        for include in compose.children().filter(|each| matches!(each.name(), "include" | "exclude")) {
            let Some(system) = include.get("system") else { continue };
            let Some(url) = system.value() else { continue };
            if !url.contains(':') {
                let text =
                    "The system of a value set is an absolute URI; a contained code system is named by its own URL."
                        .to_owned();
                self.definition_error(system, "value-set-system", text);
                continue;
            }
            self.filters(include, url);
        }
    }

    fn filters(&mut self, include: Element<'t, 's>, system: &str) {
        let conformance = std::sync::Arc::clone(&self.validator.conformance);
        let Some(source) = conformance.find(Kind::CodeSystem, system) else { return };
        let Ok(tree) = source.read() else { return };
        for filter in include.all("filter") {
            let (Some(property), Some(op), Some(value)) =
                (filter.text("property"), filter.text("op"), filter.get("value"))
            else {
                continue;
            };
            if !matches!(op, "=" | "in" | "not-in") {
                continue;
            }
            let declared = tree.root().all("property").find(|each| each.text("code") == Some(property));
            let kind = declared.and_then(|each| each.text("type")).or_else(|| standard_type(property));
            let text = value.value().unwrap_or_default();
            let fits = match kind {
                Some("boolean") => matches!(text, "true" | "false"),
                Some("integer") => text.parse::<i64>().is_ok(),
                Some("decimal") => text.parse::<f64>().is_ok(),
                Some("Coding") => text.split(',').all(|each| {
                    each.split_once('#').is_some_and(|(system, code)| system.contains(':') && !code.is_empty())
                }),
                Some("code") if op == "=" => {
                    conformance.terminology().lookup(system, text, None) != crate::terminology::Membership::No
                }
                _ => true,
            };
            if !fits {
                let text = format!(
                    "The property {property} is of type {}; a filter compares it with such a value{}.",
                    kind.unwrap_or_default(),
                    if kind == Some("Coding") { ", as system#code" } else { "" }
                );
                self.definition_error(value, "value-set-filter", text);
            }
        }
    }
}

const STANDARD: &str = "http://hl7.org/fhir/concept-properties#";

/// Types of the concept properties that FHIR defines (R4 §4.8.12).
fn standard_type(code: &str) -> Option<&'static str> {
    match code {
        "inactive" | "notSelectable" => Some("boolean"),
        "deprecated" | "deprecationDate" | "retirementDate" => Some("dateTime"),
        "parent" | "child" | "status" | "partOf" | "synonym" => Some("code"),
        "comment" => Some("string"),
        _ => None,
    }
}
