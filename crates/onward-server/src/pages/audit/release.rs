//! One export that waits for a second lead: what exactly would leave, who asked for it, and why; for a reason, about whom.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::store::{Approval, StoreError};
use onward_core::{ApprovalId, NhsNumber, OdsCode, Timestamp, UserId};
use onward_gateway::explore::Inquiry;
use onward_gateway::exporting::{Export, ExportForm};
use onward_transform::render::dates;

use super::super::components::{Fact, Field, FormError};
use super::super::operations::{grouped, reason};
use super::super::{OnlyGet, Shell, attendant, decided, page, sent, shell, store_failed, trouble};
use super::exports::in_words;
use super::preview::{self, Preview};
use super::{REASON_HINT, Tab, TabLink, WHOM};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "audit/release.html")]
struct ReleasePage {
    shell: Shell,
    tabs: Vec<TabLink>,
    errors: Vec<FormError>,
    person: String,
    facts: Vec<Fact>,
    /// Told while it is open.
    preview: Preview,
    /// Says that it was shown; empty where it was not, or nothing is to be decided.
    seal: String,
    path: String,
    /// It is about one person, who is not shown yet.
    hidden: bool,
    reason: Field,
    /// Whether the decision is this person's to make.
    decide: bool,
    standing: String,
}

/// `GET /audit/exports/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    show(&app, &who, &headers, &id, reason_field(), None).await
}

/// `POST /audit/exports/{id}/reveal`: about whom it is. That is a disclosure.
pub(super) async fn reveal(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => {
            let field = Field { error: error.to_owned(), value: sent(&body, "reason"), ..reason_field() };
            return show(&app, &who, &headers, &id, field, None).await;
        }
    };
    let Ok(asked) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let person = attendant(&who);
    for organisation in &who.organisations {
        let inquiry = Inquiry { who: &person, organisation, reason: &why, asked: format!("audit/exports/{asked}") };
        match app.gateway.reveal_export(&inquiry, asked).await {
            Ok(Some(patient)) => return show(&app, &who, &headers, &id, reason_field(), Some(patient)).await,
            Ok(None) => {}
            Err(error) => return store_failed(&error),
        }
    }
    trouble(StatusCode::NOT_FOUND)
}

fn reason_field() -> Field {
    Field { hint: REASON_HINT.to_owned(), ..Field::new("reason", WHOM) }
}

async fn show(
    app: &Arc<App>,
    who: &SignedIn,
    headers: &HeaderMap,
    id: &str,
    reason: Field,
    patient: Option<NhsNumber>,
) -> Response {
    let Ok(id) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let person = attendant(who);
    let now = app.gateway.clock().now();
    let looked = async {
        for organisation in &who.organisations {
            let asked = format!("audit/exports/{id}");
            let inquiry = Inquiry { who: &person, organisation, reason: "what a request asks for", asked };
            if let Some((approval, export)) = app.gateway.look_at_export(&inquiry, id).await? {
                let preview = match approval.verdict {
                    // Whoever cannot be told what would leave can still refuse it.
                    None => shown(app, organisation, &approval, &export, who.user, now).await.unwrap_or_else(|error| {
                        tracing::error!(%error, "what an export would hold could not be made");
                        (Preview::failed(), String::new())
                    }),
                    Some(_) => (Preview::default(), String::new()),
                };
                return Ok::<_, StoreError>(Some((shell(app, who).await?.0, approval, export, preview)));
            }
        }
        Ok(None)
    };
    let status = if reason.error.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    match looked.await {
        Ok(Some((shell, approval, export, (preview, seal)))) => {
            let me = who.user.to_string();
            let standing = ReleasePage::new(shell, &approval, &export, &me, reason, patient, now);
            page(headers, status, &ReleasePage { preview, seal, ..standing })
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

/// What would leave, and the seal over it. Nobody grants what they have asked for, or what lets nothing out: there is no seal then.
async fn shown(
    app: &Arc<App>,
    organisation: &OdsCode,
    approval: &Approval,
    export: &Export,
    who: UserId,
    now: Timestamp,
) -> anyhow::Result<(Preview, String)> {
    let preview = preview::of(app, organisation, approval.id, export, now).await?;
    let grants = approval.asked_by != who.to_string() && !preview.counted.is_empty();
    let seal = if grants { preview::seal(app, approval.id, who, &preview)? } else { String::new() };
    Ok((preview, seal))
}

impl ReleasePage {
    fn new(
        shell: Shell,
        approval: &Approval,
        export: &Export,
        me: &str,
        reason: Field,
        patient: Option<NhsNumber>,
        now: Timestamp,
    ) -> Self {
        let own = approval.asked_by == me;
        let expires = dates::near_moment(approval.expires, now);
        let standing = match &approval.verdict {
            Some(verdict) => format!("{}.", decided(verdict, now)),
            None if own => format!("Another lead of your organisation must decide, {expires} at the latest."),
            None => format!("It expires {expires}. Once granted, leads of your organisation can fetch it until then."),
        };
        let errors =
            (!reason.error.is_empty()).then(|| FormError { field: reason.id.clone(), text: reason.error.clone() });
        Self {
            shell,
            tabs: Tab::Exports.links(),
            errors: errors.into_iter().collect(),
            hidden: export.about.is_some() && patient.is_none(),
            person: patient.map(|number| format!("NHS number {}", grouped(number.expose()))).unwrap_or_default(),
            facts: facts(approval, export, now),
            preview: Preview::default(),
            seal: String::new(),
            path: format!("/audit/exports/{}", approval.id),
            reason,
            decide: approval.verdict.is_none() && !own,
            standing,
        }
    }
}

fn facts(approval: &Approval, export: &Export, now: Timestamp) -> Vec<Fact> {
    let about = match export.about {
        Some(_) => "One person, shown to whoever says why they must know",
        None => "Everybody whom the entries name",
    };
    let holds: &[&str] = match export.form {
        ExportForm::Sar => &["Messages, copies and what people wrote about the person, and who saw them"],
        ExportForm::Csv | ExportForm::Ndjson => &["Who did what, when, to whose record, with NHS numbers"],
    };
    let day = |at: Option<Timestamp>| at.map(dates::moment);
    let period = match (day(export.from), day(export.until)) {
        (Some(from), Some(until)) => format!("From {from}, before {until}"),
        _ => "Whenever it was".to_owned(),
    };
    let asked = format!("{}, {}", approval.asked_name, dates::near_moment(approval.asked, now));
    vec![
        Fact { key: "What would leave", lines: vec![in_words(export).to_owned()] },
        Fact { key: "What is in it", lines: holds.iter().map(|line| (*line).to_owned()).collect() },
        Fact { key: "About", lines: vec![about.to_owned()] },
        Fact { key: "Period", lines: vec![period] },
        Fact { key: "Of", lines: vec![approval.organisation.to_string()] },
        Fact { key: "Asked for by", lines: vec![asked] },
        Fact { key: "Why", lines: vec![approval.reason.clone()] },
    ]
}
