//! The disclosure policies that ship, the laws that every policy keeps, and what they do to one section.

mod laws;
mod sections;

use std::collections::BTreeSet;

use onward_fhir::elements::{TypeKind, table};
use onward_fhir::{Bundle, Element, Release, Tree};

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

fn values(tree: &Tree<'_>) -> Vec<String> {
    tree.root().descendants().filter_map(|element| element.value().map(str::to_owned)).collect()
}

fn dangling(tree: &Tree<'_>) -> Vec<String> {
    let bundle = Bundle::new(tree.root()).expect("a Bundle");
    let references = tree.root().descendants().filter(|element| element.text("reference").is_some());
    references.filter(|element| bundle.resolve(*element).is_none()).map(Element::path).collect()
}

fn types(tree: &Tree<'_>) -> Vec<String> {
    let bundle = Bundle::new(tree.root()).expect("a Bundle");
    bundle.resources().iter().filter_map(|each| each.resource_type().map(str::to_owned)).collect()
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
