//! The laws of disclosure, over documents in which every element carries its own name as a canary.

use std::collections::{BTreeMap, BTreeSet};

use onward_fhir::elements::{ElementDef, TypeKind, table};
use onward_fhir::{Builder, Bundle, Element, Heading, Release, Tree};
use proptest::prelude::*;

use super::*;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/disclosure/");
const NAMES: [&str; 5] =
    ["care-home", "covering-practice", "registered-practice", "pharmacy-referral", "pharmacy-nomination"];

fn shipped(name: &str) -> Policy {
    let path = format!("{CONFIG}{name}.toml");
    Policy::parse(&path, &std::fs::read_to_string(&path).expect("a shipped policy")).expect("a valid policy")
}

fn ids() -> NewIds {
    NewIds::new(
        DeliveryId(Uuid::from_u128(7)),
        RecipientKind::CareHome,
        &"VMH01".parse().expect("an ODS code"),
        "2026-08-03T10:00:00Z".parse().expect("a time"),
    )
}

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

fn values(tree: &Tree<'_>) -> Vec<String> {
    tree.root().descendants().filter_map(|element| element.value().map(str::to_owned)).collect()
}

fn dangling(tree: &Tree<'_>) -> Vec<String> {
    let bundle = Bundle::new(tree.root()).expect("a Bundle");
    let references = tree.root().descendants().filter(|element| element.text("reference").is_some());
    references.filter(|element| bundle.resolve(*element).is_none()).map(Element::path).collect()
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

fn parsed(change: impl Fn(String) -> String) -> Result<Policy, PolicyError> {
    let text = std::fs::read_to_string(format!("{CONFIG}pharmacy-referral.toml")).expect("a shipped policy");
    Policy::parse("p.toml", &change(text))
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    for (from, to, what, nearest) in [
        ("lawful_basis", "lawfull_basis", "key", "lawful_basis"),
        ("\"pharmacy-referral\"", "\"pharmacy-referal\"", "word", "pharmacy-referral"),
        (
            "medications-and-medical-devices",
            "medication-and-medical-devices",
            "heading",
            "medications-and-medical-devices",
        ),
        ("= \"withheld\"", "= \"witheld\"", "narrative rule", "withheld"),
        ("AllergyIntolerance =", "AllergyIntollerance =", "resource type", "AllergyIntolerance"),
        ("\"birthDate\"", "\"birthdate\"", "element", "birthDate"),
        ("\"meta.profile\"", "\"meta.profiles\"", "element", "profile"),
        ("\"deceased[x]\"", "\"deseased[x]\"", "element", "deceased[x]"),
    ] {
        match parsed(|text| text.replacen(from, to, 1)).expect_err(to) {
            PolicyError::Unknown { what: found, nearest: Some(hint), .. } => {
                assert_eq!((found, hint.as_str()), (what, nearest));
            }
            other => panic!("{to}: {other}"),
        }
    }
}

#[test]
fn a_policy_cannot_cut_a_statement_from_its_meaning() {
    let cut = parsed(|text| {
        text.replace(
            "MedicationStatement = [\"*\"]",
            "MedicationStatement = [\"dosage\", \"subject\", \"medication[x]\"]",
        )
    });
    assert!(matches!(cut, Err(PolicyError::Meaning { ref element, .. }) if element == "status"), "{cut:?}");
    let cut = parsed(|text| text.replace("\"deceased[x]\", ", ""));
    assert!(matches!(cut, Err(PolicyError::Meaning { ref element, .. }) if element == "deceased[x]"), "{cut:?}");
    for (from, to) in [
        ("\"name\", \"telecom\", \"gender\"", "\"name.family\", \"telecom\", \"gender\""),
        ("List = [\"*\"]", "Binary = [\"*\"]"),
        ("List = [\"*\"]", "Bundle = [\"*\"]"),
        ("List = [\"*\"]", "Claim = [\"status\"]"),
        ("\"link\"", "\"link.extension\""),
        ("document = \"reduced\"", "document = \"identical\""),
        ("attachments = false", "attachments = \"no\""),
        ("version = \"2026-11-27\"", "version = \"\""),
    ] {
        assert!(parsed(|text| text.replace(from, to)).is_err(), "{to}");
    }
    assert!(matches!(parsed(|text| text.replace("attachments = false", "")), Err(PolicyError::Missing { .. })));
    assert!(matches!(Policy::parse("p", "a = ["), Err(PolicyError::Syntax { .. })));
}

fn small(extra: &str) -> Policy {
    let text = format!(
        "recipient = \"care-home\"\nversion = 1\nlawful_basis = \"test\"\nopt_out = \"test\"\ndocument = \"reduced\"\nattachments = false\nextensions = []\n{extra}\n[elements]\nComposition = [\"status\", \"type\", \"subject\", \"date\", \"author\", \"title\", \"confidentiality\"]\nPatient = [\"active\", \"deceased[x]\", \"link\", \"name\"]\nFlag = [\"*\"]\n"
    );
    Policy::parse("small", &text).expect("a valid policy")
}

/// A document of one section with these entries; `edit` adds to the Flag.
fn one_section(entries: &[&str], edit: impl Fn(&mut Builder<'static>)) -> Tree<'static> {
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "document");
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:c");
        b.child_resource("resource", "Composition", |b| {
            b.node("identifier", |b| b.leaf("value", "set-2"));
            b.leaf("title", "Summary");
            b.node("subject", |b| b.leaf("reference", "urn:uuid:Patient"));
            b.node("author", |b| {
                b.leaf("reference", "urn:uuid:Practitioner");
                b.leaf("display", "Dr Secret");
            });
            b.node("relatesTo", |b| {
                b.leaf("code", "replaces");
                b.node("targetIdentifier", |b| b.leaf("value", "set-1"));
            });
            b.node("section", |b| {
                b.node("code", |b| {
                    b.leaf("text", "alerts");
                    b.node("coding", |b| {
                        b.leaf("system", onward_fhir::systems::SNOMED_CT);
                        b.leaf("code", Heading::SafetyAlerts.snomed());
                    });
                });
                b.node("text", |b| b.leaf("div", "<div>the narrative</div>"));
                for entry in entries {
                    b.node("entry", |b| b.leaf("reference", format!("urn:uuid:{entry}")));
                }
            });
        });
    });
    for resource_type in ["Patient", "Practitioner", "Flag", "Observation", "Binary"] {
        b.node("entry", |b| {
            b.leaf("fullUrl", format!("urn:uuid:{resource_type}"));
            b.child_resource("resource", resource_type, |b| {
                b.leaf("id", resource_type);
                if resource_type == "Flag" {
                    edit(b);
                }
            });
        });
    }
    b.finish()
}

fn types(tree: &Tree<'_>) -> Vec<String> {
    let bundle = Bundle::new(tree.root()).expect("a Bundle");
    bundle.resources().iter().filter_map(|each| each.resource_type().map(str::to_owned)).collect()
}

#[test]
fn narrative_stays_behind_with_the_entry_that_it_repeats() {
    let with = small("[sections]\nsafety-alerts = \"with-section\"");
    let goes = |entries: &[&str], policy: &Policy| {
        let document = one_section(entries, |_| ());
        let projection = project(&document, policy, &ids()).expect("projected");
        let narrative = values(&projection.tree).iter().any(|value| value.contains("the narrative"));
        (narrative, types(&projection.tree).iter().any(|each| each == "Flag"))
    };
    assert_eq!(goes(&["Flag"], &with), (true, true));
    assert_eq!(goes(&["Flag", "Observation"], &with), (false, true), "the narrative repeats the Observation");
    assert_eq!(goes(&["Flag", "Binary"], &with), (true, true), "the narrative does not repeat an attachment");
    let without = small("[sections]\nsafety-alerts = \"withheld\"");
    assert_eq!(goes(&["Flag", "Observation"], &without), (false, true));
    assert_eq!(goes(&["Observation"], &without), (false, false), "a section of nothing is no section");
    let whole = small("[sections]\nsafety-alerts = \"only-whole\"");
    assert_eq!(goes(&["Flag"], &whole), (true, true));
    let document = one_section(&["Flag"], |b| b.node("extension", |b| b.leaf("url", "https://example.org/x")));
    let cut = project(&document, &whole, &ids()).expect("projected");
    assert!(!types(&cut.tree).iter().any(|each| each == "Flag"), "an extension of the Flag is withheld");
    assert_eq!(cut.withheld_headings, [Heading::SafetyAlerts]);
}

/// A document of one section with a narrative and one entry of this type.
fn under(heading: Heading, resource_type: &'static str) -> Tree<'static> {
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "document");
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:c");
        b.child_resource("resource", "Composition", |b| {
            b.node("section", |b| {
                b.node("code", |b| {
                    b.node("coding", |b| {
                        b.leaf("system", onward_fhir::systems::SNOMED_CT);
                        b.leaf("code", heading.snomed());
                    });
                });
                b.node("text", |b| b.leaf("div", "<div>the narrative</div>"));
                b.node("entry", |b| b.leaf("reference", "urn:uuid:e"));
            });
        });
    });
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:e");
        b.child_resource("resource", resource_type, |b| b.leaf("id", "e"));
    });
    b.finish()
}

/// What does not go although its heading is named is told, so that nobody takes the rest for the whole.
#[test]
fn what_stays_behind_of_a_section_is_a_gap() {
    let policy = |rule: &str| small(&format!("[sections]\nsafety-alerts = \"{rule}\""));
    let gaps = |entries: &[&str], rule: &str| -> Vec<_> {
        let document = one_section(entries, |_| ());
        let projection = project(&document, &policy(rule), &ids()).expect("projected");
        assert!(projection.gaps.iter().all(|gap| projection.withheld_headings.contains(&gap.heading)));
        projection.gaps.into_iter().map(|gap| (gap.heading, gap.resource_type, gap.path)).collect()
    };
    let entry = "Bundle.entry[0].resource.section[0].entry[1]".to_owned();
    for rule in ["with-section", "withheld"] {
        let observation = (Heading::SafetyAlerts, Some("Observation".to_owned()), entry.clone());
        assert_eq!(gaps(&["Flag", "Observation"], rule), [observation], "{rule}");
        assert_eq!(gaps(&["Flag", "Binary"], rule), [], "{rule}: attachments have a key of their own");
    }
    let section = (Heading::SafetyAlerts, None, "Bundle.entry[0].resource.section[0]".to_owned());
    assert_eq!(gaps(&["Flag", "Observation"], "only-whole"), [section]);
    let document = one_section(&["Flag"], |_| ());
    let unnamed = project(&document, &small("[sections]"), &ids()).expect("projected");
    assert_eq!(unnamed.gaps.len(), 1, "a heading that is not named at all");
}

/// A type that a policy forgets withholds the narrative: what keeps a person safe must not be lost that way.
#[test]
fn no_entry_of_a_section_that_protects_withholds_it() {
    let protects: [(Heading, &[&'static str]); 5] = [
        (Heading::LegalInformation, &["Consent", "Flag", "Observation"]),
        (Heading::SafetyAlerts, &["Flag", "RiskAssessment", "Condition"]),
        (Heading::PlanAndActions, &["CarePlan", "ServiceRequest", "Appointment", "Goal"]),
        (
            Heading::IndividualRequirements,
            &["NutritionOrder", "DeviceUseStatement", "Observation", "QuestionnaireResponse"],
        ),
        (Heading::Medications, &["MedicationAdministration", "Device", "DeviceUseStatement", "MedicationDispense"]),
    ];
    for (heading, entries) in protects {
        for entry in entries {
            let recipients: &[&str] = match heading {
                Heading::Medications => &["care-home", "covering-practice", "pharmacy-referral"],
                _ => &["care-home", "covering-practice"],
            };
            for name in recipients {
                let document = under(heading, entry);
                let projection = project(&document, &shipped(name), &ids()).expect("projected");
                assert!(
                    values(&projection.tree).iter().any(|value| value.contains("the narrative")),
                    "{name}: {entry} withholds {heading:?}"
                );
            }
        }
    }
}

#[test]
fn attachments_go_from_inside_the_document_only() {
    let text = std::fs::read_to_string(format!("{CONFIG}care-home.toml")).expect("a shipped policy");
    let with = text.replace("Flag = [\"*\"]", "Flag = [\"*\"]\nDocumentReference = [\"*\"]");
    let without = with.replace("attachments = true", "attachments = false");
    let mut b = Builder::resource("Bundle");
    b.leaf("type", "document");
    b.node("entry", |b| {
        b.child_resource("resource", "Composition", |b| {
            b.node("section", |b| {
                b.node("code", |b| {
                    b.node("coding", |b| {
                        b.leaf("system", onward_fhir::systems::SNOMED_CT);
                        b.leaf("code", Heading::PlanAndActions.snomed());
                    });
                });
                b.node("entry", |b| b.leaf("reference", "urn:uuid:d"));
            });
        });
    });
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:d");
        b.child_resource("resource", "DocumentReference", |b| {
            for url in ["urn:uuid:b", "https://elsewhere.example/letter.pdf"] {
                b.node("content", |b| b.node("attachment", |b| b.leaf("url", url)));
            }
        });
    });
    b.node("entry", |b| {
        b.leaf("fullUrl", "urn:uuid:b");
        b.child_resource("resource", "Binary", |b| {
            b.leaf("contentType", "application/pdf");
            b.leaf("data", "JVBERg==");
        });
    });
    let document = b.finish();
    let sent = |policy: &str| {
        let policy = Policy::parse("attachments", policy).expect("a valid policy");
        values(&project(&document, &policy, &ids()).expect("projected").tree)
    };
    let (with, without) = (sent(&with), sent(&without));
    assert!(with.contains(&"JVBERg==".to_owned()) && with.contains(&"urn:uuid:b".to_owned()));
    assert!(!without.contains(&"JVBERg==".to_owned()) && !without.contains(&"urn:uuid:b".to_owned()));
    for values in [with, without] {
        assert!(!values.iter().any(|value| value.contains("elsewhere")), "nothing is fetched from outside");
    }
}

#[test]
fn modifiers_that_are_not_named_keep_the_resource_back() {
    let policy = small("[sections]\nsafety-alerts = \"withheld\"");
    for name in ["modifierExtension", "implicitRules"] {
        let document = one_section(&["Flag"], |b| {
            if name == "implicitRules" {
                b.leaf(name, "https://example.org/rules");
            } else {
                b.node(name, |b| b.leaf("url", "https://example.org/negates"));
            }
        });
        let projection = project(&document, &policy, &ids()).expect("projected");
        assert!(!types(&projection.tree).iter().any(|each| each == "Flag"), "{name}");
        assert!(projection.withheld.iter().any(|each| each.rule.contains("must not be read without it")));
    }
}

#[test]
fn references_to_what_stays_are_masked_without_a_name() {
    let document = one_section(&[], |_| ());
    let projection = project(&document, &small("[sections]"), &ids()).expect("projected");
    let author = projection.tree.root().at("entry.resource.author").expect("required, so it stays");
    assert_eq!(author.text_at("extension.valueCode"), Some("masked"));
    assert!(
        !values(&projection.tree)
            .iter()
            .any(|value| value.contains("Secret") || value.contains("urn:uuid:Practitioner"))
    );
    assert!(projection.withheld.iter().any(|each| each.path == "Bundle.entry[0].resource.author"));
}

#[test]
fn copies_replace_copies() {
    let document = one_section(&[], |_| ());
    let projection = project(&document, &small("[sections]"), &ids()).expect("projected");
    let composition = projection.tree.root().at("entry.resource").expect("there");
    let set = ids().set("set-2").to_string();
    let replaced = ids().set("set-1").to_string();
    assert_eq!(composition.text_at("identifier.value"), Some(set.as_str()));
    let relations: Vec<_> =
        composition.all("relatesTo").map(|each| (each.text("code"), each.text_at("targetIdentifier.value"))).collect();
    assert_eq!(relations, [(Some("transforms"), Some("set-2")), (Some("replaces"), Some(replaced.as_str()))]);
    let other =
        NewIds::new(DeliveryId(Uuid::from_u128(8)), RecipientKind::CareHome, &"VMH01".parse().expect("ODS"), ids().at);
    assert_eq!(other.set("set-1").to_string(), replaced, "another delivery to the same home names the same set");
    assert_ne!(other.document(), ids().document());
}

#[test]
fn the_matrix_says_what_the_policies_say() {
    let policies: Vec<Policy> = NAMES.into_iter().map(shipped).collect();
    let rows = matrix(&policies);
    let cells = |element: &str| -> Vec<Cell> {
        let row = rows.iter().find(|row| row.element == element).unwrap_or_else(|| panic!("{element}"));
        row.cells.iter().map(|(_, cell)| *cell).collect()
    };
    use Cell::{EntriesOnly, Identical, No, Yes};
    assert_eq!(cells("section safeguarding"), [No, Yes, Identical, No, No]);
    assert_eq!(cells("section patient-demographics"), [Yes, Yes, Identical, EntriesOnly, No]);
    assert_eq!(cells("Patient.photo"), [No, Yes, Identical, No, No]);
    assert_eq!(cells("Patient.name"), [Yes, Yes, Identical, Yes, Yes]);
    assert_eq!(cells("Patient.address"), [Yes, Yes, Identical, Yes, No]);
    assert_eq!(cells("Observation.valueQuantity"), [Yes, Yes, Identical, No, No]);
    assert_eq!(cells("attachments"), [Yes, Yes, Identical, No, No]);
    assert_eq!(cells("any extension"), [No, Yes, Identical, No, No]);
    assert_eq!(cells("added care-home"), [No, Yes, Identical, Yes, Yes]);
    assert_eq!(cells("added registered-practice"), [No, Yes, Identical, Yes, No]);
    assert_eq!(cells("added covering-practice"), [Yes, No, Identical, Yes, No]);
}

/// Every element that the table of inseparable elements names exists in R4.
#[test]
fn inseparable_elements_exist() {
    let r4 = table(Release::R4);
    for def in r4.types().filter(|each| each.kind() == TypeKind::Resource) {
        for name in meaning::inseparable(def.name()).into_iter().flatten() {
            let found = match name.strip_suffix("[x]") {
                Some(stem) => def.choice(stem).next().is_some(),
                None => def.child(name).is_some(),
            };
            assert!(found, "{}.{name}", def.name());
        }
    }
}

/// Real documents, converted, come out closed and lossless under every policy.
#[test]
fn real_documents_project_closed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/itk3-examples");
    let Ok(files) = std::fs::read_dir(folder) else {
        assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
        eprintln!("SKIPPED: shared ITK3 examples are absent");
        return;
    };
    let mut seen = 0;
    for path in files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.to_string_lossy().contains("-Document-") || path.to_string_lossy().contains("EDIS-Example"))
    {
        let text = std::fs::read_to_string(&path).expect("readable");
        let tree = onward_fhir::read::xml(&text, &onward_fhir::read::Limits::default()).expect("FHIR XML");
        let r4 = crate::convert::to_r4(tree.root()).tree;
        for name in NAMES.into_iter().filter(|name| *name != "registered-practice") {
            let projection = project(&r4, &shipped(name), &ids()).expect("projected");
            assert_eq!(dangling(&projection.tree), Vec::<String>::new(), "{path:?} {name}");
            let written = onward_fhir::write::json(projection.tree.root(), Release::R4);
            assert_eq!(written.losses, [], "{path:?} {name}");
            if name == "care-home" {
                let kept: BTreeSet<String> = types(&projection.tree).into_iter().collect();
                assert!(kept.contains("Patient") && kept.contains("AllergyIntolerance"), "{path:?}: {kept:?}");
            }
        }
        seen += 1;
    }
    assert!(seen >= 6, "only {seen} documents");
}
