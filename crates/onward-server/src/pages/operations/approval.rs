//! One request that waits for a second person: what exactly would happen, who asked for it, and why. Whoever decides sees the copy or
//! hold that it is about, and, for a reason, whom.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::store::{DeliveryRecord, StoreError};
use onward_core::{ApprovalId, Timestamp};
use onward_gateway::operate::Hidden;
use onward_gateway::redirect::Wish;
use onward_transform::render::dates;

use super::super::components::{Fact, FormError};
use super::super::{OnlyGet, Shell, attendant, decided, page, shell, store_failed, trouble};
use super::{DeedForm, Wrong, errors, reason, reveal_form, told, words};
use crate::app::App;
use crate::people::SignedIn;

/// The page.
#[derive(Template)]
#[template(path = "operations/approval.html")]
struct ApprovalPage {
    shell: Shell,
    errors: Vec<FormError>,
    person: Vec<String>,
    facts: Vec<Fact>,
    /// The copy or hold: address and words.
    link: (String, &'static str),
    /// Where the decision goes to; empty when it is not this person's, or is made.
    decide: String,
    standing: String,
    forms: Vec<DeedForm>,
}

/// `GET /operations/approvals/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    show(&app, &who, &headers, &id, None, Vec::new()).await
}

/// `POST /operations/approvals/{id}/reveal`: whom it is about. That is a disclosure.
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
            let wrong = Wrong::new("reveal", "reason", error, &body);
            return show(&app, &who, &headers, &id, Some(wrong), Vec::new()).await;
        }
    };
    let Ok(asked) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let revealed = async {
        let Some(wish) = app.gateway.look_at_wish(&attendant(&who), asked).await? else { return Ok(None) };
        let hidden = match wish.redirect.delivery {
            Some(delivery) => Hidden::Delivery(delivery),
            None => Hidden::Transfer(wish.redirect.transfer),
        };
        app.gateway.reveal(&attendant(&who), hidden, &why).await
    };
    match revealed.await {
        Ok(Some(revealed)) => show(&app, &who, &headers, &id, None, told(&revealed)).await,
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    id: &str,
    wrong: Option<Wrong>,
    person: Vec<String>,
) -> Response {
    let Ok(id) = id.parse::<ApprovalId>() else { return trouble(StatusCode::NOT_FOUND) };
    let looked = async {
        let Some(wish) = app.gateway.look_at_wish(&attendant(who), id).await? else { return Ok(None) };
        Ok::<_, StoreError>(Some((shell(app, who).await?.0, wish)))
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok(Some((shell, wish))) => {
            let (me, now) = (who.user.to_string(), app.gateway.clock().now());
            page(headers, status, &ApprovalPage::new(shell, &wish, &me, wrong.as_ref(), person, now))
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

impl ApprovalPage {
    fn new(shell: Shell, wish: &Wish, me: &str, wrong: Option<&Wrong>, person: Vec<String>, now: Timestamp) -> Self {
        let approval = &wish.approval;
        let path = format!("/operations/approvals/{}", approval.id);
        let expires = dates::near_moment(approval.expires, now);
        let open = approval.verdict.is_none() && approval.expires > now;
        let own = approval.asked_by == me;
        let standing = match &approval.verdict {
            Some(verdict) => format!("{}.", decided(verdict, now)),
            None if !open => format!("Nobody decided. It expired {expires}."),
            None if own => format!("Another operator must decide, {expires} at the latest."),
            None => format!(
                "It expires {expires}. What you decide is written down with your name and cannot be taken back."
            ),
        };
        let mut forms = Vec::new();
        if person.is_empty() {
            forms.push(reveal_form(&path).wrong(wrong));
        }
        Self {
            shell,
            errors: errors(&forms),
            person,
            facts: facts(wish, now),
            link: match (wish.redirect.delivery, &wish.transfer.hold) {
                (Some(copy), _) => (format!("/operations/deliveries/{copy}"), "Look at this copy"),
                (None, Some(hold)) => (format!("/operations/holds/{}", hold.id), "Look at this hold"),
                (None, None) => (String::new(), ""),
            },
            decide: if open && !own { path } else { String::new() },
            standing,
            forms,
        }
    }
}

/// What would be done, and who asked for it, when and why.
fn facts(wish: &Wish, now: Timestamp) -> Vec<Fact> {
    let (approval, transfer) = (&wish.approval, &wish.transfer);
    let goes = wish.parties.iter().map(|(ods, name)| match name.as_str() {
        "" => ods.to_string(),
        name => format!("{name} ({ods})"),
    });
    let mut facts = vec![Fact { key: "To be sent to", lines: goes.collect() }];
    match (wish.copy(), &transfer.hold) {
        (Some(copy), _) => {
            let to = format!("{} ({})", copy.recipient_name, copy.recipient);
            facts.push(Fact { key: "Taken back from", lines: vec![to, words::kind(copy.kind).to_owned()] });
            facts.push(Fact { key: "That copy is now", lines: vec![words::standing(copy).to_owned()] });
        }
        (None, Some(hold)) => {
            facts.push(Fact {
                key: "It is held",
                lines: vec![words::hold(hold.reason).0.to_owned(), hold.detail.clone()],
            });
        }
        (None, None) => {}
    }
    if !wish.also.is_empty() {
        let line =
            |copy: &DeliveryRecord| format!("{} ({}): {}", copy.recipient_name, copy.recipient, words::kind(copy.kind));
        facts.push(Fact { key: "Taken back as well", lines: wish.also.iter().map(line).collect() });
    }
    let came = format!("{}, {}", transfer.sender, dates::near_moment(transfer.received, now));
    let asked = format!("{}, {}", approval.asked_name, dates::near_moment(approval.asked, now));
    facts.extend([
        Fact { key: "Came from", lines: vec![came] },
        Fact { key: "Asked for by", lines: vec![asked] },
        Fact { key: "Why", lines: vec![approval.reason.clone()] },
        Fact { key: "Transfer", lines: vec![transfer.id.to_string()] },
    ]);
    facts
}
