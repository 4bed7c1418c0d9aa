//! Every STU3 element is alike in R4, or has a rule whose target R4 has.

use std::collections::BTreeSet;

use onward_fhir::elements::{ElementDef, TypeKind};
use onward_fhir::{Builder, Lexical, Tree};

use super::{convert, silently_lost, strangers};
use crate::convert::rules::{self, Rule};
use crate::convert::walk::{compatible, r4, stu3};

/// Resources of transfer-of-care messages and documents, with their R4 type, and the others with rules.
const TYPES: &[(&str, &str)] = &[
    ("AllergyIntolerance", "AllergyIntolerance"),
    ("Appointment", "Appointment"),
    ("AuditEvent", "AuditEvent"),
    ("Basic", "Basic"),
    ("Binary", "Binary"),
    ("Bundle", "Bundle"),
    ("CarePlan", "CarePlan"),
    ("CareTeam", "CareTeam"),
    ("Communication", "Communication"),
    ("CommunicationRequest", "CommunicationRequest"),
    ("Composition", "Composition"),
    ("Condition", "Condition"),
    ("Device", "Device"),
    ("DiagnosticReport", "DiagnosticReport"),
    ("DocumentReference", "DocumentReference"),
    ("Encounter", "Encounter"),
    ("Endpoint", "Endpoint"),
    ("EpisodeOfCare", "EpisodeOfCare"),
    ("FamilyMemberHistory", "FamilyMemberHistory"),
    ("Flag", "Flag"),
    ("Goal", "Goal"),
    ("Group", "Group"),
    ("HealthcareService", "HealthcareService"),
    ("Immunization", "Immunization"),
    ("List", "List"),
    ("Location", "Location"),
    ("Media", "Media"),
    ("Medication", "Medication"),
    ("MedicationAdministration", "MedicationAdministration"),
    ("MedicationDispense", "MedicationDispense"),
    ("MedicationRequest", "MedicationRequest"),
    ("MedicationStatement", "MedicationStatement"),
    ("MessageHeader", "MessageHeader"),
    ("Observation", "Observation"),
    ("OperationOutcome", "OperationOutcome"),
    ("Organization", "Organization"),
    ("Parameters", "Parameters"),
    ("Patient", "Patient"),
    ("Person", "Person"),
    ("Practitioner", "Practitioner"),
    ("PractitionerRole", "PractitionerRole"),
    ("Procedure", "Procedure"),
    ("ProcedureRequest", "ServiceRequest"),
    ("Provenance", "Provenance"),
    ("Questionnaire", "Questionnaire"),
    ("QuestionnaireResponse", "QuestionnaireResponse"),
    ("ReferralRequest", "ServiceRequest"),
    ("RelatedPerson", "RelatedPerson"),
    ("RiskAssessment", "RiskAssessment"),
    ("Schedule", "Schedule"),
    ("Slot", "Slot"),
    ("Specimen", "Specimen"),
    ("Substance", "Substance"),
    ("Task", "Task"),
];

/// Definitional data types that no message carries; the general fallback serves them.
const NOT_MESSAGED: &[&str] = &["DataRequirement", "TriggerDefinition", "ParameterDefinition", "ElementDefinition"];

/// One element of the walk: alike (with the R4 type of its content), ruled, or a complaint.
fn judge(owner: (&str, &'static str), def: &ElementDef) -> Result<Option<&'static str>, String> {
    let Some(rule) = rules::rule(owner.0, def.name) else {
        return match r4().child(owner.1, def.name) {
            Some(to) if compatible(def.type_name, to.type_name) && (to.array || !def.array) => Ok(Some(to.type_name)),
            Some(to) => Err(format!("{}.{}: {} is {}", owner.0, def.name, def.type_name, to.type_name)),
            None => Err(format!("{}.{}: no rule and not in R4", owner.0, def.name)),
        };
    };
    let target = |to: &str| {
        r4().child(owner.1, to).ok_or_else(|| format!("{}.{}: R4 has no {}.{to}", owner.0, def.name, owner.1))
    };
    let fits = |to: &ElementDef| {
        if compatible(def.type_name, to.type_name) {
            Ok(Some(to.type_name))
        } else {
            Err(format!("{}.{}: {} does not fit {}", owner.0, def.name, def.type_name, to.type_name))
        }
    };
    match *rule {
        Rule::Rename(to) | Rule::Codes(to, _) => fits(target(to)?),
        Rule::Concept(to, _) => {
            let concept = target(to)?.type_name == "CodeableConcept" && def.type_name == "code";
            if concept { Ok(None) } else { Err(format!("{}.{}: not a code to a concept", owner.0, def.name)) }
        }
        Rule::Wrap(to, inner) | Rule::Nest(to, inner) => {
            let outer = target(to)?.type_name;
            let found = r4().child(outer, inner).ok_or_else(|| format!("R4 has no {outer}.{inner}"))?;
            fits(found)
        }
        Rule::Spread(to) | Rule::Collapse { to, .. } => {
            let reference = target(to)?.type_name == "Reference";
            if reference { Ok(None) } else { Err(format!("{}.{to} is no Reference", owner.1)) }
        }
        Rule::Canonical(to) => {
            let canonical = target(to)?.type_name == "canonical";
            if canonical { Ok(None) } else { Err(format!("{}.{to} is no canonical", owner.1)) }
        }
        Rule::Keep | Rule::Lost(_) | Rule::By(_) => Ok(None),
    }
}

#[test]
fn every_element_is_alike_or_has_a_rule() {
    let mut work: Vec<(&'static str, &'static str)> = TYPES.to_vec();
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    let (mut complaints, mut elements) = (Vec::new(), 0);
    while let Some(pair) = work.pop() {
        if !seen.insert(pair) || NOT_MESSAGED.contains(&pair.0) || pair.0 == "Resource" {
            continue;
        }
        let Some(from) = stu3().type_def(pair.0) else {
            complaints.push(format!("{}: no STU3 type", pair.0));
            continue;
        };
        for def in from.elements().iter().filter(|def| !matches!(def.name, "id" | "extension" | "modifierExtension")) {
            elements += 1;
            match judge(pair, def) {
                Ok(Some(to)) => work.push((def.type_name, to)),
                Ok(None) => {}
                Err(complaint) => complaints.push(complaint),
            }
        }
    }
    assert!(complaints.is_empty(), "{} of {elements}:\n{}", complaints.len(), complaints.join("\n"));
    assert!(elements > 1_000, "the walk saw the tables: {elements}");
}

#[test]
fn every_rule_stands_for_an_stu3_element_once() {
    let mut seen = BTreeSet::new();
    for (owner, name, _) in rules::all() {
        assert!(stu3().child(owner, name).is_some(), "no {owner}.{name} in STU3");
        assert!(seen.insert((owner, name)), "{owner}.{name} twice");
    }
}

/// A resource with every element that the STU3 table gives its type, each list twice, and of each choice
/// the alternative number `choice`.
struct Fullest {
    out: Builder<'static>,
    choice: usize,
    leaves: usize,
    /// Every element has an id, and every primitive an extension.
    decorated: bool,
}

impl Fullest {
    fn of(resource: &'static str, choice: usize) -> Tree<'static> {
        let decorated = choice % 2 == 1;
        let mut made = Self { out: Builder::resource(resource), choice, leaves: 0, decorated };
        made.fill(resource, &mut vec![resource]);
        made.out.finish()
    }

    fn fill(&mut self, type_name: &'static str, above: &mut Vec<&'static str>) {
        let def = stu3().type_def(type_name).expect("in the table");
        let mut choices: BTreeSet<&str> = BTreeSet::new();
        for element in def.elements() {
            let skip = matches!(element.name, "extension" | "modifierExtension" | "contained" | "language" | "meta")
                || (element.name == "id" && !self.decorated)
                || element.type_name == "Resource";
            if skip || element.choice.is_some_and(|stem| !choices.insert(stem)) {
                continue;
            }
            let element = match element.choice {
                None => element,
                Some(stem) => {
                    let all: Vec<_> = def.choice(stem).collect();
                    all[self.choice % all.len()]
                }
            };
            for _ in 0..(1 + usize::from(element.array)) {
                self.one(element, above);
            }
        }
    }

    fn fresh(&mut self) -> String {
        self.leaves += 1;
        format!("leaf-{}", self.leaves)
    }

    fn value_of(&mut self, element: &ElementDef) -> String {
        match element.type_name {
            // Both values are tried, since flags decide what becomes of a status.
            "boolean" => (self.choice % 4 < 2).to_string(),
            _ => self.fresh(),
        }
    }

    fn one(&mut self, element: &ElementDef, above: &mut Vec<&'static str>) {
        let (name, type_name) = (element.name, element.type_name);
        let kind = stu3().type_def(type_name).map(|def| def.kind());
        if element.primitive.is_some() || matches!(kind, None | Some(TypeKind::Primitive)) {
            self.out.open(name);
            let value = self.value_of(element);
            self.out.set_value(value, Lexical::Untold);
            if self.decorated && !element.xhtml && name != "id" && type_name != "id" {
                self.out.open("extension");
                self.out.leaf("url", "http://example.org/extension");
                let value = self.fresh();
                self.out.leaf("valueString", value);
                self.out.close();
            }
            self.out.close();
        } else if !above.contains(&type_name) && above.len() < 7 {
            self.out.open(name);
            above.push(type_name);
            self.fill(type_name, above);
            above.pop();
            self.out.close();
        }
    }
}

fn laws_hold(resource: &'static str, choice: usize) -> Vec<String> {
    let source = Fullest::of(resource, choice);
    let (target, notes) = convert(&source);
    let mut broken = strangers(target.root());
    broken.extend(silently_lost(source.root(), target.root(), &notes));
    broken.iter_mut().for_each(|each| *each = format!("{resource} {choice}: {each}"));
    broken
}

#[test]
fn the_fullest_resource_of_each_type_becomes_r4_and_loses_nothing_in_silence() {
    let mut broken = Vec::new();
    for (resource, _) in TYPES {
        let choices = if *resource == "Parameters" { 40 } else { 6 };
        (0..choices).for_each(|choice| broken.extend(laws_hold(resource, choice)));
    }
    assert!(broken.is_empty(), "{}:\n{}", broken.len(), broken[..broken.len().min(60)].join("\n"));
}

#[test]
fn types_without_rules_are_carried_or_kept_too() {
    let mut broken = Vec::new();
    for def in stu3().types().filter(|def| stu3().is_resource(def.name())) {
        broken.extend(laws_hold(def.name(), 0));
    }
    assert!(broken.is_empty(), "{}:\n{}", broken.len(), broken[..broken.len().min(60)].join("\n"));
}
