//! One transfer that waits for a person: why, until when, what resolves it, and the decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::state::{HoldReason, RecipientKind};
use onward_core::store::{HeldTransfer, StoreError};
use onward_core::{HoldId, Timestamp};
use onward_gateway::decision::Decided;
use onward_gateway::holds::{Choice as Decision, Released};
use onward_gateway::operate::Hidden;
use onward_transform::render::dates;

use super::super::components::{Choice, Fact, Field};
use super::super::{OnlyGet, Shell, attendant, page, see_other, sent, shell, store_failed, trouble};
use super::decide::{OutcomePage, outcome, rows};
use super::delivery::{OnePage, ask};
use super::{DeedForm, Wrong, decider, done_words, errors, overtaken, reason, reveal_form, told, words};
use crate::app::App;
use crate::people::SignedIn;

/// `GET /operations/holds/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    show(&app, &who, &headers, &id, done_words(query.as_deref()), None, Vec::new()).await
}

/// `POST /operations/holds/{id}/release`: first what would happen, then, with `yes`, the deed.
pub(super) async fn release(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let agreed: Result<BTreeSet<RecipientKind>, _> = url::form_urlencoded::parse(&body)
        .filter(|(name, _)| name == "agreed")
        .map(|(_, kind)| kind.parse::<RecipientKind>())
        .collect();
    let Ok(agreed_recipients) = agreed else { return trouble(StatusCode::BAD_REQUEST) };
    decide(&app, &who, &headers, &id, "release", Some(Decision::Release { agreed_recipients }), &body).await
}

/// `POST /operations/holds/{id}/close`: the same for ending it without sending.
pub(super) async fn close(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    decide(&app, &who, &headers, &id, "close", None, &body).await
}

/// `POST /operations/holds/{id}/redirect`: asks another operator.
pub(super) async fn redirect(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = async {
        let Some(held) = held(&app, &id).await? else { return Ok(Err(None)) };
        ask(&app, &who, held.transfer, None, &body).await
    };
    match asked.await {
        Ok(Ok(())) => see_other(&format!("/operations/holds/{id}?done=asked")),
        Ok(Err(None)) => overtaken::hold(&app, &who, &id, StatusCode::CONFLICT).await,
        Ok(Err(Some((field, error)))) => {
            let wrong = Wrong::new("redirect", field, error, &body);
            show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /operations/holds/{id}/reveal`: whom it is about. That is a disclosure.
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
            return show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await;
        }
    };
    let revealed = async {
        let Some(held) = held(&app, &id).await? else { return Ok(None) };
        app.gateway.reveal(&attendant(&who), Hidden::Transfer(held.transfer), &why).await
    };
    match revealed.await {
        Ok(Some(revealed)) => show(&app, &who, &headers, &id, "", None, told(&revealed)).await,
        Ok(None) => overtaken::hold(&app, &who, &id, StatusCode::CONFLICT).await,
        Err(error) => store_failed(&error),
    }
}

async fn held(app: &App, id: &str) -> Result<Option<HeldTransfer>, StoreError> {
    let Ok(id) = id.parse::<HoldId>() else { return Ok(None) };
    app.gateway.store().open_hold(id).await
}

async fn decide(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    id: &str,
    form: &'static str,
    decision: Option<Decision>,
    body: &[u8],
) -> Response {
    let why = match reason(body) {
        Ok(why) => why,
        Err(error) => {
            return show(app, who, headers, id, "", Some(Wrong::new(form, "reason", error, body)), Vec::new()).await;
        }
    };
    let Ok(hold) = id.parse::<HoldId>() else { return trouble(StatusCode::NOT_FOUND) };
    let act = sent(body, "yes") == "1";
    let decided = async {
        let decider = decider(who, &why, act);
        // What the person saw, not what it has become.
        let held_for = sent(body, "held_for").parse::<HoldReason>().ok();
        let released = match decision {
            Some(decision) => match held_for {
                Some(reason) => app.gateway.release_for(hold, reason, decision, &decider).await?,
                None => app.gateway.release(hold, decision, &decider).await?,
            },
            None => app.gateway.close(hold, &decider).await?,
        };
        Ok::<_, StoreError>((shell(app, who).await?.0, released))
    };
    let back = format!("/operations/holds/{hold}");
    match decided.await {
        Ok((_, Released::NotFound)) => overtaken::hold(app, who, id, StatusCode::CONFLICT).await,
        Ok((_, Released::Queued(_))) => see_other("/operations?done=released"),
        Ok((_, Released::Closed { .. })) => see_other("/operations?done=closed"),
        Ok((shell, preview @ (Released::WouldQueue(_) | Released::WouldClose { .. }))) => {
            page(headers, StatusCode::OK, &preview_page(shell, &preview, form, &why, body, back))
        }
        Ok((shell, released)) => outcome(headers, shell, &released, back),
        Err(error) => store_failed(&error),
    }
}

/// What would happen, with the button that does it.
fn preview_page(
    shell: Shell,
    preview: &Released,
    key: &'static str,
    why: &str,
    body: &[u8],
    back: String,
) -> OutcomePage {
    let (title, lines, copies, button) = match preview {
        Released::WouldQueue(copies) => (
            "Check before it goes on",
            vec![match copies.len() {
                1 => "1 copy would be queued.".to_owned(),
                count => format!("{count} copies would be queued."),
            }],
            rows(copies),
            "Yes, let it go on",
        ),
        Released::WouldClose { response } => (
            "Check before you end it",
            vec![
                "Nothing would be sent to anybody, and this cannot be taken back.".to_owned(),
                match response {
                    true => "The hospital gets a negative ITK3 response, and sees the reason in the Task.".to_owned(),
                    false => "The hospital sees the reason in the Task. It asked for no ITK3 response.".to_owned(),
                },
            ],
            Vec::new(),
            "Yes, end it",
        ),
        _ => ("", Vec::new(), Vec::new(), ""),
    };
    let mut form = DeedForm::new(key, "", format!("{back}/{key}"), button);
    form.kind = if key == "close" { "warning" } else { "" };
    form.hidden = vec![("yes", "1".to_owned()), ("reason", why.to_owned())];
    let agreed = url::form_urlencoded::parse(body).filter(|(name, _)| name == "agreed");
    form.hidden.extend(agreed.map(|(_, kind)| ("agreed", kind.into_owned())));
    form.hidden.extend(Some(("held_for", sent(body, "held_for"))).filter(|(_, reason)| !reason.is_empty()));
    OutcomePage { shell, title, lines, copies, back, form: Some(form) }
}

async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    id: &str,
    done: &'static str,
    wrong: Option<Wrong>,
    person: Vec<String>,
) -> Response {
    let looked = async {
        let Some(held) = held(app, id).await? else { return Ok(None) };
        app.gateway.look_at_hold(&attendant(who), held.transfer).await?;
        Ok::<_, StoreError>(Some((shell(app, who).await?.0, held)))
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok(Some((shell, held))) => {
            let now = app.gateway.clock().now();
            page(headers, status, &one(shell, &held, done, wrong.as_ref(), person, now))
        }
        // A form that was sent to it comes too late; its page is not there any more.
        Ok(None) if wrong.is_some() => overtaken::hold(app, who, id, StatusCode::CONFLICT).await,
        Ok(None) => overtaken::hold(app, who, id, StatusCode::NOT_FOUND).await,
        Err(error) => store_failed(&error),
    }
}

fn one(
    shell: Shell,
    held: &HeldTransfer,
    done: &'static str,
    wrong: Option<&Wrong>,
    person: Vec<String>,
    now: Timestamp,
) -> OnePage {
    let hold = &held.hold;
    let (advice_title, advice) = words::hold(hold.reason);
    let overdue = hold.due < now;
    let forms: Vec<DeedForm> = forms(held, !person.is_empty()).into_iter().map(|form| form.wrong(wrong)).collect();
    let clock = match overdue {
        true => format!("{}, {} ago", dates::near_moment(hold.due, now), words::span(hold.due, now)),
        false => format!("{}, in {}", dates::near_moment(hold.due, now), words::span(now, hold.due)),
    };
    OnePage {
        shell,
        title: format!("Held transfer {}", words::short(held.transfer)),
        back: ("/operations".to_owned(), "Deliveries"),
        done,
        errors: errors(&forms),
        tag: if overdue { ("Overdue", "red") } else { ("Held", "blue") },
        facts: vec![
            Fact { key: "Why", lines: vec![format!("{advice_title} ({})", hold.reason)] },
            Fact { key: "What was seen", lines: vec![hold.detail.clone()] },
            Fact { key: "Who decides", lines: vec![hold.owner.clone()] },
            Fact { key: "Decide by", lines: vec![clock] },
            Fact { key: "From", lines: vec![held.sender.to_string()] },
            Fact { key: "Came", lines: vec![dates::near_moment(held.received, now)] },
            Fact { key: "Identifier", lines: vec![held.transfer.to_string()] },
        ],
        links: Vec::new(),
        advice_title: "What resolves it",
        advice,
        person,
        forms,
    }
}

fn forms(held: &HeldTransfer, revealed: bool) -> Vec<DeedForm> {
    let path = format!("/operations/holds/{}", held.hold.id);
    let reason = held.hold.reason;
    let mut release = DeedForm::new(
        "release",
        "Look at it again and let it go on",
        format!("{path}/release"),
        "Show what would happen",
    )
    .saying("The message is looked at again with whatever was mended since. Nothing is sent before you confirm.");
    release.hidden = vec![("held_for", reason.as_str().to_owned())];
    if !Decided::agreeable(reason).is_empty() {
        release.choice = Field {
            id: "release-agreed".to_owned(),
            ..Field::new("agreed", "Who may receive it, as agreed with the ward")
        };
        release.many = true;
        release.choices =
            Decided::agreeable(reason).iter().map(|kind| Choice::new(kind.as_str(), words::kind(*kind))).collect();
    }
    let mut forms = vec![release];
    let about_home = Decided::default().reroute(reason, "VMH01".parse().ok(), None).is_ok();
    let about_practice = Decided::default().reroute(reason, None, "VMH01".parse().ok()).is_ok();
    if about_home || about_practice {
        let mut form = DeedForm::new("redirect", "Name where it is to go", format!("{path}/redirect"), "Ask for it")
            .saying("Another operator must agree. Then the transfer goes there.");
        if about_home {
            form = form.code("care_home", "ODS code of the care home");
        }
        if about_practice {
            form = form.code("registered_practice", "ODS code of the GP practice");
        }
        forms.push(form);
    }
    forms.push(
        DeedForm::new("close", "End it without sending", format!("{path}/close"), "Show what would happen").saying(
            "For a message that the ward sends again, or that should not have come. The hospital sees your reason.",
        ),
    );
    if !revealed {
        forms.push(reveal_form(&path));
    }
    forms
}
