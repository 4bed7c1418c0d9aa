//! What people read about medicines.

use onward_fhir::Heading;

use super::small::{Entry, Fill, concept, home_page, part, small};
use super::*;

fn statement(status: &'static str, name: &'static str, change: Option<&'static str>) -> impl Fn(&mut Builder<'static>) {
    move |b| {
        if let Some(change) = change {
            b.node("extension", |b| {
                b.leaf("url", "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-MedicationChangeSummary");
                b.node("extension", |b| {
                    b.leaf("url", "status");
                    b.node("valueCodeableConcept", |b| b.node("coding", |b| b.leaf("code", change)));
                });
                b.node("extension", |b| {
                    b.leaf("url", "indicationForChange");
                    b.node("valueCodeableConcept", |b| b.leaf("text", format!("because of {name}")));
                });
            });
        }
        b.leaf("status", status);
        b.node("medicationCodeableConcept", |b| b.leaf("text", name));
        b.node("subject", |b| b.leaf("reference", "urn:uuid:p"));
        b.node("dosage", |b| b.leaf("text", format!("0.010 mg of {name}")));
    }
}

#[test]
fn medicines_that_are_dangerous_to_miss_come_first() {
    let continued = statement("active", "continuedol", Some("continued"));
    let amended = statement("active", "amendedol", Some("amended"));
    let added = statement("active", "addedol", Some("added"));
    let unstated = statement("active", "unstatedol", None);
    let held = statement("on-hold", "heldol", Some("continued"));
    let stopped = statement("stopped", "stoppedol", None);
    let wrong = statement("entered-in-error", "wrongol", Some("added"));
    let unsure = statement("unknown", "unsurol", Some("continued"));
    let entries: Vec<Entry<'_>> =
        [&continued as Fill<'_>, &amended, &added, &unstated, &held, &stopped, &wrong, &unsure]
            .into_iter()
            .map(|fill| ("MedicationStatement", fill))
            .collect();
    let html = home_page(&small(Heading::Medications, None, &entries));
    let shown = part(&html, "Medicines");
    let order: Vec<usize> = [
        "stoppedol</strong>",
        "wrongol</strong>",
        "addedol</strong>",
        "amendedol</strong>",
        "heldol</strong>",
        "unstatedol</strong>",
        "continuedol</strong>",
    ]
    .iter()
    .map(|name| shown.find(name).unwrap_or_else(|| panic!("{name}")))
    .collect();
    assert!(order.is_sorted(), "{order:?}");
    for text in [
        "<th scope=\"row\">STOPPED</th>",
        "<th scope=\"row\">ON HOLD</th>",
        "0.010 mg of amendedol",
        "because of addedol",
        "do not give it on the strength of this entry",
        "does not say whether it is being taken",
    ] {
        assert!(shown.contains(text), "{text}");
    }
}

/// A list and an entry that disagree are shown as stopped, and as a question.
#[test]
fn a_disagreement_on_a_medicine_is_never_settled_silently() {
    let urn = format!("urn:uuid:{}", Uuid::from_u128(101));
    let list = |code: &'static str| {
        let urn = urn.clone();
        move |b: &mut Builder<'static>| {
            concept(b, "code", code, "list");
            b.node("entry", |b| b.node("item", |b| b.leaf("reference", urn.clone())));
        }
    };
    for (code, status, shown, asks) in [
        ("1102191000000100", "active", "STOPPED", true),
        ("1102411000000102", "stopped", "STOPPED", true),
        ("1102191000000100", "stopped", "STOPPED", false),
        ("1102411000000102", "active", "Change not stated", false),
    ] {
        let (list, entry) = (list(code), statement(status, "doubtol", None));
        let html = home_page(&small(Heading::Medications, None, &[("List", &list), ("MedicationStatement", &entry)]));
        let part = part(&html, "Medicines");
        assert!(part.contains(&format!("<th scope=\"row\">{shown}</th>")), "{code} {status}: {part}");
        assert_eq!(part.contains("Ring the ward before giving it"), asks, "{code} {status}");
    }
}

#[test]
fn missing_medicines_are_not_no_medicines() {
    let absent = home_page(&small(Heading::Diagnoses, Some("x"), &[]));
    assert!(part(&absent, "Medicines").contains("Do not take this to mean that there are no medicines"));
    let text = home_page(&small(Heading::Medications, Some("Aspirin 75 mg"), &[]));
    assert!(part(&text, "Medicines").contains("Read its own text below") && text.contains("Aspirin 75 mg"));
}

/// One entry that may not go takes its narrative along, but no medicine; and the page says that it is not the whole.
#[test]
fn a_medicine_is_not_lost_for_what_stands_beside_it() {
    let town = Town::new();
    let ramipril = statement("active", "ramipril", None);
    let other: Fill<'_> = &|b| b.leaf("status", "final");
    for beside in ["Observation", "SupplyDelivery"] {
        let r4 = small(Heading::Medications, Some("in words"), &[("MedicationStatement", &ramipril), (beside, other)]);
        let referral = pharmacy_referral(&r4, &policy("pharmacy-referral"), &town.parties(), delivery(1));
        let html = page(&referral.expect("rendered"));
        let medicines = part(&html, "Medicines on discharge");
        assert!(medicines.contains("<strong>ramipril</strong>") && !html.contains("in words"), "{beside}");
        assert!(medicines.contains("Ask the hospital before you rely on this list"), "{beside}: {medicines}");
        let home = home_page(&r4);
        let medicines = part(&home, "Medicines");
        assert!(medicines.contains("<strong>ramipril</strong>") && medicines.contains("in words"), "{beside}");
        assert!(!medicines.contains("Ask the hospital before you rely on this list"), "the home gets all of it");
    }
}

/// A referral without medicines refers nothing: none were sent, or a person must decide.
#[test]
fn no_referral_is_made_without_medicines() {
    let town = Town::new();
    let refer = |r4: &Tree<'_>| pharmacy_referral(r4, &policy("pharmacy-referral"), &town.parties(), delivery(1));
    let other: Fill<'_> = &|b| b.leaf("status", "final");
    let none = small(Heading::ClinicalSummary, Some("in words"), &[]);
    assert!(matches!(refer(&none), Err(RenderError::NoMedicines)));
    let hidden = small(Heading::Medications, Some("ramipril, in words"), &[("Observation", other)]);
    assert!(matches!(refer(&hidden), Err(RenderError::Gap { .. })));
    let told = small(Heading::Medications, Some("ramipril, in words"), &[]);
    assert!(page(&refer(&told).expect("rendered")).contains("ramipril, in words"));
    let statement = statement("active", "ramipril", None);
    let modified: Fill<'_> = &|b| {
        b.node("modifierExtension", |b| b.leaf("url", "https://example.org/x"));
        statement(b);
    };
    let half =
        small(Heading::Medications, None, &[("MedicationStatement", &statement), ("MedicationStatement", modified)]);
    assert!(matches!(refer(&half), Err(RenderError::Gap { .. })), "half a list of medicines reads like a whole one");
}

/// A dose beside a medicine that must not be given reads as an order to give it.
#[test]
fn a_dose_never_stands_alone_beside_what_must_not_be_given() {
    let stopped = statement("stopped", "stoppedol", None);
    let held = statement("on-hold", "heldol", Some("continued"));
    let html = home_page(&small(
        Heading::Medications,
        None,
        &[("MedicationStatement", &stopped), ("MedicationStatement", &held)],
    ));
    for (name, words) in [("stoppedol", "Not to be taken"), ("heldol", "Not to be taken while on hold")] {
        let dose = html.find(&format!("0.010 mg of {name}")).expect("verbatim all the same");
        let row = html[..dose].rfind("<tr").expect("in a row");
        assert!(html[row..dose].starts_with("<tr class=\"not-now\">"), "{name}");
        assert!(html[row..dose].contains(&format!("<strong>{words}</strong>")), "{name}");
    }
}

/// STU3 says "not taken" beside the status; no copy may lose it.
#[test]
fn active_but_not_taken_is_a_question() {
    let taken = |code: &'static str| {
        move |b: &mut Builder<'static>| {
            b.node("extension", |b| {
                b.leaf("url", convert::TAKEN_EXTENSION);
                b.leaf("valueCode", code);
            });
            statement("active", "doubtol", Some("continued"))(b);
        }
    };
    for (code, asks) in [("n", true), ("y", false), ("unk", false)] {
        let entry = taken(code);
        let document = small(Heading::Medications, None, &[("MedicationStatement", &entry)]);
        let town = Town::new();
        let referral = pharmacy_referral(&document, &policy("pharmacy-referral"), &town.parties(), delivery(1));
        for html in [home_page(&document), page(&referral.expect("rendered"))] {
            assert_eq!(html.contains("also records that the person does not take it"), asks, "{code}");
        }
    }
}

/// A request that was carried out ends no treatment.
#[test]
fn a_completed_request_is_not_a_stopped_medicine() {
    let order = statement("completed", "orderol", None);
    let shown = |resource_type| home_page(&small(Heading::Medications, None, &[(resource_type, &order)]));
    let request = shown("MedicationRequest");
    assert!(!request.contains(">STOPPED<") && request.contains("The order is complete"));
    assert!(shown("MedicationStatement").contains(">STOPPED<"));
}

/// Which eye, and how long each step of a reducing course lasts.
#[test]
fn site_and_steps_of_a_dose_are_shown() {
    let dosage = |b: &mut Builder<'static>, text: &'static str, days: &'static str| {
        b.node("dosage", |b| {
            b.leaf("text", text);
            b.node("timing", |b| {
                b.node("repeat", |b| {
                    b.node("boundsDuration", |b| {
                        b.leaf("value", days);
                        b.leaf("unit", "days");
                    });
                });
            });
            b.node("site", |b| b.leaf("text", "Left eye"));
            b.node("route", |b| b.leaf("text", "Ocular"));
        });
    };
    let course = |b: &mut Builder<'static>| {
        b.leaf("status", "active");
        b.node("medicationCodeableConcept", |b| b.leaf("text", "dropol"));
        dosage(b, "One drop four times a day", "7");
        dosage(b, "One drop twice a day", "14");
    };
    let html = home_page(&small(Heading::Medications, None, &[("MedicationStatement", &course)]));
    let steps =
        "One drop four times a day<br>For how long: 7 days<br>One drop twice a day<br>For how long: 14 days<br>";
    assert!(html.contains(&format!("{steps}Route: Ocular, Left eye<br>")), "{html}");
}
