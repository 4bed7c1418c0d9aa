//! The real UK Core.

use std::path::PathBuf;

use crate::conformance::*;
use crate::terminology::Membership;

const UK_CORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/uk-core");

fn uk_core() -> Option<Conformance> {
    let path = PathBuf::from(UK_CORE);
    if !path.is_dir() {
        assert!(std::env::var_os("ONWARD_REQUIRE_SHARED_DATA").is_none(), "shared data is required");
        eprintln!("SKIPPED: UK Core is not on this machine");
        return None;
    }
    Some(Conformance::with_packages(&[path]).expect("UK Core is a package"))
}

#[test]
fn uk_core_is_loaded_whole() {
    let Some(conformance) = uk_core() else { return };
    let info = &conformance.packages()[0];
    assert_eq!(info.name.as_deref(), Some("UKCore.R4.STU.02.00.00"));
    // It names the core of R5 for the extensions that it takes from there, and one of its files has a stray word in it.
    let notices: Vec<_> = conformance.notices().iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert_eq!(notices[0], "UKCore.R4.STU.02.00.00 needs hl7.fhir.r5.core 5.0.0, which is not here");
    assert!(notices[1].contains("EthnicCategoryScotland.xml is left out: line 37, column 41"), "{notices:?}");
    assert!(info.resources > 250, "{}", info.resources);
    let patient = conformance.definition("https://fhir.hl7.org.uk/StructureDefinition/UKCore-Patient").expect("there");
    assert_eq!((patient.type_name(), patient.derivation()), ("Patient", "constraint"));
    for source in conformance.all(Kind::StructureDefinition) {
        let tree = source.read().expect("read");
        let base = tree.root().text("baseDefinition");
        assert!(base.is_none_or(|base| conformance.definition(base).is_some()), "{}: {base:?}", source.url());
    }
}

#[test]
fn uk_core_value_sets_answer_or_say_why_not() {
    let Some(conformance) = uk_core() else { return };
    let terminology = conformance.terminology();
    let (mut told, mut open) = (0, 0);
    for source in conformance.all(Kind::ValueSet).filter(|source| *source.origin() != Origin::Core) {
        let set = terminology.value_set(source.url()).expect("there");
        if set.unknown().is_some() { open += 1 } else { told += 1 }
    }
    assert!(told > 40 && open > 20, "{told} {open}");
    let sct = Some("http://snomed.info/sct");
    let set = "https://fhir.hl7.org.uk/ValueSet/UKCore-ConditionCode";
    let answer = terminology.member(set, sct, "22298006", None);
    assert!(
        matches!(&answer, Membership::Unknown { reason } if reason.contains("http://snomed.info/sct")),
        "{answer:?}"
    );
}
