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
            closed: false,
        },
        expected: expected.map(at),
        card: Some(card.to_string().into_bytes()),
        settled: 3,
        arrived: false,
        left: None,
        continues: false,
        logged: None,
    }
}

fn homes() -> Vec<(OdsCode, String)> {
    vec![("VMH01".parse().expect("a code"), "Rowan House".to_owned())]
}

fn first_look(arrivals: Vec<Arrival>) -> Listed {
    Listed { arrivals, looked: None, news: std::collections::BTreeMap::new(), log: 412 }
}

fn rendered(arrivals: Vec<Arrival>) -> String {
    let shell = Shell::signed_in("Pat Moore", "care-home user", "Rowan House (VMH01)");
    let asked = Asked::read(None).expect("nothing asked for");
    InboxPage::new(shell, &homes(), asked, first_look(arrivals), now()).render().expect("renders")
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
    assert_eq!(html.matches("Overdue").count(), 1);
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
    for (code, told) in
        [("30022", "Declined"), ("10009", "Not processed by your system"), ("30099", "Not processed by your system")]
    {
        let refused = DeliveryRecord { code: Some(code.to_owned()), ..copy(S::Rejected) };
        assert_eq!(status(&refused, 0, None).0, told, "{code}");
    }
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
    assert_eq!(flags(&[("SMITH, John", ""), ("SMITH, John", "")]), 2, "nobody knows");
    assert_eq!(flags(&[("SMITH, John", "")]), 0);
    assert_eq!(sound("Robert, A"), sound("RUPERT, ANN"));
    assert_eq!(sound("ASHCRAFT, A"), "A261 A");
}

#[test]
fn an_empty_list_says_so_and_a_lost_content_too() {
    let html = rendered(Vec::new());
    assert!(html.contains("Nobody is due to arrive.") && html.contains("last 28 days") && !html.contains("<table"));
    let nameless = arrival("SMITH, John", "", None, DeliveryState::Received);
    assert!(rendered(vec![nameless]).contains("NHS number not sent by the hospital"));
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
fn a_filter_and_an_order_are_asked_for_and_told() {
    let read = |query: &str| Asked::read(Some(query));
    for standing in Standing::ALL {
        let query = format!("status={}&sort=name", standing.key());
        let asked = read(&query).expect("known");
        assert_eq!((asked.only, asked.order), (Some(standing), Order::Name));
        assert_eq!(asked.address(), format!("/inbox?{query}"), "the page leads to itself");
        assert!(asked.logged().ends_with(standing.key()), "the log says what was asked for");
    }
    for wrong in ["status=gone", "sort=colour", "status=arrived;"] {
        assert!(read(wrong).is_none(), "{wrong}");
    }
    let people = || {
        vec![
            arrival("YOUNG, Ann", "1", Some("2026-11-26T16:00:00Z"), DeliveryState::Received),
            arrival("ADAMS, Bea", "2", Some("2026-11-27T16:00:00Z"), DeliveryState::Received),
        ]
    };
    assert!(order(&rendered(people()), &["YOUNG, Ann", "ADAMS, Bea"]));
    let shell = Shell::signed_in("Pat Moore", "care-home user", "Rowan House (VMH01)");
    let asked = read("status=not-acknowledged&sort=name").expect("known");
    let html = InboxPage::new(shell.clone(), &homes(), asked, first_look(people()), now()).render().expect("renders");
    assert!(order(&html, &["ADAMS, Bea", "YOUNG, Ann"]), "{html}");
    for words in ["Of these only: Not acknowledged.", "Sorted by name.", "value=\"not-acknowledged\" selected"] {
        assert!(html.contains(words), "{words}: {html}");
    }
    let html = InboxPage::new(shell, &homes(), asked, first_look(Vec::new()), now()).render().expect("renders");
    assert!(html.contains("Nothing on this list has that status.") && !html.contains("Nobody is due"), "{html}");
}

#[test]
fn what_has_ended_shows_nothing_to_act_on() {
    let mut replaced = arrival("SMITH, John", "1", None, DeliveryState::Withdrawn);
    replaced.copy.ended =
        Some(onward_core::store::Ended { why: EndReason::Superseded, by: Some(DeliveryId::random()) });
    let html = rendered(vec![replaced]);
    assert!(
        html.contains("Replaced") && html.contains("Open what replaces it") && !html.contains("penicillin"),
        "{html}"
    );
    let mut notice = arrival("SMITH, John", "1", Some("2026-11-26T12:00:00Z"), DeliveryState::Received);
    notice.copy.notice = Some(onward_core::store::Notice { of: DeliveryId::random(), why: EndReason::Withdrawn });
    let html = rendered(vec![notice.clone()]);
    for words in ["Notice: stop using an earlier summary of SMITH, John", "Not confirmed", "Northmoor Hospital"] {
        assert!(html.contains(words), "{words}: {html}");
    }
    assert!(html.contains("app-overdue") && !html.contains("Overdue") && !html.contains("penicillin"), "{html}");
    notice.copy.state = DeliveryState::Accepted;
    assert!(!rendered(vec![notice]).contains("app-overdue"), "what is confirmed stops nobody");
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

#[test]
fn what_is_new_since_the_last_look_is_marked() {
    let people = || {
        vec![
            arrival("YOUNG, Ann", "1", None, DeliveryState::Received),
            arrival("ADAMS, Bea", "2", None, DeliveryState::Received),
            arrival("MOORE, Cas", "3", None, DeliveryState::Accepted),
        ]
    };
    let shown = |listed: Listed| {
        let shell = Shell::signed_in("Pat Moore", "care-home user", "Rowan House (VMH01)");
        let asked = Asked::read(None).expect("nothing asked for");
        InboxPage::new(shell, &homes(), asked, listed, now()).render().expect("renders")
    };
    let html = shown(first_look(people()));
    assert!(!html.contains("since you"), "whoever looks for the first time has seen nothing before: {html}");
    let looked = Some(at("2026-11-26T09:30:00Z"));
    let html = shown(Listed { looked, ..first_look(people()) });
    assert!(html.contains("Nothing on this list came or changed since you last looked, today at 09:30."), "{html}");
    let arrivals = people();
    let news = [(arrivals[1].copy.id, News::New), (arrivals[2].copy.id, News::Changed)].into_iter().collect();
    let html = shown(Listed { arrivals, looked, news, log: 412 });
    let told = "Since you last looked, today at 09:30: 1 new arrival or notice and 1 change, marked on the list.";
    assert!(html.contains(told), "{html}");
    let row = |name: &str| {
        let from = html.find(name).expect("listed");
        &html[from..from + html[from..].find("</tr>").expect("a row")]
    };
    assert!(
        row("ADAMS, Bea").contains("New since you looked") && row("MOORE, Cas").contains("Changed since you looked")
    );
    assert!(!row("YOUNG, Ann").contains("since you looked"));
    assert!(html.contains("/inbox/news?seen=412\""), "from where on the page asks: {html}");
    assert_eq!(in_words(NewsCount { new: 2, changed: 0 }).as_deref(), Some("2 new arrivals or notices"));
    assert_eq!(in_words(NewsCount::default()), None);
}
