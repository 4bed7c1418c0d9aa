use onward_core::directory::Endpoint;
use onward_core::state::RecipientKind;
use onward_core::store::DeliveryRecord;
use onward_core::{DeliveryId, TransferId};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a moment")
}

fn now() -> Timestamp {
    at("2026-11-26T14:05:00Z")
}

pub(super) fn arrival(name: &str, number: &str, expected: Option<&str>, state: DeliveryState) -> Arrival {
    let card = serde_json::json!({
        "name": name, "born": "1 July 1944", "age": "82 years", "gender": "Female", "nhs_number": number,
        "nhs_number_note": "", "died": "", "hospital": "Northmoor Hospital", "ward": "Ward 7", "arrival_unknown": false, "replaces": false,
        "check_first": ["Known allergies: penicillin"], "telephones": [],
    });
    Arrival {
        copy: DeliveryRecord {
            id: DeliveryId::random(),
            transfer: TransferId::random(),
            sender: "R9Z".parse().expect("a code"),
            patient: None,
            kind: RecipientKind::CareHome,
            recipient: "VMH01".parse().expect("a code"),
            recipient_name: "Rowan House".to_owned(),
            endpoint: Endpoint::Inbox {},
            state,
            version: 1,
            attempts: 0,
            next_attempt: None,
            reason: None,
            code: None,
            reference: None,
            correlation_id: None,
            body_bytes: 1,
            acknowledgement_awaited: true,
            basis: String::new(),
            created: now(),
            changed: now(),
            opened: None,
            erased: false,
            ended: None,
            notice: None,
            replay: None,
        },
        expected: expected.map(at),
        card: Some(card.to_string().into_bytes()),
        settled: 3,
        arrived: false,
        left: None,
        continues: false,
    }
}

fn homes() -> Vec<(OdsCode, String)> {
    vec![("VMH01".parse().expect("a code"), "Rowan House".to_owned())]
}

fn rendered(arrivals: Vec<Arrival>) -> String {
    let shell = Shell::signed_in("Pat Moore", "care-home user", "Rowan House (VMH01)");
    InboxPage::new(shell, &homes(), Show::Open, arrivals, now()).render().expect("renders")
}

fn order(html: &str, names: &[&str]) -> bool {
    let places: Vec<_> = names.iter().map(|name| html.find(name).expect(name)).collect();
    places.is_sorted()
}

#[test]
fn overdue_ones_stand_first_then_the_soonest_then_those_without_a_time() {
    let html = rendered(vec![
        arrival("LATER, Ann", "999 000 0001", Some("2026-11-27T09:00:00Z"), DeliveryState::Received),
        arrival("NEVER, Bea", "999 000 0002", None, DeliveryState::Received),
        arrival("KNOWN, Cas", "999 000 0003", Some("2026-11-26T10:00:00Z"), DeliveryState::Accepted),
        arrival("SOON, Dan", "999 000 0004", Some("2026-11-26T16:00:00Z"), DeliveryState::AwaitingCollection),
        arrival("OVERDUE, Eve", "999 000 0005", Some("2026-11-26T12:00:00Z"), DeliveryState::AwaitingCollection),
    ]);
    assert!(order(&html, &["OVERDUE, Eve", "KNOWN, Cas", "SOON, Dan", "LATER, Ann", "NEVER, Bea"]), "{html}");
    assert_eq!(html.matches("Overdue, not acknowledged").count(), 1);
    for words in ["Today at 16:00", "Tomorrow at 09:00", "Time not given", "List correct at", "14:05", "Rowan House"] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn statuses_are_in_words() {
    use DeliveryState as S;
    let copy = |state| arrival("SMITH, John", "1", None, state).copy;
    let words = |state| status(&copy(state), 3, None).0;
    assert_eq!(words(S::Received), "Not acknowledged");
    assert_eq!(words(S::Accepted), "Acknowledged");
    assert_eq!(words(S::InProgress), "Arrived (3 of 11)");
    assert_eq!(words(S::Rejected), "Declined");
    let all: std::collections::BTreeSet<String> = S::ALL.iter().map(|state| words(*state)).collect();
    assert_eq!(all.len(), 7);
}

#[test]
fn people_who_may_be_taken_for_one_another_are_flagged() {
    let flags = |people: &[(&str, &str)]| {
        let arrivals =
            people.iter().map(|(name, number)| arrival(name, number, None, DeliveryState::Received)).collect();
        rendered(arrivals).matches("Similar name on this list").count()
    };
    assert_eq!(flags(&[("SMITH, John", "1"), ("SMYTHE, Joan", "2"), ("JONES, Jim", "3")]), 2);
    assert_eq!(flags(&[("SMITH, John", "1"), ("SMITH, Anna", "2")]), 0);
    assert_eq!(flags(&[("SMITH, John", "1"), ("SMITH, John", "1")]), 0, "the same person twice");
    assert_eq!(sound("Robert, A"), sound("RUPERT, ANN"));
    assert_eq!(sound("ASHCRAFT, A"), "A261 A");
}

#[test]
fn an_empty_list_says_so_and_a_lost_content_too() {
    let html = rendered(Vec::new());
    assert!(html.contains("Nobody is due to arrive.") && html.contains("last 28 days") && !html.contains("<table"));
    let gone = Arrival { card: None, ..arrival("SMITH, John", "1", None, DeliveryState::Completed) };
    assert!(rendered(vec![gone]).contains("Content no longer held"));
}

#[test]
fn what_stands_in_a_name_is_text() {
    let hostile = "<SCRIPT>ALERT(1)</SCRIPT>, \"><img src=x onerror=alert(1)>";
    let html = rendered(vec![arrival(hostile, "1", None, DeliveryState::Received)]);
    assert!(!html.contains("<SCRIPT>") && !html.contains("<img"), "{html}");
    assert!(!html.contains("style=") && !html.contains("onclick"), "no inline style or handler");
    let title = &html[html.find("<title>").expect("there")..html.find("</title>").expect("there")];
    assert_eq!(title, "<title>Arrivals – Onward");
}

#[test]
fn a_query_says_which_list() {
    assert_eq!(Show::of(Some("show=recent")), Show::Recent);
    for other in [None, Some(""), Some("show=all"), Some("xshow=recent")] {
        assert_eq!(Show::of(other), Show::Open, "{other:?}");
    }
}

#[test]
fn the_discharge_is_not_called_arrival() {
    let mut only_left = arrival("SMITH, John", "1", Some("2026-11-26T09:00:00Z"), DeliveryState::Received);
    let card = String::from_utf8(only_left.card.take().expect("a card")).expect("text");
    only_left.card = Some(card.replace("\"arrival_unknown\":false", "\"arrival_unknown\":true").into_bytes());
    let html = rendered(vec![only_left]);
    assert!(html.contains("Time not given. Left hospital today at 09:00"), "{html}");
    assert!(html.contains("Overdue"), "the person left hours ago");
}
