//! Files that leave: asked for by one lead, granted by another of the same organisation, fetched for a day by somebody who has
//! just signed in.

pub(super) mod file;

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::civil::Date;
use onward_core::store::{Approval, ApprovalKind, StoreError};
use onward_core::{ApprovalId, Timestamp};
use onward_gateway::explore::Inquiry;
use onward_gateway::exporting::{AskedExport, Export, ExportForm, Word};
use onward_transform::render::dates;

use super::super::components::{Choice, Field, FormError};
use super::super::trouble::unseen;
use super::super::{OnlyGet, Shell, attendant, not_yours, page, see_other, sent, shell, store_failed, trouble};
use super::preview::was_shown;
use super::{Form, NOTHING, Tab, TabLink, found_broken};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "audit/exports.html")]
struct ExportsPage {
    shell: Shell,
    tabs: Vec<TabLink>,
    done: &'static str,
    warning: String,
    errors: Vec<FormError>,
    form: Form,
    kind: Field,
    kinds: Vec<Choice>,
    born: Field,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    what: &'static str,
    by: String,
    reason: String,
    expires: String,
    /// `ask`, `own`, `granted` or `refused`.
    state: &'static str,
    verdict: String,
}

/// `GET /audit/exports`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let done = match query.as_deref() {
        Some("done=asked") => "Your request is kept. Another lead of your organisation decides.",
        Some("done=granted") => "It is granted. It can be fetched until it expires.",
        Some("done=refused") => "It is refused.",
        _ => "",
    };
    let form = Form::new(&who, b"", app.gateway.clock().now());
    show(&app, &who, &headers, form, (kind_field(""), born_field("")), done).await
}

fn born_field(value: &str) -> Field {
    let hint =
        "For subject access, from the person's own papers: it must be the one that is held. Leave it empty for entries";
    Field { value: value.to_owned(), hint: hint.to_owned(), ..Field::new("born", "Date of birth") }
}

fn kind_field(value: &str) -> Field {
    Field { value: if value.is_empty() { "csv" } else { value }.to_owned(), ..Field::new("form", "What is to leave") }
}

/// `POST /audit/exports`: asks for one.
pub(super) async fn ask(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let mut form = Form::new(&who, &body, app.gateway.clock().now());
    let mut kind = kind_field(&sent(&body, "form"));
    let chosen = match kind.value.as_str() {
        "ndjson" => Some(ExportForm::Ndjson),
        "csv" => Some(ExportForm::Csv),
        "sar" => Some(ExportForm::Sar),
        _ => None,
    };
    if chosen.is_none() {
        "Choose what is to leave".clone_into(&mut kind.error);
    }
    let is_sar = chosen == Some(ExportForm::Sar);
    let mut born = born_field(&sent(&body, "born"));
    let day = born.value.trim().parse::<Date>().ok();
    if is_sar && day.is_none() {
        "Write the date of birth, such as 1944-03-08".clone_into(&mut born.error);
    }
    let asked = form.read(&who, &body, is_sar).filter(|_| born.error.is_empty());
    let (Some(form_of), Some(asked)) = (chosen, asked) else {
        return show(&app, &who, &headers, form, (kind, born), "").await;
    };
    let export = Export {
        form: form_of,
        // A person gets everything, whenever it was.
        from: (!is_sar).then_some(asked.from),
        until: (!is_sar).then_some(asked.until),
        about: None,
        identified: None,
    };
    let person = attendant(&who);
    let inquiry = asked.inquiry(&person, "audit/exports");
    let wrong = match app.gateway.ask_export(&inquiry, export, asked.patient.as_ref(), day).await {
        Ok(AskedExport::Kept) => return see_other("/audit/exports?done=asked"),
        Ok(AskedExport::Nothing) => (&mut form.patient, NOTHING),
        Ok(AskedExport::AnotherPerson) => (&mut born, ANOTHER_BIRTH),
        Err(error) => return store_failed(&error),
    };
    wrong.1.clone_into(&mut wrong.0.error);
    show(&app, &who, &headers, form, (kind, born), "").await
}

/// `POST /audit/exports/{id}`: the second person's word. It is granted by nobody who was not shown what would leave.
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let granted = match sent(&body, "verdict").as_str() {
        "grant" => true,
        "refuse" => false,
        _ => return trouble(StatusCode::BAD_REQUEST),
    };
    let asked = match app.gateway.store().approval(id).await {
        Ok(asked) => {
            asked.filter(|asked| asked.kind == ApprovalKind::Export && who.organisations.contains(&asked.organisation))
        }
        Err(error) => return store_failed(&error),
    };
    let Some(asked) = asked else { return trouble(StatusCode::CONFLICT) };
    let (me, request) = (who.user.to_string(), format!("/audit/exports/{id}"));
    let decidable = asked.verdict.is_none() && asked.asked_by != me && asked.expires > app.gateway.clock().now();
    let shown = was_shown(&app, id, who.user, &sent(&body, "shown"));
    let word = match &shown {
        _ if !decidable => None,
        _ if !granted => Some(Word::Refused),
        Some(shown) => Some(Word::Granted { shown }),
        None => return unseen(request),
    };
    let person = attendant(&who);
    for organisation in &who.organisations {
        let Some(word) = word else { break };
        let inquiry =
            Inquiry { who: &person, organisation, reason: "second person", asked: "audit/exports".to_owned() };
        match app.gateway.decide_export(&inquiry, id, word).await {
            Ok(true) => {
                return see_other(match granted {
                    true => "/audit/exports?done=granted",
                    false => "/audit/exports?done=refused",
                });
            }
            Ok(false) => {}
            Err(error) => return store_failed(&error),
        }
    }
    // Somebody may have been faster since.
    match app.gateway.store().approval(id).await {
        Ok(found) => {
            let (asked, now) = (found.as_ref().unwrap_or(&asked), app.gateway.clock().now());
            // One that has expired has no page.
            let onward = (asked.expires > now).then_some((request, "Open the request"));
            not_yours(asked, &me, now, onward)
        }
        Err(error) => store_failed(&error),
    }
}

const ANOTHER_BIRTH: &str =
    "This is not the date of birth that is held about the person of this number. Nothing was asked for";

async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    form: Form,
    (kind, born): (Field, Field),
    done: &'static str,
) -> Response {
    let now = app.gateway.clock().now();
    let looked = async {
        let mut open: Vec<Approval> = Vec::new();
        for organisation in &who.organisations {
            open.extend(app.gateway.exports(organisation).await?);
        }
        let warning = found_broken(app, who, now).await?.map(|found| format!("{found} Say so to whoever gets a file."));
        Ok::<_, StoreError>((shell(app, who).await?.0, open, warning.unwrap_or_default()))
    };
    let mut errors = form.errors();
    if !kind.error.is_empty() {
        errors.insert(0, FormError { field: kind.id.clone(), text: kind.error.clone() });
    }
    if !born.error.is_empty() {
        errors.push(FormError { field: born.id.clone(), text: born.error.clone() });
    }
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    match looked.await {
        Ok((shell, open, warning)) => {
            let me = who.user.to_string();
            let kinds = vec![
                Choice::new("csv", "Audit entries as a table (CSV)"),
                Choice::new("ndjson", "Audit entries as FHIR (NDJSON)"),
                Choice::new("sar", "Everything about one person, for that person (subject access)"),
            ];
            let rows = open.iter().filter_map(|approval| Row::new(approval, &me, now)).collect();
            let tabs = Tab::Exports.links();
            page(headers, status, &ExportsPage { shell, tabs, done, warning, errors, form, kind, kinds, born, rows })
        }
        Err(error) => store_failed(&error),
    }
}

/// What an export holds, in words.
pub(super) fn in_words(export: &Export) -> &'static str {
    match (export.form, export.about.is_some()) {
        (ExportForm::Sar, _) => "Everything about one person",
        (ExportForm::Csv, true) => "Entries about one person (CSV)",
        (ExportForm::Csv, false) => "Entries (CSV)",
        (ExportForm::Ndjson, true) => "Entries about one person (NDJSON)",
        (ExportForm::Ndjson, false) => "Entries (NDJSON)",
    }
}

impl Row {
    fn new(approval: &Approval, me: &str, now: Timestamp) -> Option<Self> {
        let export = Export::of(approval)?;
        let what = in_words(&export);
        let (state, verdict) = match &approval.verdict {
            None if approval.asked_by == me => ("own", String::new()),
            None => ("ask", String::new()),
            Some(verdict) => (
                if verdict.granted { "granted" } else { "refused" },
                format!("{}, {}", verdict.name, dates::near_moment(verdict.at, now)),
            ),
        };
        Some(Self {
            id: approval.id.to_string(),
            what,
            by: approval.asked_name.clone(),
            reason: approval.reason.clone(),
            expires: dates::near_moment(approval.expires, now),
            state,
            verdict,
        })
    }
}
