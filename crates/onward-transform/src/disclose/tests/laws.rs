//! The laws of disclosure, over documents in which every element carries its own name as a canary.

use std::collections::{BTreeMap, BTreeSet};

use onward_fhir::elements::{ElementDef, table};
use onward_fhir::{Builder, Element, Heading, Release, Tree};
use proptest::prelude::*;

use super::*;

/// Types that the synthetic document has one resource of each.
const TYPES: [&str; 14] = [
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Encounter",
    "AllergyIntolerance",
    "Condition",
    "MedicationStatement",
    "Medication",
    "Location",
    "RelatedPerson",
    "Consent",
    "Flag",
    "FamilyMemberHistory",
];
/// Headings of the synthetic document, each with the types of its entries.
const SECTIONS: [(Heading, &[&str]); 6] = [
    (Heading::PatientDemographics, &["Patient", "RelatedPerson"]),
    (Heading::Medications, &["MedicationStatement"]),
    (Heading::Allergies, &["AllergyIntolerance"]),
    (Heading::Diagnoses, &["Condition"]),
    (Heading::Safeguarding, &["Flag", "Consent"]),
    (Heading::FamilyHistory, &["FamilyMemberHistory"]),
];

fn urn(resource_type: &str) -> String {
    format!("urn:uuid:{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, resource_type.as_bytes()))
}

/// A document whose every primitive is `canary:Type.path`, with an unnamed extension on every complex element.
fn canaries() -> Tree<'static> {
    let mut b = Builder::resource("Bundle");
    b.leaf("id", "canary:Bundle.id");
    b.node("identifier", |b| {
        b.leaf("system", "https://tools.ietf.org/html/rfc4122");
        b.leaf("value", "original-document");
    });
    b.leaf("type", "document");
    b.leaf("timestamp", "canary:Bundle.timestamp");
    b.node("entry", |b| {
        b.leaf("fullUrl", urn("Composition"));
        b.child_resource("resource", "Composition", |b| {
            fill(b, "Composition", "Composition", "", 0, &mut 0);
            for (heading, types) in SECTIONS {
                let key = heading.record_standard();
                b.node("section", |b| {
                    b.leaf("title", format!("canary:section {key}"));
                    b.node("code", |b| {
                        b.node("coding", |b| {
                            b.leaf("system", onward_fhir::systems::RECORD_STANDARD_HEADINGS);
                            b.leaf("code", key);
                        });
                    });
                    b.node("text", |b| {
                        b.leaf("status", "additional");
                        b.leaf("div", format!("canary:text {key}"));
                    });
                    for target in types {
                        b.node("entry", |b| b.leaf("reference", urn(target)));
                    }
                });
            }
        });
    });
    for (at, resource_type) in TYPES.into_iter().enumerate() {
        b.node("entry", |b| {
            b.leaf("fullUrl", urn(resource_type));
            b.child_resource("resource", resource_type, |b| {
                b.leaf("id", format!("id-{resource_type}"));
                fill(b, resource_type, resource_type, "", 0, &mut { at });
            });
        });
    }
    b.finish()
}

fn fill(b: &mut Builder<'static>, resource_type: &str, def: &str, path: &str, depth: usize, turn: &mut usize) {
    let skipped = ["id", "extension", "modifierExtension", "contained", "implicitRules", "section", "relatesTo"];
    let r4 = table(Release::R4);
    for element in r4.type_def(def).expect("a type of R4").elements() {
        if skipped.contains(&element.name) || (depth > 0 && element.name == "reference") {
            continue;
        }
        let path = if path.is_empty() { element.name.to_owned() } else { format!("{path}.{}", element.name) };
        one(b, resource_type, element, &path, depth, turn);
    }
}

fn one(
    b: &mut Builder<'static>,
    resource_type: &str,
    element: &ElementDef,
    path: &str,
    depth: usize,
    turn: &mut usize,
) {
    if element.primitive.is_some() {
        return b.leaf(element.name, format!("canary:{resource_type}.{path}"));
    }
    if element.type_name == "Reference" {
        *turn += 1;
        let target = TYPES[*turn % TYPES.len()];
        return b.node(element.name, |b| {
            b.leaf("reference", urn(target));
            b.leaf("display", format!("canary:{resource_type}.{path}.display"));
        });
    }
    if depth >= 3 || matches!(element.type_name, "Resource" | "Extension") {
        return;
    }
    b.node(element.name, |b| {
        b.node("extension", |b| {
            b.leaf("url", "https://example.org/unnamed");
            b.leaf("valueString", format!("canary:extension {resource_type}.{path}"));
        });
        fill(b, resource_type, element.type_name, path, depth + 1, turn);
    });
}

/// A policy as plain data: the oracle that knows nothing of the code under test.
#[derive(Debug, Clone)]
struct Plain {
    elements: BTreeMap<String, BTreeSet<String>>,
    sections: BTreeMap<String, &'static str>,
    attachments: bool,
    all_extensions: bool,
}

impl Plain {
    fn toml(&self) -> String {
        let mut text = format!(
            "recipient = \"care-home\"\nversion = 1\nlawful_basis = \"test\"\nopt_out = \"test\"\ndocument = \"reduced\"\nattachments = {}\nextensions = [{}]\n[sections]\n",
            self.attachments,
            if self.all_extensions { "\"*\"" } else { "" },
        );
        for (heading, rule) in &self.sections {
            text.push_str(&format!("{heading} = \"{rule}\"\n"));
        }
        text.push_str("[elements]\n");
        for (resource_type, names) in &self.elements {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            text.push_str(&format!("{resource_type} = [{}]\n", names.join(", ")));
        }
        text
    }

    fn of_shipped(name: &str) -> Self {
        let text = std::fs::read_to_string(format!("{CONFIG}{name}.toml")).expect("a shipped policy");
        let file: toml::Table = text.parse().expect("TOML");
        let list = |value: &toml::Value| -> BTreeSet<String> {
            value.as_array().expect("a list").iter().filter_map(|each| each.as_str().map(str::to_owned)).collect()
        };
        let elements = file["elements"].as_table().expect("a table");
        let sections = file["sections"].as_table().expect("a table");
        let rule = |word: &str| {
            *["with-section", "only-whole", "withheld"].iter().find(|known| **known == word).expect("a rule")
        };
        Self {
            elements: elements.iter().map(|(key, value)| (key.clone(), list(value))).collect(),
            sections: sections
                .iter()
                .map(|(key, value)| (key.clone(), rule(value.as_str().expect("a word"))))
                .collect(),
            attachments: file["attachments"].as_bool().expect("a flag"),
            all_extensions: list(&file["extensions"]).contains("*"),
        }
    }

    fn allows(&self, canary: &str) -> bool {
        if let Some(heading) = canary.strip_prefix("section ") {
            return self.sections.contains_key(heading);
        }
        if let Some(heading) = canary.strip_prefix("text ") {
            return self.sections.get(heading).is_some_and(|rule| *rule != "withheld");
        }
        if let Some(holder) = canary.strip_prefix("extension ") {
            return self.all_extensions && self.allows(holder);
        }
        let (resource_type, path) = canary.split_once('.').expect("Type.path");
        let attached = |step: &str| step == "photo" || step == "attachment" || step.ends_with("Attachment");
        if !self.attachments && path.split('.').any(attached) {
            return false;
        }
        // Security labels say how to protect the rest and always go (R4 §6.1.1).
        if path.starts_with("meta.security") {
            return self.elements.contains_key(resource_type);
        }
        let names = |key: &str| {
            self.elements.get(key).is_some_and(|names| {
                let star = names.contains("*")
                    && !["text", "meta", "language"].contains(&path.split('.').next().expect("a step"));
                let named = |name: &String| {
                    let (stem, choice) = name.strip_suffix("[x]").map_or((name.as_str(), false), |stem| (stem, true));
                    path.strip_prefix(stem).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with('.') || (choice && rest.starts_with(char::is_uppercase))
                    })
                };
                star || names.iter().any(named)
            })
        };
        self.elements.contains_key(resource_type)
            && (names(resource_type) || names("Resource") || names("DomainResource"))
    }
}

/// The content of a copy: everything but what makes it a document of its own.
fn content(tree: &Tree<'_>) -> Vec<String> {
    fn walk(element: Element<'_, '_>, at: &str, out: &mut Vec<String>) {
        let of_its_own = (element.parent().is_some_and(|parent| parent.is("Bundle") && parent.parent().is_none())
            && matches!(element.name(), "id" | "identifier" | "timestamp"))
            || (element.parent().is_some_and(|parent| parent.is("Composition"))
                && matches!(element.name(), "identifier" | "relatesTo"));
        if of_its_own {
            return;
        }
        let at = format!("{at}/{}", element.name());
        out.push(format!("{at}={:?}", element.value()));
        for child in element.children() {
            walk(child, &at, out);
        }
    }
    let mut out = Vec::new();
    walk(tree.root(), "", &mut out);
    out.sort();
    out
}

fn laws(plain: &Plain, policy: &Policy) {
    let document = canaries();
    let projection = project(&document, policy, &ids()).expect("projected");
    for value in values(&projection.tree) {
        if let Some(canary) = value.strip_prefix("canary:") {
            assert!(plain.allows(canary), "{canary} went, and the policy does not name it:\n{}", plain.toml());
        }
    }
    assert_eq!(dangling(&projection.tree), Vec::<String>::new());
    let root = projection.tree.root();
    assert_eq!(root.text("id"), Some(ids().bundle_id().to_string().as_str()));
    assert_eq!(root.text_at("identifier.value"), Some(ids().document().to_string().as_str()));
    assert_eq!(root.text_at("entry.resource.relatesTo.targetIdentifier.value"), Some("original-document"));
    assert_eq!(root.text_at("entry.resource.relatesTo.code"), Some("transforms"));
    assert!(!projection.withheld.is_empty(), "the synthetic document always has what no policy names");
    assert_eq!(root.text_at("meta.security.code"), Some("REDACTED"));

    let again = project(&projection.tree, policy, &ids()).expect("projected again");
    assert_eq!(content(&projection.tree), content(&again.tree));
    let written = onward_fhir::write::json(root, Release::R4);
    assert!(written.text.contains("\"resourceType\":\"Bundle\""));
}

#[test]
fn shipped_policies_keep_the_laws() {
    for name in NAMES.into_iter().filter(|name| *name != "registered-practice") {
        laws(&Plain::of_shipped(name), &shipped(name));
    }
    let identical = shipped("registered-practice");
    assert_eq!(identical.form, Form::Identical);
    assert_eq!(project(&canaries(), &identical, &ids()).map(|_| ()), Err(ProjectError::Identical));
}

/// What a policy names and a reference reaches does arrive: the projection is not merely empty.
#[test]
fn what_is_named_arrives() {
    let document = canaries();
    let projection = project(&document, &shipped("care-home"), &ids()).expect("projected");
    let values = values(&projection.tree);
    for expected in [
        "canary:Patient.name.family",
        "canary:Patient.contact.name.family",
        "canary:MedicationStatement.dosage.text",
        "canary:AllergyIntolerance.reaction.manifestation.text",
        "canary:text medications-and-medical-devices",
        "canary:Composition.title",
    ] {
        assert!(values.iter().any(|value| value == expected), "{expected}");
    }
    for hidden in ["canary:text safeguarding", "canary:Patient.photo.title", "canary:FamilyMemberHistory.name"] {
        assert!(!values.iter().any(|value| value == hidden), "{hidden}");
    }
    assert!(projection.withheld_headings.contains(&Heading::Safeguarding));
}

fn some_elements(resource_type: &'static str) -> impl Strategy<Value = (String, BTreeSet<String>)> {
    let names: Vec<&'static str> = table(Release::R4)
        .type_def(resource_type)
        .expect("a type of R4")
        .elements()
        .iter()
        .map(|each| each.name)
        .filter(|name| !matches!(*name, "extension" | "modifierExtension" | "contained" | "id"))
        .collect();
    let required: Vec<String> =
        meaning::inseparable(resource_type).into_iter().flatten().map(|name| (*name).to_owned()).collect();
    let known = meaning::inseparable(resource_type).is_some();
    proptest::sample::subsequence(names.clone(), 0..names.len()).prop_map(move |some| {
        let mut set: BTreeSet<String> = some.into_iter().map(str::to_owned).collect();
        set.extend(required.iter().cloned());
        if !known {
            set = BTreeSet::from(["*".to_owned()]);
        }
        (resource_type.to_owned(), set)
    })
}

prop_compose! {
    fn plain_policy()(
        composition in some_elements("Composition"),
        types in proptest::sample::subsequence(TYPES.to_vec(), 0..TYPES.len())
            .prop_flat_map(|types| types.into_iter().map(some_elements).collect::<Vec<_>>()),
        sections in proptest::collection::vec(
            (0..SECTIONS.len(), proptest::sample::select(vec!["with-section", "only-whole", "withheld"])), 0..6),
        attachments: bool,
        all_extensions: bool,
    ) -> Plain {
        let mut elements: BTreeMap<_, _> = types.into_iter().collect();
        elements.extend([composition]);
        let sections = sections.into_iter().map(|(at, rule)| (SECTIONS[at].0.record_standard().to_owned(), rule)).collect();
        Plain { elements, sections, attachments, all_extensions }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_policy_keeps_the_laws(plain in plain_policy()) {
        let policy = Policy::parse("random", &plain.toml()).expect("a valid policy");
        laws(&plain, &policy);
    }
}
