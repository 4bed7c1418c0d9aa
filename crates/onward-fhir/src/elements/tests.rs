use super::*;

#[test]
fn the_readme_tells_the_checksums_of_the_tables() {
    let readme = include_str!("../../tables/README.md");
    for (name, packed) in [
        ("r4.tsv.gz", include_bytes!("../../tables/r4.tsv.gz").as_slice()),
        ("stu3.tsv.gz", include_bytes!("../../tables/stu3.tsv.gz").as_slice()),
    ] {
        let row = readme.lines().find(|line| line.contains(&format!("| `{name}` |"))).expect("a row");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut text).expect("gzip");
        for bytes in [packed, &text] {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
            assert!(row.contains(&hex::encode(digest.as_ref())), "the checksum of {name} is another");
        }
    }
}

#[test]
fn every_type_that_is_named_is_defined() {
    for release in [Release::R4, Release::Stu3] {
        for type_def in table(release).types() {
            let mut names = std::collections::HashSet::new();
            for element in type_def.elements() {
                assert!(names.insert(element.name), "{}.{} stands twice", type_def.name(), element.name);
                assert!(
                    table(release).type_def(element.type_name).is_some(),
                    "{}.{} has the unknown type {}",
                    type_def.name(),
                    element.name,
                    element.type_name
                );
            }
            assert!(type_def.elements().is_sorted_by_key(|element| element.order));
            if type_def.kind() == TypeKind::Resource {
                assert_eq!(type_def.elements()[0].name, "id", "{}", type_def.name());
            }
        }
    }
}

#[test]
fn facts_that_the_specification_states() {
    let r4 = table(Release::R4);
    let of = |type_name: &str, name: &str| r4.child(type_name, name).unwrap_or_else(|| panic!("{type_name}.{name}"));
    assert!(of("Patient", "name").array && !of("Patient", "birthDate").array);
    assert_eq!(of("Patient", "deceasedBoolean").primitive, Some(JsonKind::Boolean));
    assert_eq!(of("Patient", "deceasedBoolean").choice, Some("deceased"));
    assert_eq!(of("Patient", "multipleBirthInteger").primitive, Some(JsonKind::Number));
    assert_eq!(of("Patient", "contact").type_name, "Patient.contact");
    assert_eq!(of("Patient.contact", "period").type_name, "Period");
    assert_eq!(of("Observation", "valueQuantity").type_name, "Quantity");
    assert_eq!(of("Quantity", "value").primitive, Some(JsonKind::Number));
    assert_eq!(of("Bundle.entry", "link").type_name, "Bundle.link");
    assert_eq!(of("Bundle.entry", "resource").type_name, "Resource");
    assert_eq!(of("Composition.section", "section").type_name, "Composition.section");
    assert!(of("Narrative", "div").xhtml);
    assert_eq!(of("MedicationRequest", "dosageInstruction").type_name, "Dosage");
    assert!(of("Encounter", "reasonCode").array && r4.child("Encounter", "reason").is_none());
    assert!(r4.is_resource("Task") && !r4.is_resource("Resource") && !r4.is_resource("HumanName"));
    assert!(!r4.is_resource("ReferralRequest") && r4.is_resource("ServiceRequest"));
    assert_eq!(r4.type_def("Extension").expect("there").choice("value").count(), 50);
    assert_eq!(of("string", "extension").type_name, "Extension");

    let stu3 = table(Release::Stu3);
    let of = |type_name: &str, name: &str| stu3.child(type_name, name).unwrap_or_else(|| panic!("{type_name}.{name}"));
    assert!(stu3.is_resource("ReferralRequest") && stu3.is_resource("EligibilityRequest"));
    assert!(stu3.is_resource("ProcedureRequest") && stu3.is_resource("BodySite"));
    assert!(of("Encounter", "reason").array);
    assert_eq!(of("Encounter", "class").type_name, "Coding");
    assert_eq!(of("MedicationStatement", "taken").primitive, Some(JsonKind::String));
    assert_eq!(of("MessageHeader", "event").type_name, "Coding");
    assert!(!of("MessageHeader", "destination").type_name.is_empty() && of("MessageHeader", "destination").array);
    assert!(!of("Composition", "relatesTo").type_name.is_empty());
    assert_eq!(of("Parameters.parameter", "part").type_name, "Parameters.parameter");
    assert_eq!(of("Timing.repeat", "boundsPeriod").choice, Some("bounds"));
    assert_eq!(of("Bundle.entry", "link").type_name, "Bundle.link");
}
