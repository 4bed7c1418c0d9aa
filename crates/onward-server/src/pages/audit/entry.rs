//! One entry; whom it is about is shown for a reason, and that is a disclosure.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::OdsCode;
use onward_core::audit::FoundAudit;
use onward_core::store::StoreError;
use onward_gateway::explore::Inquiry;
use onward_transform::render::dates;
use serde_json::Value;

use super::super::components::{Fact, Field, FormError};
use super::super::operations::{grouped, reason};
use super::super::{Shell, attendant, page, sent, shell, store_failed, trouble};
use super::search::placed;
use super::words::{signed_in_by, word};
use super::{Tab, TabLink, WHOM};
use crate::app::App;
use crate::cli::audit::event::Told;
use crate::people::SignedIn;
use crate::rules::{by_rule, together};

/// Of a copy whose record cannot be read.
const DAMAGED: &str = "What it carries cannot be read: its record is damaged";
/// Of a copy whose record is gone.
const ERASED: &str = "What it carried was erased with the person";

#[derive(Template)]
#[template(path = "audit/entry.html")]
struct EntryPage {
    shell: Shell,
    tabs: Vec<TabLink>,
    errors: Vec<FormError>,
    number: u64,
    facts: Vec<Fact>,
    person: String,
    hidden: bool,
    /// Sent with the reason: whether it asks for the person, or for the entry itself.
    reveal: bool,
    place: String,
    organisation: String,
    reason: Field,
}

/// `POST /audit/entry`: by its place; `reveal` shows whom it is about.
pub(super) async fn post(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let organisation = sent(&body, "organisation").parse::<OdsCode>().ok().filter(|ods| who.acts_for(ods));
    let (Some(organisation), Some((recorded, index))) = (organisation, placed(&sent(&body, "place"))) else {
        return trouble(StatusCode::BAD_REQUEST);
    };
    let reveal = sent(&body, "reveal") == "1";
    let why = match reason(&body) {
        Ok(why) => why,
        // Nothing is looked at without a reason.
        Err(error) => {
            return match shell(&app, &who).await {
                Ok((shell, _)) => {
                    let asking = EntryPage::asking(shell, index, reveal, error, sent(&body, "place"), &organisation);
                    page(&headers, StatusCode::UNPROCESSABLE_ENTITY, &asking)
                }
                Err(error) => store_failed(&error),
            };
        }
    };
    let person = attendant(&who);
    let inquiry = Inquiry {
        who: &person,
        organisation: &organisation,
        reason: &why,
        asked: format!("audit/entry?entry={index}"),
    };
    let looked = async {
        let Some(entry) = app.gateway.one_entry(&inquiry, index, recorded, reveal).await? else { return Ok(None) };
        let disclosure = match app.gateway.disclosure_of(&entry, &organisation).await {
            // The entry is what it is.
            Err(StoreError::Corrupt(_)) => unknown(DAMAGED),
            Err(StoreError::Erased) => unknown(ERASED),
            disclosure => disclosure?.as_deref().map(told).unwrap_or_default(),
        };
        Ok::<_, StoreError>(Some((shell(&app, &who).await?.0, entry, disclosure)))
    };
    match looked.await {
        Ok(Some((shell, entry, disclosure))) => {
            let mut shown = EntryPage::new(shell, &entry, reveal, sent(&body, "place"), &organisation);
            shown.facts.extend(disclosure);
            page(&headers, StatusCode::OK, &shown)
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

fn unknown(why: &str) -> Vec<Fact> {
    vec![Fact { key: "The copy", lines: vec![why.to_owned()] }]
}

/// What a copy carries and what was withheld from it, by rules, each with the number of elements.
fn told(disclosure: &str) -> Vec<Fact> {
    let Ok(disclosure) = serde_json::from_str::<Value>(disclosure) else { return unknown(DAMAGED) };
    let rows = |kind: &str| disclosure[kind].as_array().cloned().unwrap_or_default();
    let (disclosed, withheld) = (together(&rows("disclosed")), by_rule(&rows("withheld")));
    if disclosed.is_empty() && withheld.is_empty() {
        return Vec::new();
    }
    let fact = |key, rules: Vec<(String, usize)>| {
        let lines: Vec<_> = rules.into_iter().map(|(rule, count)| format!("{rule} ({count})")).collect();
        Fact { key, lines: if lines.is_empty() { vec!["Nothing".to_owned()] } else { lines } }
    };
    vec![fact("The copy carries", disclosed), fact("Withheld from it", withheld)]
}

impl EntryPage {
    /// Nothing of the entry, and the reason asked for again.
    fn asking(shell: Shell, number: u64, reveal: bool, error: &str, place: String, organisation: &OdsCode) -> Self {
        let label = if reveal { WHOM } else { "Why do you look?" };
        Self {
            shell,
            tabs: Tab::Events.links(),
            errors: vec![FormError { field: "reason".to_owned(), text: error.to_owned() }],
            number,
            facts: Vec::new(),
            person: String::new(),
            hidden: true,
            reveal,
            place,
            organisation: organisation.to_string(),
            reason: Field { error: error.to_owned(), ..Field::new("reason", label) },
        }
    }

    fn new(shell: Shell, entry: &FoundAudit, reveal: bool, place: String, organisation: &OdsCode) -> Self {
        let mut facts = vec![
            Fact { key: "When", lines: vec![dates::moment(entry.recorded)] },
            Fact { key: "What happened", lines: vec![word(entry.word).to_owned()] },
        ];
        if let Some(told) = entry.event.as_deref().and_then(Told::read) {
            let party = |party: &crate::cli::audit::event::Party| {
                let strength = party.strength.map(|strength| signed_in_by(strength).to_owned());
                let address = party.address.as_ref().map(|address| format!("from {address}"));
                let parts = [Some(party.shown()), party.role.clone(), party.organisation.clone(), strength, address];
                parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
            };
            facts.push(Fact { key: "Who", lines: vec![party(&told.actor)] });
            facts.push(Fact { key: "The other side", lines: vec![party(&told.other)] });
            let outcome = if told.success { "It was done" } else { "It failed or was denied" };
            facts.push(Fact { key: "Outcome", lines: vec![outcome.to_owned(), told.detail.clone()] });
            let rest = [("Touched", told.subject), ("Ground", told.basis), ("Event", Some(told.id))];
            facts.extend(rest.into_iter().filter_map(|(key, line)| Some(Fact { key, lines: vec![line?] })));
        }
        facts.push(Fact { key: "Place in the log", lines: vec![format!("Entry {}", entry.index)] });
        let number = entry.patient.as_ref().map(|number| format!("NHS number {}", grouped(number.expose())));
        Self {
            shell,
            tabs: Tab::Events.links(),
            errors: Vec::new(),
            number: entry.index,
            facts,
            hidden: number.is_some() && !reveal,
            reveal: true,
            person: number.filter(|_| reveal).unwrap_or_default(),
            place,
            organisation: organisation.to_string(),
            reason: Field::new("reason", WHOM),
        }
    }
}
