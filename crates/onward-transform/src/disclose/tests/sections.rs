//! What goes, stays and is masked of one section, over small documents.

use onward_fhir::{Builder, Heading, Tree};

use super::*;

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
