//! Events, disclosures, and who saw one person.

use std::collections::HashSet;
use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::Timestamp;
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::store::StoreError;
use onward_gateway::explore::{Sightings, everything};
use onward_gateway::sightings::Sighting;
use onward_transform::render::dates;

use super::super::components::{Choice, FormError};
use super::super::{OnlyGet, Shell, attendant, page, sent, shell, store_failed};
use super::charts::{self, Chart, Disclosed};
use super::words::{DISCLOSURES, GROUPS, signed_in_by, word};
use super::{Asked, Form, Tab, TabLink, found_broken};
use crate::app::App;
use crate::cli::audit::event::Told;
use crate::people::SignedIn;

/// Rows on one page.
const ROWS: u32 = 100;

/// The page.
#[derive(Template)]
#[template(path = "audit/search.html")]
struct SearchPage {
    shell: Shell,
    tabs: Vec<TabLink>,
    tab: &'static str,
    title: &'static str,
    /// What the last check of the log found, where it was not whole.
    broken: String,
    lines: &'static [&'static str],
    errors: Vec<FormError>,
    form: Form,
    groups: Vec<Choice>,
    asks_patient: bool,
    asks_more: bool,
    results: Option<Results>,
}

struct Results {
    heading: String,
    rows: Vec<Row>,
    nothing: String,
    more: String,
    charts: Vec<Chart>,
    masked: bool,
}

struct Row {
    at: String,
    actor: String,
    role: String,
    got: String,
    what: &'static str,
    failed: bool,
    about: String,
    detail: String,
    place: String,
    entry: u64,
}

/// `GET /audit`: an empty form; nothing of the log is shown.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let tab = query.as_deref().and_then(|query| query.strip_prefix("tab=")).unwrap_or_default();
    let form = Form::new(&who, b"", app.gateway.clock().now());
    show(&app, &who, &headers, Tab::of(tab), form, None).await
}

/// `POST /audit/search`.
pub(super) async fn post(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let tab = Tab::of(&sent(&body, "tab"));
    let now = app.gateway.clock().now();
    let mut form = Form::new(&who, &body, now);
    let Some(asked) = form.read(&who, &body, tab == Tab::Who) else {
        return show(&app, &who, &headers, tab, form, None).await;
    };
    let after = cursor(&sent(&body, "after"));
    match results(&app, &who, tab, &asked, after, now).await {
        Ok(results) => show(&app, &who, &headers, tab, form, Some(results)).await,
        Err(error) => store_failed(&error),
    }
}

async fn results(
    app: &App,
    who: &SignedIn,
    tab: Tab,
    asked: &Asked,
    after: Option<(Timestamp, u64)>,
    now: Timestamp,
) -> Result<Results, StoreError> {
    let person = attendant(who);
    let gateway = &app.gateway;
    let query = AuditQuery {
        from: Some(asked.from),
        until: Some(asked.until),
        agent: asked.agent.clone(),
        entity: asked.entity.clone(),
        words: words_of(tab, &asked.event),
        after,
        limit: ROWS,
        ..everything(None)
    };
    match (tab, &asked.patient) {
        (Tab::Who, Some(patient)) => {
            let inquiry = asked.inquiry(&person, "audit/who");
            let seen = gateway.who_saw(&inquiry, patient, Some(asked.from), Some(asked.until)).await?;
            Ok(Results::sightings(&seen, now))
        }
        (Tab::Disclosures, _) => {
            let inquiry = asked.inquiry(&person, "audit/disclosures");
            let (found, cut) = gateway.explore_all(&inquiry, query).await?;
            Ok(Results::disclosures(&told_once(found), cut, now))
        }
        _ => {
            let (found, more) = gateway.explore(&asked.inquiry(&person, "audit/events"), query, asked.export).await?;
            Ok(Results::events(&found, more, asked, now))
        }
    }
}

fn words_of(tab: Tab, event: &str) -> Vec<AuditWord> {
    match tab {
        Tab::Disclosures => DISCLOSURES.to_vec(),
        _ => GROUPS.iter().find(|group| group.0 == event).map(|group| group.2.to_vec()).unwrap_or_default(),
    }
}

/// The place after which the next page begins, as `MICROSECONDS.ENTRY`.
fn cursor(text: &str) -> Option<(Timestamp, u64)> {
    let (at, index) = text.split_once('.')?;
    Some((Timestamp::from_microsecond(at.parse().ok()?).ok()?, index.parse().ok()?))
}

pub(super) fn place(entry: &FoundAudit) -> String {
    format!("{}.{}", entry.recorded.as_microsecond(), entry.index)
}

/// What [`place`] wrote.
pub(super) fn placed(text: &str) -> Option<(Timestamp, u64)> {
    cursor(text)
}

async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    tab: Tab,
    form: Form,
    results: Option<Results>,
) -> Response {
    let looked = async {
        let broken = found_broken(app, who, app.gateway.clock().now()).await?;
        Ok::<_, StoreError>((shell(app, who).await?.0, broken))
    };
    let (shell, broken) = match looked.await {
        Ok(looked) => looked,
        Err(error) => return store_failed(&error),
    };
    let (title, lines): (_, &'static [&'static str]) = match tab {
        Tab::Disclosures => (
            "Disclosures",
            &[
                "Whatever somebody got to know about a person, or may have: copies sent or tried, copies opened, exports, identities shown.",
            ],
        ),
        Tab::Who => (
            "Who saw what",
            &["Everybody who saw one person: who was sent a copy or opened one, who looked at its state, on \
                 whose lists the person stood, and which exports of the log had an entry about them."],
        ),
        _ => ("Events", &["Everything that the log holds about what your organisation did, sent or received."]),
    };
    let errors = form.errors();
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let template = SearchPage {
        shell,
        tabs: tab.links(),
        tab: tab.name(),
        title,
        broken: broken.unwrap_or_default(),
        lines,
        errors,
        form,
        groups: GROUPS.iter().map(|(value, text, _)| Choice::new(*value, *text)).collect(),
        asks_patient: tab == Tab::Who,
        asks_more: tab == Tab::Events,
        results,
    };
    page(headers, status, &template)
}

impl Results {
    fn events(found: &[FoundAudit], more: bool, asked: &Asked, now: Timestamp) -> Self {
        let filters = [asked.agent.is_some(), asked.entity.is_some(), asked.export.is_some(), !asked.event.is_empty()];
        let on = 1 + filters.into_iter().filter(|on| *on).count();
        let filters = if on == 1 { "1 filter is on".to_owned() } else { format!("{on} filters are on") };
        Self {
            heading: counted(found.len(), more),
            rows: found.iter().map(|entry| Row::new(entry, None, now)).collect(),
            nothing: format!("No events match; {filters}."),
            more: found.last().filter(|_| more).map(place).unwrap_or_default(),
            charts: Vec::new(),
            masked: true,
        }
    }

    fn disclosures(found: &[FoundAudit], cut: bool, now: Timestamp) -> Self {
        let disclosed: Vec<Disclosed> = found
            .iter()
            .map(|entry| Disclosed {
                at: entry.recorded,
                to: entry.event.as_deref().and_then(Told::read).map_or_else(
                    || "unreadable".to_owned(),
                    |told| {
                        let got = told.got(entry.word);
                        got.organisation.clone().unwrap_or_else(|| got.shown())
                    },
                ),
            })
            .collect();
        let shown = found.iter().take(ROWS as usize);
        Self {
            heading: counted_of(found.len(), cut),
            rows: shown.map(|entry| Row::new(entry, None, now)).collect(),
            nothing: "Nothing was disclosed in this time.".to_owned(),
            more: String::new(),
            charts: if found.is_empty() { Vec::new() } else { charts::charts(&disclosed) },
            masked: true,
        }
    }

    fn sightings(seen: &Sightings, now: Timestamp) -> Self {
        Self {
            heading: counted(seen.entries.len(), false),
            rows: seen
                .entries
                .iter()
                .map(|entry| Row::new(entry, seen.among_others.get(&entry.index).copied(), now))
                .collect(),
            nothing: "Nobody: the log of your organisation has no entry about this person in this time.".to_owned(),
            more: String::new(),
            charts: Vec::new(),
            masked: false,
        }
    }
}

/// That a copy was about to be sent is a disclosure by itself only where nothing tells how the attempt ended: the process died, and
/// what had left by then nobody knows. An end stands behind its beginning in the log, whatever a clock said.
fn told_once(mut found: Vec<FoundAudit>) -> Vec<FoundAudit> {
    let mut by_place: Vec<&FoundAudit> = found.iter().collect();
    by_place.sort_by_key(|entry| std::cmp::Reverse(entry.index));
    let (mut ended, mut told) = (HashSet::new(), HashSet::new());
    for entry in by_place {
        match (entry.word, entry.delivery) {
            (AuditWord::Disclose | AuditWord::AttemptFailed | AuditWord::DeliveryFailed, Some(delivery)) => {
                ended.insert(delivery);
            }
            (AuditWord::Intend, Some(delivery)) if ended.remove(&delivery) => {
                told.insert(entry.index);
            }
            _ => {}
        }
    }
    found.retain(|entry| !told.contains(&entry.index));
    found
}

/// How many there are where no more than [`ROWS`] of them are shown: the charts count all of them.
fn counted_of(count: usize, cut: bool) -> String {
    match (count > ROWS as usize, cut) {
        (true, true) => format!("The newest {ROWS} of more than {count} entries"),
        (true, false) => format!("The newest {ROWS} of {count} entries"),
        (false, cut) => counted(count, cut),
    }
}

fn counted(count: usize, more: bool) -> String {
    match (count, more) {
        (count, true) => format!("The newest {count} entries"),
        (1, false) => "1 entry".to_owned(),
        (count, false) => format!("{count} entries"),
    }
}

impl Row {
    fn new(entry: &FoundAudit, sighting: Option<Sighting>, now: Timestamp) -> Self {
        let told = entry.event.as_deref().and_then(Told::read);
        let failed = told.as_ref().is_none_or(|told| !told.success);
        let detail =
            told.as_ref().map(|told| told.detail.clone()).unwrap_or_else(|| "This entry cannot be read".into());
        let (actor, role) = told.as_ref().map_or_else(Default::default, |told| {
            let parts = [told.actor.role.as_deref(), told.actor.organisation.as_deref()];
            let role = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let strength = told.actor.strength.map(|strength| signed_in_by(strength).to_owned());
            let parts = [role].into_iter().filter(|role| !role.is_empty()).chain(strength);
            (told.actor.shown(), parts.collect::<Vec<_>>().join(", "))
        });
        let got = told.map(|told| told.got(entry.word).shown()).filter(|got| *got != actor);
        Self {
            at: dates::near_moment(entry.recorded, now),
            actor,
            role,
            got: got.unwrap_or_default(),
            what: match sighting {
                None => word(entry.word),
                Some(Sighting::List) => "Stood on a list",
                Some(Sighting::Export) => "In an export of the log",
            },
            failed,
            about: if entry.patient.is_some() { "A person, hidden".to_owned() } else { "Nobody".to_owned() },
            detail: detail.split_once(": ").map_or(detail.clone(), |(_, detail)| detail.to_owned()),
            place: place(entry),
            entry: entry.index,
        }
    }
}

#[cfg(test)]
mod tests {
    use onward_core::DeliveryId;

    use super::*;

    #[test]
    fn an_attempt_whose_end_nobody_knows_is_a_disclosure_and_others_are_told_once() {
        let (copy, other) = (DeliveryId::random(), DeliveryId::random());
        let entry = |index, word, delivery| FoundAudit {
            index,
            recorded: Timestamp::UNIX_EPOCH,
            word,
            agent: None,
            organisation: None,
            delivery,
            patient: None,
            pseudonym: None,
            event: None,
        };
        // The clock went back between 6 and 8.
        let found = vec![
            entry(6, AuditWord::Intend, Some(copy)),
            entry(9, AuditWord::Intend, Some(other)),
            entry(8, AuditWord::Disclose, Some(copy)),
            entry(7, AuditWord::Reveal, None),
            entry(5, AuditWord::Intend, Some(copy)),
            entry(4, AuditWord::AttemptFailed, Some(copy)),
            entry(3, AuditWord::Intend, Some(copy)),
        ];
        let left: Vec<u64> = told_once(found).iter().map(|entry| entry.index).collect();
        assert_eq!(left, [9, 8, 7, 5, 4]);
    }

    #[test]
    fn a_heading_says_when_rows_are_left_out() {
        assert_eq!(counted_of(100, false), "100 entries");
        assert_eq!(counted_of(245, false), "The newest 100 of 245 entries");
        assert_eq!(counted_of(50_000, true), "The newest 100 of more than 50000 entries");
    }
}
