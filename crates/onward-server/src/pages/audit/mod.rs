//! `/audit`: what an information-governance lead finds in the log of their own organisation. Whom an entry is about is hidden until
//! it is revealed for a reason; numbers are sent by form and never stand in an address; every look is itself an entry.

mod archives;
mod charts;
mod entry;
mod exports;
mod integrity;
mod preview;
mod release;
mod rights;
mod search;
mod words;

pub(crate) use self::archives::Archives;
pub(crate) use self::preview::Previews;

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use jiff::civil::Date;
use onward_core::store::StoreError;
use onward_core::{NhsNumber, OdsCode, Timestamp, TransferId};
use onward_gateway::attend::Attendant;
use onward_gateway::explore::Inquiry;
use onward_transform::render::dates;
use uuid::Uuid;

use super::components::{Choice, Field, FormError};
use super::{operations, sent};
use crate::api::{Access, Route};
use crate::app::App;
use crate::auth::table::Action;
use crate::people::SignedIn;
use crate::reasons::names_a_number;

pub(super) fn table() -> Vec<(Route, MethodRouter<Arc<App>>)> {
    let route = |method, path, action, handler| (Route { method, path, access: Access::Page(action) }, handler);
    let fresh = |method, path, action, handler| (Route { method, path, access: Access::Fresh(action) }, handler);
    use Action::{Erase, ExportEvidence, SearchAudit};
    vec![
        route("GET", "/audit", SearchAudit, get(search::get)),
        route("POST", "/audit/search", SearchAudit, post(search::post)),
        route("POST", "/audit/entry", SearchAudit, post(entry::post)),
        route("GET", "/audit/integrity", SearchAudit, get(integrity::get)),
        route("POST", "/audit/integrity", SearchAudit, post(integrity::post)),
        route("GET", "/audit/exports", ExportEvidence, get(exports::get)),
        fresh("POST", "/audit/exports", ExportEvidence, post(exports::ask)),
        route("GET", "/audit/exports/{id}", ExportEvidence, get(release::get)),
        fresh("POST", "/audit/exports/{id}", ExportEvidence, post(exports::decide)),
        route("POST", "/audit/exports/{id}/reveal", ExportEvidence, post(release::reveal)),
        fresh("GET", "/audit/exports/{id}/file", ExportEvidence, get(exports::file::get)),
        fresh("GET", "/audit/rights", Erase, get(rights::get)),
        fresh("POST", "/audit/rights/holds", Erase, post(rights::keep)),
        fresh("POST", "/audit/rights/holds/{id}", Erase, post(rights::lift)),
        fresh("POST", "/audit/rights/erasures", Erase, post(rights::ask)),
        fresh("POST", "/audit/rights/erasures/{id}", Erase, post(rights::confirm)),
        fresh("POST", "/audit/rights/erasures/{id}/refuse", Erase, post(rights::refuse)),
    ]
}

/// That the last check of the log by one of the person's organisations found it not whole, in a sentence. What is read from it, and what
/// leaves of it, is to be read so.
async fn found_broken(app: &App, who: &SignedIn, now: Timestamp) -> Result<Option<String>, StoreError> {
    for organisation in &who.organisations {
        if let Some((words, false, at)) = app.gateway.last_verification(organisation).await? {
            return Ok(Some(format!("The log was found {words}, {}.", dates::near_moment(at, now))));
        }
    }
    Ok(None)
}

/// The parts of the explorer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Events,
    Disclosures,
    Who,
    Integrity,
    Exports,
    Rights,
}

/// A link of the explorer's own menu.
struct TabLink {
    href: &'static str,
    text: &'static str,
    here: bool,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str, &'static str); 6] = [
        (Self::Events, "events", "/audit", "Events"),
        (Self::Disclosures, "disclosures", "/audit?tab=disclosures", "Disclosures"),
        (Self::Who, "who", "/audit?tab=who", "Who saw what"),
        (Self::Integrity, "integrity", "/audit/integrity", "Integrity"),
        (Self::Exports, "exports", "/audit/exports", "Exports"),
        (Self::Rights, "rights", "/audit/rights", "Erasure and legal holds"),
    ];

    /// A kind of search; events where it is none.
    fn of(text: &str) -> Self {
        let known = [Self::Disclosures, Self::Who].into_iter().find(|tab| tab.name() == text);
        known.unwrap_or(Self::Events)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|tab| tab.0 == self).map_or("events", |tab| tab.1)
    }

    fn links(self) -> Vec<TabLink> {
        let link = |(tab, _, href, text)| TabLink { href, text, here: tab == self };
        Self::ALL.into_iter().map(link).collect()
    }
}

const REASON_HINT: &str = "It is kept with your name. Leave out whom it is about";
const WHOM: &str = "Why must you know whom it is about?";
const NOTHING: &str = "Your organisation holds nothing about this person";
const WHOLE_IDENTIFIER: &str = "Write the whole identifier of the export, 36 characters";
const AGENT_HINT: &str = "A name as the log writes it, or an ODS code. Not a resident: it is kept with your search";

/// A form with what was sent in it, and what is wrong with it.
#[derive(Default)]
struct Form {
    organisations: Vec<Choice>,
    organisation: Field,
    from: Field,
    until: Field,
    patient: Field,
    agent: Field,
    entity: Field,
    export: Field,
    event: Field,
    reason: Field,
}

/// What was asked for, when the form is right.
struct Asked {
    organisation: OdsCode,
    from: Timestamp,
    until: Timestamp,
    patient: Option<NhsNumber>,
    agent: Option<String>,
    entity: Option<String>,
    export: Option<Uuid>,
    event: String,
    reason: String,
}

impl Form {
    fn new(who: &SignedIn, body: &[u8], today: Timestamp) -> Self {
        let field = |name: &str, label: &str, hint: &str| Field {
            hint: hint.to_owned(),
            value: sent(body, name),
            ..Field::new(name, label)
        };
        let mut form = Self {
            organisations: Vec::new(),
            organisation: field("organisation", "For which organisation", ""),
            from: field("from", "From", ""),
            until: field("until", "Until", "That day included"),
            patient: field("patient", "NHS number", "10 digits. It is sent by form and stands in no address"),
            agent: field("agent", "Who acted (staff, system or organisation)", AGENT_HINT),
            entity: field("entity", "Transfer or delivery", "Its whole identifier"),
            export: field(
                "export",
                "Export of the log",
                "Its whole identifier, which the entries of its beginning and its end name",
            ),
            event: field("event", "What happened", ""),
            reason: field("reason", "Why do you look?", REASON_HINT),
        };
        form.organisations =
            who.organisations.iter().map(|ods| Choice::new(ods.to_string(), ods.to_string())).collect();
        if form.organisation.value.is_empty() {
            form.organisation.value = who.organisations.first().map(ToString::to_string).unwrap_or_default();
        }
        if body.is_empty() {
            let week = today.checked_sub(jiff::SignedDuration::from_hours(24 * 7)).unwrap_or(today);
            form.from.value = dates::civil(week).to_string();
            form.until.value = dates::civil(today).to_string();
        }
        form
    }

    /// Reads it; what is wrong is written beside the fields.
    fn read(&mut self, who: &SignedIn, body: &[u8], needs_patient: bool) -> Option<Asked> {
        let organisation = own_organisation(&mut self.organisation, who);
        let from = day(&mut self.from).map(|day| day.0);
        let until = day(&mut self.until).map(|day| day.1);
        if let (Some(from), Some(until)) = (from, until)
            && (from >= until || until.duration_since(from) > jiff::SignedDuration::from_hours(24 * 367))
        {
            "Choose a day after the first one, a year later at most".clone_into(&mut self.until.error);
        }
        let asks = needs_patient || !self.patient.value.trim().is_empty();
        let patient = asks.then(|| nhs_number(&mut self.patient)).flatten();
        // An identifier may hold the digits of a number by chance.
        let is_identifier = self.entity.value.parse::<TransferId>().is_ok();
        for (field, may_hold) in [(&mut self.agent, false), (&mut self.entity, is_identifier)] {
            if !may_hold && names_a_number(&field.value) {
                "Leave the NHS number out: what is searched for is kept for good".clone_into(&mut field.error);
            }
        }
        let export = match self.export.value.trim() {
            "" => None,
            id => id.parse().map_err(|_| WHOLE_IDENTIFIER.clone_into(&mut self.export.error)).ok(),
        };
        let reason = operations::reason(body).map_err(|error| error.clone_into(&mut self.reason.error)).ok();
        let wrong = self.errors();
        let filled = |field: &Field| Some(field.value.clone()).filter(|value| !value.is_empty());
        wrong.is_empty().then_some(())?;
        Some(Asked {
            organisation: organisation?,
            from: from?,
            until: until?,
            patient,
            agent: filled(&self.agent),
            entity: filled(&self.entity),
            export,
            event: self.event.value.clone(),
            reason: reason?,
        })
    }

    fn errors(&self) -> Vec<FormError> {
        let fields = [
            &self.organisation,
            &self.from,
            &self.until,
            &self.patient,
            &self.agent,
            &self.entity,
            &self.export,
            &self.event,
            &self.reason,
        ];
        let wrong = fields.into_iter().filter(|field| !field.error.is_empty());
        wrong.map(|field| FormError { field: field.id.clone(), text: field.error.clone() }).collect()
    }

    fn several(&self) -> bool {
        self.organisations.len() > 1
    }
}

/// One of the person's organisations.
fn own_organisation(field: &mut Field, who: &SignedIn) -> Option<OdsCode> {
    let organisation = field.value.parse::<OdsCode>().ok().filter(|ods| who.acts_for(ods));
    if organisation.is_none() {
        "Choose one of your organisations".clone_into(&mut field.error);
    }
    organisation
}

/// However it is spaced.
fn nhs_number(field: &mut Field) -> Option<NhsNumber> {
    let number = field.value.chars().filter(|c| !c.is_whitespace()).collect::<String>().parse().ok();
    if number.is_none() {
        "Write an NHS number: 10 digits, the last of which fits".clone_into(&mut field.error);
    }
    number
}

fn day(field: &mut Field) -> Option<(Timestamp, Timestamp)> {
    let bounds = field.value.parse::<Date>().ok().and_then(dates::bounds);
    if bounds.is_none() {
        "Write a day, such as 2026-11-26".clone_into(&mut field.error);
    }
    bounds
}

impl Asked {
    /// As it is kept with the look: no number of a patient.
    fn told(&self, what: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", &self.from.to_string()).append_pair("until", &self.until.to_string());
        for (name, value) in [("agent", &self.agent), ("entity", &self.entity)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if let Some(export) = self.export {
            query.append_pair("export", &export.to_string());
        }
        if !self.event.is_empty() {
            query.append_pair("event", &self.event);
        }
        format!("{what}?{}", query.finish())
    }

    fn inquiry<'i>(&'i self, who: &'i Attendant, what: &str) -> Inquiry<'i> {
        Inquiry { who, organisation: &self.organisation, reason: &self.reason, asked: self.told(what) }
    }
}
