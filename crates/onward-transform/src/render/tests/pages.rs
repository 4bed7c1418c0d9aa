//! What people read.

use onward_fhir::{Heading, systems};

use super::small::{Entry, Fill, concept, home_page, part, small};
use super::*;

/// The care home's page of the fixtures' discharge, whole. After a wanted change run with `ONWARD_WRITE_FIXTURES` set
/// and read the difference.
#[test]
fn care_home_page_is_as_agreed() {
    let town = Town::new();
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    for (name, rendered) in [
        ("care-home", care_home(&r4, &policy("care-home"), &town.parties(), delivery(11))),
        ("covering-practice", covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(12))),
        ("pharmacy-referral", pharmacy_referral(&r4, &policy("pharmacy-referral"), &town.parties(), delivery(13))),
        (
            "pharmacy-nomination",
            pharmacy_nomination(&r4, &policy("pharmacy-nomination"), &town.parties(), delivery(14)),
        ),
    ] {
        let html = page(&rendered.expect(name));
        let path = format!("{FIXTURES}render/{name}.html");
        if std::env::var_os("ONWARD_WRITE_FIXTURES").is_some() {
            std::fs::write(&path, &html).expect("writable");
        }
        let agreed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(html == agreed, "{name}.html differs from fixtures/render; see ONWARD_WRITE_FIXTURES");
    }
}

/// The four states of allergies are never merged and never blank.
#[test]
fn allergies_have_four_states() {
    let known = |b: &mut Builder<'static>| concept(b, "code", "91936005", "Allergy to penicillin");
    let none = |b: &mut Builder<'static>| concept(b, "code", "716186003", "No known allergy");
    let no_drug = |b: &mut Builder<'static>| concept(b, "code", "409137002", "No known drug allergy");
    let degraded = |b: &mut Builder<'static>| concept(b, "code", "196461000000101", "Transfer-degraded drug allergy");
    let refuted = |b: &mut Builder<'static>| {
        concept(b, "code", "91936005", "Allergy to penicillin");
        b.node("verificationStatus", |b| b.node("coding", |b| b.leaf("code", "refuted")));
    };
    let empty = |reason: &'static str| {
        move |b: &mut Builder<'static>| b.node("emptyReason", |b| b.node("coding", |b| b.leaf("code", reason)))
    };
    let (nil, not_asked, not_available) = (empty("nilknown"), empty("no-content-recorded"), empty("unavailable"));
    let allergy = |fill: Fill<'_>| home_page(&small(Heading::Allergies, None, &[("AllergyIntolerance", fill)]));
    let list = |fill: Fill<'_>| home_page(&small(Heading::Allergies, None, &[("List", fill)]));
    for (case, html, state, also) in [
        ("known", allergy(&known), "Known allergies", "Allergy to penicillin"),
        ("degraded", allergy(&degraded), "Known allergies", "could not send as a code"),
        ("none", allergy(&none), "No known allergies", "No known allergy"),
        ("nil known", list(&nil), "No known allergies", ""),
        ("not recorded", list(&not_asked), "Allergies not recorded", ""),
        ("unavailable", list(&not_available), "Allergies unavailable", "Do not take this to mean that there are none"),
        ("no drug allergy only", allergy(&no_drug), "Allergies unavailable", "No known drug allergy"),
        ("ruled out", allergy(&refuted), "Allergies unavailable", "Ruled out by the hospital"),
        (
            "text only",
            home_page(&small(Heading::Allergies, Some("Strawberries"), &[])),
            "Allergies unavailable",
            "Strawberries",
        ),
        (
            "not sent",
            home_page(&small(Heading::Diagnoses, Some("x"), &[])),
            "Allergies unavailable",
            "Not sent by the hospital",
        ),
        (
            "both",
            home_page(&small(
                Heading::Allergies,
                None,
                &[("AllergyIntolerance", &known), ("AllergyIntolerance", &none)],
            )),
            "Known allergies",
            "treat the allergy as real",
        ),
    ] {
        let shown = part(&html, "Allergies");
        assert!(shown.contains(&format!("<p class=\"state\">{state}</p>")), "{case}: {shown}");
        assert!(shown.contains(also), "{case}: {shown}");
        for other in ["Known allergies", "No known allergies", "Allergies not recorded", "Allergies unavailable"] {
            assert!(other == state || !shown.contains(&format!(">{other}<")), "{case} also says {other}");
        }
    }
}

/// Nothing that a sender or a directory writes becomes markup, on any page.
#[test]
fn hostile_text_is_only_text() {
    const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&";
    let kept = [
        "reference",
        "url",
        "fullUrl",
        "system",
        "code",
        "type",
        "status",
        "use",
        "id",
        "div",
        "data",
        "contentType",
        "valueCode",
        "birthDate",
        "date",
        "start",
        "end",
        "mode",
        "intent",
    ];
    let hostile = changed(&document(&fixture("messages/edischarge-itk3.xml")), &|element, value| {
        let nhs_number =
            element.parent().is_some_and(|parent| parent.text("system").is_some_and(systems::is_nhs_number));
        if element.name() == "div" {
            return "<div><p onclick=\"alert(3)\">x<script>alert(4)</script></p></div>".to_owned();
        }
        if kept.contains(&element.name()) || nhs_number { value.to_owned() } else { HOSTILE.to_owned() }
    });
    let mut town = Town::new();
    town.home.name = HOSTILE.into();
    town.home.address = vec![HOSTILE.into()];
    town.home.uprn = HOSTILE.into();
    town.home.geriatric_on_call = contact(HOSTILE, HOSTILE, HOSTILE);
    town.covering.name = HOSTILE.into();
    town.covering.telephone = HOSTILE.into();
    town.registered.name = HOSTILE.into();
    town.pharmacy.name = HOSTILE.into();
    let mut parties = town.parties();
    parties.sender_name = HOSTILE;
    parties.own_name = HOSTILE;
    for (name, rendered) in [
        ("care-home", care_home(&hostile, &policy("care-home"), &parties, delivery(1))),
        ("covering-practice", covering_practice(&hostile, &policy("covering-practice"), &parties, delivery(1))),
        ("pharmacy-referral", pharmacy_referral(&hostile, &policy("pharmacy-referral"), &parties, delivery(1))),
        ("pharmacy-nomination", pharmacy_nomination(&hostile, &policy("pharmacy-nomination"), &parties, delivery(1))),
    ] {
        let html = page(&rendered.expect(name));
        for bad in ["<script", "<img", "onclick=\"", "alert(3)\"", "alert(4)"] {
            assert!(!html.contains(bad), "{bad} on {name}");
        }
        assert!(html.contains("&lt;script&gt;") || html.contains("&#60;script&#62;"), "{name} shows the text");
        let title = &html[html.find("<title>").expect("a title")..html.find("</title>").expect("a title")];
        assert!(!title.contains("alert"), "no content in the title of {name}");
    }
}

/// A death stops the page: it is the first thing after the name.
#[test]
fn a_death_and_a_replacement_are_told_first() {
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let mut b = Builder::resource("Bundle");
    for child in r4.root().children() {
        b.open_shell_owned(child.name().to_owned(), child);
        for part in child.children() {
            b.open_shell_owned(part.name().to_owned(), part);
            part.children().for_each(|each| b.copy_owned(each));
            if part.is("Patient") {
                b.leaf("deceasedDateTime", "2026-11-13");
            }
            if part.is("Composition") {
                b.node("relatesTo", |b| {
                    b.leaf("code", "replaces");
                    b.node("targetIdentifier", |b| b.leaf("value", "earlier"));
                });
            }
            b.close();
        }
        b.close();
    }
    let html = home_page(&b.finish());
    let died = html.find("This person has died").expect("told");
    let replaces = html.find("This replaces an earlier summary").expect("told");
    let medicines = html.find("<h2>Medicines</h2>").expect("there");
    assert!(died < medicines && replaces < medicines);
    assert!(html.contains("aged 82 at death"), "age at death, not now");
}

/// Withheld is not the same as not sent.
#[test]
fn what_the_policy_withholds_is_said() {
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let text = std::fs::read_to_string(format!("{FIXTURES}../config/disclosure/care-home.toml")).expect("a policy");
    let without = text.replace("clinical-summary = \"with-section\"\n", "");
    assert_ne!(text, without);
    let policy = Policy::parse("p", &without).expect("valid");
    let town = Town::new();
    let html = page(&care_home(&r4, &policy, &town.parties(), delivery(1)).expect("rendered"));
    let other = part(&html, "Other information");
    let at = other.find("<h3>Clinical summary</h3>").expect("the heading stays");
    assert!(other[at..].contains("not included in this copy"));
}

/// A copy in which medicines, allergies or alerts of the hospital's are missing is not made: a person must decide.
#[test]
fn no_copy_for_care_is_made_with_a_gap() {
    let town = Town::new();
    let other: Fill<'_> = &|b| b.leaf("status", "completed");
    for (heading, kept) in [
        (Heading::Allergies, "AllergyIntolerance"),
        (Heading::Medications, "MedicationStatement"),
        (Heading::SafetyAlerts, "Flag"),
    ] {
        for entries in [vec![("Account", other)], vec![(kept, other), ("Account", other)]] {
            let r4 = small(heading, Some("in words"), &entries);
            for made in [
                care_home(&r4, &policy("care-home"), &town.parties(), delivery(1)),
                covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(1)),
            ] {
                let Err(RenderError::Gap { heading: told, rule, .. }) = made else { panic!("{heading:?} {made:?}") };
                assert_eq!((told, rule.as_str()), (heading.title(), "elements: Account is not named"));
            }
        }
    }
    let elsewhere = small(Heading::SocialContext, Some("in words"), &[("Flag", other), ("Account", other)]);
    let html = home_page(&elsewhere);
    assert!(!html.contains("in words") && part(&html, "Other information").contains("Not all that the hospital sent"));
}

/// Whoever has only the page gets at the hospital's files from it, offline too; what could run is not handed out.
#[test]
fn attachments_can_be_saved_from_the_page() {
    let attached = |media_type: &'static str, data: String| {
        move |b: &mut Builder<'static>| {
            b.leaf("contentType", media_type);
            b.leaf("data", data.clone());
        }
    };
    let pdf = attached("application/pdf", "JVBE\n Ri0=".to_owned());
    let web = attached("text/html", "PHA+PC9wPg==".to_owned());
    let large = attached("image/png", "A".repeat(2_000_000));
    let odd = attached("application/pdf", "\"><script>".to_owned());
    let entries: [Entry<'_>; 4] = [("Binary", &pdf), ("Binary", &web), ("Binary", &large), ("Binary", &odd)];
    let r4 = small(Heading::InformationGiven, Some("See the leaflet"), &entries);
    let mut town = Town::new();
    town.covering.endpoint = Endpoint::Inbox {};
    let practice = covering_practice(&r4, &policy("covering-practice"), &town.parties(), delivery(1)).expect("made");
    for (html, heading) in [(home_page(&r4), "Attachments"), (page(&practice), "Attachments of the hospital")] {
        let listed = part(&html, heading);
        assert!(
            listed.contains("href=\"data:application/pdf;base64,JVBERi0=\" download=\"attachment-1.pdf\""),
            "{listed}"
        );
        assert_eq!(listed.matches("<li>").count(), 4);
        assert_eq!(listed.matches("<a ").count(), 1);
        for told in ["not handed out here", "too large for this page", "did not send the file itself"] {
            assert_eq!(listed.matches(told).count(), 1, "{told}");
        }
        assert!(!html.contains("<script"));
    }
}

/// A document shows what its own guide asks for, not what another one does.
#[test]
fn an_emergency_care_document_misses_no_heading_of_another_guide() {
    let r4 = small(Heading::ClinicalNarrative, Some("Seen after a fall"), &[]);
    let town = Town::new();
    let mut parties = town.parties();
    for event in ["ITK005D", "document"] {
        parties.event = event;
        let html = page(&care_home(&r4, &policy("care-home"), &parties, delivery(1)).expect("rendered"));
        let other = part(&html, "Other information");
        assert!(other.contains("Seen after a fall") && !other.contains("Clinical summary"), "{event}: {other}");
    }
    let discharge = home_page(&small(Heading::SocialContext, Some("Lives alone"), &[]));
    assert!(part(&discharge, "Other information").contains("<h3>Clinical summary</h3>\n<p>Not sent by the hospital"));
}

/// What the person needs stands before administration, and the rest in PRSB's order, not the alphabet's.
#[test]
fn needs_come_before_administration() {
    let html = home_page(&document(&fixture("messages/edischarge-itk3.xml")));
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is on the page"));
    let in_order = [
        "<h2>What the person needs</h2>",
        "<h3>Individual requirements</h3>",
        "<h2>Other information</h2>",
        "<h3>Patient demographics</h3>",
        "<h3>GP practice</h3>",
        "<h3>Admission details</h3>",
        "<h3>Discharge details</h3>",
        "<h3>Diagnoses</h3>",
        "<h3>Procedures</h3>",
        "<h3>Clinical summary</h3>",
        "<h3>Investigation results</h3>",
        "<h3>Person completing record</h3>",
    ];
    for pair in in_order.windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{} before {}", pair[0], pair[1]);
    }
    assert_eq!(html.matches("<h3>Individual requirements</h3>").count(), 1);
}

/// Alerts and decisions about treatment are there, or it is said that they are not, each for itself.
#[test]
fn missing_alerts_and_decisions_are_not_none() {
    let legal = home_page(&small(Heading::LegalInformation, Some("Not for resuscitation"), &[]));
    assert!(part(&legal, "Safety alerts").contains("Not sent by the hospital"));
    assert!(part(&legal, "Safety alerts").contains("Do not take this to mean that there are none"));
    assert!(part(&legal, "Legal information and decisions about treatment").contains("Not for resuscitation"));
    let alerts = home_page(&small(Heading::SafetyAlerts, Some("Falls"), &[]));
    assert!(!part(&alerts, "Safety alerts").contains("Do not take this"));
    assert!(part(&alerts, "Legal information and decisions about treatment").contains("decision about resuscitation"));
    let no_type = |b: &mut Builder<'static>| b.leaf("status", "active");
    let withheld = home_page(&small(Heading::LegalInformation, Some("In words"), &[("Claim", &no_type)]));
    let legal = part(&withheld, "Legal information and decisions about treatment");
    assert!(legal.contains("not included in this copy") && legal.contains("decision about resuscitation"));
}

/// The discharge stands in for the arrival that nobody told, and is not called arrival.
#[test]
fn a_discharge_is_not_called_an_arrival() {
    let r4 = document(&fixture("messages/edischarge-itk3.xml"));
    let town = Town::new();
    for (sent, expected, says) in [
        ("2026-11-13T14:30:00+00:00", "2026-11-13T14:30:00Z", "Time of arrival not given."),
        ("2026-11-13", "2026-11-13T23:59:59Z", "Time of arrival not given."),
        ("2026-11-13T14:30:00+00:00", "2026-11-13T16:00:00Z", "Expected 13 November 2026 at 16:00."),
    ] {
        let as_sent = changed(&r4, &|element, value| {
            let of_encounter = element.parent().and_then(Element::parent).is_some_and(|holder| holder.is("Encounter"));
            if element.name() == "end" && of_encounter { sent.to_owned() } else { value.to_owned() }
        });
        let mut parties = town.parties();
        parties.expected = Some(expected.parse().expect("a time"));
        let html = page(&care_home(&as_sent, &policy("care-home"), &parties, delivery(1)).expect("rendered"));
        assert!(html.contains(&format!("<p>{says} Discharged from Hawthorn Ward 13 November 2026")), "{sent}");
        assert!(!html.contains("23:59"), "{sent}");
    }
}

/// What makes an entry its opposite goes with it into words.
#[test]
fn entries_in_words_keep_value_and_negation() {
    let procedure = |b: &mut Builder<'static>| {
        b.leaf("status", "not-done");
        concept(b, "code", "52734007", "Total replacement of hip");
    };
    let condition = |b: &mut Builder<'static>| {
        b.node("verificationStatus", |b| b.node("coding", |b| b.leaf("code", "refuted")));
        concept(b, "code", "38341003", "Hypertension");
    };
    let weight = |b: &mut Builder<'static>| {
        concept(b, "code", "27113001", "Weight");
        b.node("valueQuantity", |b| {
            b.leaf("value", "57.50");
            b.leaf("unit", "kg");
        });
    };
    let html = home_page(&small(
        Heading::Diagnoses,
        None,
        &[("Procedure", &procedure), ("Condition", &condition), ("Observation", &weight)],
    ));
    for line in ["Total replacement of hip (not done)", "Hypertension (ruled out)", "Weight: 57.50 kg"] {
        assert!(html.contains(&format!("<li>{line}</li>")), "{line}");
    }
}

/// The reader learns what to ask for; that there is a safeguarding concern is not told to whom it may be about.
#[test]
fn what_is_left_out_is_named_but_for_safeguarding() {
    for (heading, named) in [(Heading::DistributionList, true), (Heading::Safeguarding, false)] {
        let html = home_page(&small(heading, Some("SECRET"), &[]));
        assert!(!html.contains("SECRET"));
        assert_eq!(html.contains(heading.title()), named, "{heading:?}");
    }
}
