//! Who and to whom: nothing is guessed. A message that leaves a doubt about the person or the home waits with a reason;
//! nobody gets it because another place of it happens to fit.

use std::collections::BTreeSet;

use onward_core::audit::Agent;
use onward_core::state::HoldReason;
use onward_gateway::holds::{Choice, Decider, Released};
use onward_tests::message::{self, fresh};
use onward_tests::world::{World, post_xml};

const HOME: &str = "<value value=\"VMH01\"/>";
const SITE: &str = "<system value=\"https://fhir.nhs.uk/Id/ods-site-code\"/>\n        <value value=\"VMH01\"/>";
const METHOD: &str = "CareConnect-DischargeMethod-1\"/>\n           <code value=\"1\"/>";

/// One change of the fixture, and the hold that it must come to.
struct Doubt {
    name: &'static str,
    change: fn(&str) -> String,
    reason: HoldReason,
}

const DOUBTS: &[Doubt] = &[
    Doubt {
        name: "the document names a home that is not in the directory",
        change: |body| {
            let (envelope, document) = body.split_once(HOME).expect("the message names the home");
            format!("{envelope}{HOME}{}", document.replace(HOME, "<value value=\"VMH99\"/>"))
        },
        reason: HoldReason::CareHomeConflict,
    },
    Doubt {
        name: "the header names a home that is not in the directory",
        change: |body| body.replacen(HOME, "<value value=\"VZZ98\"/>", 1),
        reason: HoldReason::CareHomeConflict,
    },
    Doubt {
        name: "the place's own site code is unknown, its provider's is not",
        change: |body| replaced(body, SITE, &SITE.replace("VMH01", "VZZ98")),
        reason: HoldReason::CareHomeConflict,
    },
    Doubt {
        name: "no family name to compare",
        change: |body| replaced(body, "<family value=\"Holroyd\"/>", ""),
        reason: HoldReason::DemographicsConflict,
    },
    Doubt {
        name: "another given name: the number may be a twin's",
        change: |body| replaced(body, "<given value=\"Margaret\"/>", "<given value=\"Maureen\"/>"),
        reason: HoldReason::DemographicsConflict,
    },
    Doubt {
        name: "half a date of birth",
        change: |body| replaced(body, "<birthDate value=\"1944-03-08\"/>", "<birthDate value=\"1944\"/>"),
        reason: HoldReason::DemographicsConflict,
    },
    Doubt {
        name: "no date of birth",
        change: |body| replaced(body, "<birthDate value=\"1944-03-08\"/>", ""),
        reason: HoldReason::DemographicsConflict,
    },
    Doubt {
        name: "the hospital labels the person as very restricted",
        change: |body| label(body, "<Patient>", "V"),
        reason: HoldReason::RestrictedPatient,
    },
    Doubt {
        name: "the hospital labels the document as restricted",
        change: |body| replaced(body, "<custodian>", "<confidentiality value=\"R\"/><custodian>"),
        reason: HoldReason::RestrictedPatient,
    },
    Doubt {
        name: "discharged by death to a care home",
        change: |body| replaced(body, METHOD, &METHOD.replace("\"1\"", "\"4\"")),
        reason: HoldReason::Deceased,
    },
    Doubt {
        name: "no registered practice, says the document",
        change: |body| replaced(body, "<value value=\"Y99002\"/>", "<value value=\"G9999981\"/>"),
        reason: HoldReason::RegisteredPracticeConflict,
    },
];

fn replaced(body: &str, from: &str, to: &str) -> String {
    assert!(body.contains(from), "the fixture holds {from}");
    body.replace(from, to)
}

/// A security label on the resource that begins with `start`.
fn label(body: &str, start: &str, code: &str) -> String {
    let (before, after) = body.split_once(start).expect("the resource is there");
    let security = format!(
        "</profile><security><system value=\"http://hl7.org/fhir/v3/Confidentiality\"/><code value=\"{code}\"/></security>"
    );
    let (head, tail) = after.split_once("</meta>").expect("it has a meta");
    let head = head.trim_end();
    let head = head.strip_suffix("/>").map_or_else(|| head.to_owned(), |head| format!("{head}>"));
    format!("{before}{start}{head}{security}</meta>{tail}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_doubt_waits_for_a_person() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    for doubt in DOUBTS {
        let body = (doubt.change)(&fresh(message::EDISCHARGE_ITK3));
        let before = world.logged("directory-lookup: PDS asked").await;
        let (status, response, reply) = post_xml(&hospital, body).await;
        assert_eq!(status, 200, "{}: {response}", doubt.name);
        let place = reply.headers["location"].to_str().expect("text").to_owned();
        let id = place.rsplit('/').next().expect("an id").parse().expect("an id");
        let holds = world.gateway().store().holds().await.expect("readable");
        let held = holds.iter().find(|held| held.transfer == id);
        let held = held.unwrap_or_else(|| panic!("{}: not held", doubt.name));
        assert_eq!(held.hold.reason, doubt.reason, "{}: {}", doubt.name, held.hold.detail);
        assert!(!held.hold.owner.is_empty() && !held.hold.detail.is_empty());
        let transfer = world.gateway().store().transfer(id).await.expect("readable").expect("stored");
        assert!(transfer.deliveries.is_empty(), "{}: nothing leaves", doubt.name);
        // Whom the hospital labels, PDS is not asked about, and the log does not say so.
        let asked = usize::from(doubt.reason != HoldReason::RestrictedPatient);
        assert_eq!(world.logged("directory-lookup: PDS asked").await - before, asked, "{}", doubt.name);
    }
}

/// The page offers it, so it must come to something: the home may still need the summary of somebody who has died.
#[tokio::test(flavor = "multi_thread")]
async fn about_somebody_who_has_died_a_person_decides() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let dead = replaced(&fresh(message::EDISCHARGE_ITK3), METHOD, &METHOD.replace("\"1\"", "\"4\""));
    let (status, response, _) = post_xml(&hospital, dead).await;
    assert_eq!(status, 200, "{response}");
    let hold = world.gateway().store().holds().await.expect("readable").remove(0).hold;
    assert_eq!(hold.reason, HoldReason::Deceased);
    let decide = async |act| {
        let agent = Agent::named("operator", None);
        let decider = Decider { agent, by: "Ada Wells", reason: "the home asked for it", act, request_id: None };
        let choice = Choice::Release { agreed_recipients: BTreeSet::new() };
        world.gateway().release(hold.id, choice, &decider).await.expect("decided")
    };
    assert!(matches!(decide(false).await, Released::WouldQueue(copies) if !copies.is_empty()));
    assert_eq!(world.gateway().store().holds().await.expect("readable").len(), 1, "shown, not sent");
    assert!(matches!(decide(true).await, Released::Queued(_)));
    assert_eq!(world.logged("sent despite deceased: the home asked for it").await, 2, "preview and decision");
}

/// The same message without a doubt is delivered: the table above would hold anything otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_doubt_nobody_waits() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let (status, response, _) = post_xml(&hospital, fresh(message::EDISCHARGE_ITK3)).await;
    assert_eq!(status, 200, "{response}");
    assert!(world.gateway().store().holds().await.expect("readable").is_empty());
}

/// The fixture without the NHS number of its Patient.
fn without_number(body: &str) -> String {
    let (before, after) = body.split_once("<Patient>").expect("a Patient");
    let at = after.find("<identifier>").expect("its first identifier");
    let end = at + after[at..].find("</identifier>").expect("closed") + "</identifier>".len();
    assert!(after[at..end].contains("9990000018"), "the first identifier is the number");
    format!("{before}<Patient>{}{}", &after[..at], &after[end..])
}

async fn only_hold(world: &World) -> onward_core::store::HeldTransfer {
    let mut holds = world.gateway().store().holds().await.expect("readable");
    assert_eq!(holds.len(), 1);
    holds.remove(0)
}

async fn released(world: &World) -> Released {
    let hold = only_hold(world).await.hold.id;
    let agent = Agent::named("operator", None);
    let decider = Decider { agent, by: "Ada Wells", reason: "looked again", act: true, request_id: None };
    let choice = Choice::Release { agreed_recipients: BTreeSet::new() };
    world.gateway().release(hold, choice, &decider).await.expect("decided")
}

/// A search tells whether the person can be traced, and nobody who that is; every copy carries the number, so nothing goes on without.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_number_waits_for_the_ward_with_what_pds_says() {
    for (family, told) in [
        ("Holroyd", "PDS has one person of this name and date of birth"),
        ("Holroid", "one person who is alike"),
        ("Zzyzx", "nobody who may be meant"),
    ] {
        let world = World::start().await;
        let hospital = world.hospital().await;
        let body = without_number(&fresh(message::EDISCHARGE_ITK3));
        let body = body.replace("<family value=\"Holroyd\"/>", &format!("<family value=\"{family}\"/>"));
        let (status, response, _) = post_xml(&hospital, body).await;
        assert_eq!(status, 200, "{response}");
        let held = only_hold(&world).await;
        assert_eq!(held.hold.reason, HoldReason::NhsNumberMissing);
        assert!(held.hold.detail.contains(told), "{}", held.hold.detail);
        for text in [&held.hold.detail, &response.to_string()] {
            assert!(!text.contains("9990000018") && !text.contains(family), "a candidate is told to nobody: {text}");
        }
        let searched = "directory-lookup: PDS searched for the person";
        assert_eq!((world.logged(searched).await, world.logged("directory-lookup: PDS asked").await), (1, 0));
        let Released::StillHeld(cause) = released(&world).await else { panic!("{family}: sent") };
        assert_eq!(cause.reason, HoldReason::NhsNumberMissing, "{}", cause.detail);
        let transfer = world.gateway().store().transfer(held.transfer).await.expect("readable").expect("there");
        assert!(transfer.deliveries.is_empty() && transfer.patient.is_none());
    }
}

/// A right number that is nobody's in PDS.
#[tokio::test(flavor = "multi_thread")]
async fn whose_number_pds_does_not_know_is_searched_for() {
    let world = World::start().await;
    let hospital = world.hospital().await;
    let unknown =
        replaced(&fresh(message::EDISCHARGE_ITK3), "<value value=\"9990000018\"/>", "<value value=\"9990000077\"/>");
    let (status, response, _) = post_xml(&hospital, unknown).await;
    assert_eq!(status, 200, "{response}");
    let held = only_hold(&world).await;
    assert_eq!(held.hold.reason, HoldReason::PatientNotFound);
    assert!(held.hold.detail.contains("so that the sender can trace them"), "{}", held.hold.detail);
    let Released::StillHeld(cause) = released(&world).await else { panic!("sent") };
    assert_eq!(cause.reason, HoldReason::PatientNotFound);
}
