use std::io::Read as _;

use super::*;

fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

#[test]
fn the_readme_tells_the_checksums_of_the_pack() {
    let packed = include_bytes!("../../definitions/r4.pack.gz").as_slice();
    let mut text = Vec::new();
    flate2::bufread::MultiGzDecoder::new(packed).read_to_end(&mut text).expect("gzip");
    let readme = include_str!("../../definitions/README.md");
    let row = readme.lines().find(|line| line.starts_with("| `r4.pack.gz` |")).expect("a row");
    assert!(row.contains(&sha256(packed)) && row.contains(&sha256(&text)), "{} {}", sha256(packed), sha256(&text));
    assert!(row.contains(&format!("| {} resources |", core::pack().sources().len())));
}

#[test]
fn every_resource_of_the_core_is_what_the_index_says() {
    for source in core::pack().sources() {
        let tree = source.read().unwrap_or_else(|error| panic!("{}: {error}", source.url()));
        let root = tree.root();
        assert_eq!(root.resource_type(), Some(source.kind().resource_type()), "{}", source.url());
        assert_eq!(root.text("url"), Some(source.url()));
        assert_eq!(root.text("version"), source.version(), "{}", source.url());
        if source.kind() == Kind::StructureDefinition {
            assert_eq!(root.text("kind"), Some(source.structure_kind()), "{}", source.url());
            assert_eq!(root.text("type"), Some(source.type_name()), "{}", source.url());
            assert_eq!(root.text("derivation").unwrap_or_default(), source.derivation(), "{}", source.url());
            assert!(root.at("snapshot.element.path").is_some(), "{}", source.url());
        }
    }
}

#[test]
fn every_type_of_the_element_table_is_defined() {
    let conformance = Conformance::core();
    for type_def in onward_fhir::elements::table(onward_fhir::Release::R4).types() {
        if type_def.kind() == onward_fhir::elements::TypeKind::Backbone || type_def.name() == "MetadataResource" {
            continue;
        }
        let source = conformance.type_definition(type_def.name());
        assert!(source.is_some_and(|source| source.type_name() == type_def.name()), "{}", type_def.name());
    }
}

#[test]
fn every_definition_that_the_core_names_is_here() {
    let conformance = Conformance::core();
    let mut missing = std::collections::BTreeSet::new();
    for source in conformance.all(Kind::StructureDefinition) {
        let tree = source.read().expect("read before");
        for element in tree.root().descendants() {
            let kind = match element.name() {
                "profile" | "baseDefinition" => Kind::StructureDefinition,
                "valueSet" | "valueCanonical" => Kind::ValueSet,
                _ => continue,
            };
            if let Some(canonical) = element.value()
                && conformance.find(kind, canonical).is_none()
            {
                missing.insert(canonical.to_owned());
            }
        }
    }
    let missing: Vec<_> = missing.iter().map(String::as_str).collect();
    // Of others, or of the elements of R5 that the source has in EvidenceVariable; `definitions/README.md` names them.
    let expected = [
        "http://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.5.html#table_B.5-1",
        "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_29.html",
        "http://hl7.org/fhir/ValueSet/characteristic-combination|5.0.0",
        "http://hl7.org/fhir/ValueSet/characteristic-offset",
        "http://hl7.org/fhir/ValueSet/definition-method",
        "http://hl7.org/fhir/ValueSet/evidence-variable-event",
        "http://loinc.org/vs/LL379-9|4.0.1",
        "http://terminology.hl7.org/CodeSystem/processpriority",
        "http://terminology.hl7.org/ValueSet/usage-context-type",
        "http://www.rfc-editor.org/bcp/bcp13.txt",
        "http://www.rsna.org/RadLex_Playbook.aspx",
    ];
    assert_eq!(missing, expected);
}

#[test]
fn canonical_urls_with_and_without_version() {
    let conformance = Conformance::core();
    let patient = "http://hl7.org/fhir/StructureDefinition/Patient";
    for good in [patient.to_owned(), format!("{patient}|4.0.1"), format!("{patient}|4.0")] {
        assert_eq!(conformance.definition(&good).map(Source::url), Some(patient), "{good}");
    }
    for bad in ["|4.0.2", "|4.0.", "|", "|5", "/", "#name"] {
        assert!(conformance.definition(&format!("{patient}{bad}")).is_none(), "{bad}");
    }
    assert!(conformance.find(Kind::ValueSet, "http://terminology.hl7.org/ValueSet/v3-NullFlavor|4.0.1").is_some());
    assert!(conformance.find_any_version(Kind::StructureDefinition, &format!("{patient}|5.0.0")).is_some());
    assert!(conformance.find(Kind::ValueSet, patient).is_none());
}

#[test]
fn conformance_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Conformance>();
}

mod own_package;
mod packages;
mod shared_data;
