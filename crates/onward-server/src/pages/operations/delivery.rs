//! One copy that has not left, or that must be sent elsewhere.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{ClosedCopy, DeliveryRecord, FormerAddress, Replay, Resend, StoreError};
use onward_core::{DeliveryId, OdsCode, Timestamp, TransferId};
use onward_gateway::operate::{Closing, Hidden, Resent};
use onward_gateway::readdressing::{other_way, told_before};
use onward_gateway::redirect::{Asked, Redirect};
use onward_gateway::retrace;
use onward_transform::render::dates;

use super::super::components::{Fact, FormError};
use super::super::{OnlyGet, Shell, attendant, page, see_other, sent, shell, store_failed, trouble};
use super::{DeedForm, Wrong, decider, done_words, errors, overtaken, reason, replay, reveal_form, told, words};
use crate::app::App;
use crate::people::SignedIn;

/// The form by which a copy is closed.
const CLOSE: &str = "close";

/// The page.
#[derive(Template)]
#[template(path = "operations/one.html")]
pub(super) struct OnePage {
    pub shell: Shell,
    pub title: String,
    /// Where it leads back to: address and words.
    pub back: (String, &'static str),
    pub done: &'static str,
    pub errors: Vec<FormError>,
    pub tag: (&'static str, &'static str),
    pub facts: Vec<Fact>,
    /// What belongs to it.
    pub links: Vec<Link>,
    pub advice_title: &'static str,
    pub advice: &'static str,
    pub person: Vec<String>,
    pub forms: Vec<DeedForm>,
}

/// A way to another page.
pub(super) struct Link {
    pub href: String,
    pub text: String,
}

/// `GET /operations/deliveries/{id}`.
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

/// `POST /operations/deliveries/{id}/resend`: the same message once more, or labelled as a repeat.
pub(super) async fn resend(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(how) = sent(&body, "how").parse::<Resend>() else { return trouble(StatusCode::BAD_REQUEST) };
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => {
            let wrong = Wrong::new(how.as_str(), "reason", error, &body);
            return match how {
                Resend::Retry => show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await,
                Resend::Replay => replay::show_preview(&app, &who, &headers, &id, Some(wrong)).await,
            };
        }
    };
    let Ok(delivery) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let done = async {
        let done = app.gateway.resend(delivery, how, &decider(&who, &why, true)).await?;
        let replay = match (how, &done) {
            (Resend::Replay, Resent::Queued) => {
                app.gateway.store().replays(delivery).await?.pop().map(|replay| replay.id)
            }
            _ => None,
        };
        Ok((done, replay))
    };
    match done.await {
        Ok((Resent::Queued, Some(replay))) => see_other(&format!("/operations/replays/{replay}?done=replay")),
        Ok((Resent::Queued, None)) => see_other(&format!("/operations/deliveries/{delivery}?done={how}")),
        Ok((Resent::Not, _)) => overtaken::copy(&app, &who, delivery).await,
        Ok((Resent::OtherWay { recipient, from, to }, _)) => {
            let wrong = Wrong::new(how.as_str(), "reason", other_way(&recipient, &from, &to), &body);
            match how {
                Resend::Retry => show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await,
                Resend::Replay => replay::show_preview(&app, &who, &headers, &id, Some(wrong)).await,
            }
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /operations/deliveries/{id}/close`: a person took care of it in another way.
pub(super) async fn close(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let why = match reason(&body) {
        Ok(why) => why,
        Err(error) => {
            let wrong = Wrong::new(CLOSE, "reason", error, &body);
            return show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await;
        }
    };
    let Ok(delivery) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    // Without a version nothing was seen, and no copy has this one.
    let seen = sent(&body, "version").parse().unwrap_or(0);
    match app.gateway.close_copy(delivery, seen, &decider(&who, &why, true)).await {
        Ok(Closing::Done) => see_other(&format!("/operations/deliveries/{delivery}?done=handed-over")),
        Ok(Closing::Not) => overtaken::copy(&app, &who, delivery).await,
        Ok(Closing::Unfinished) => {
            let wrong = Wrong::new(CLOSE, "reason", Closing::UNFINISHED, &body);
            show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /operations/deliveries/{id}/redirect`: asks another operator.
pub(super) async fn redirect(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(delivery) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let asked = async {
        let Some(copy) = app.gateway.store().delivery(delivery).await? else { return Ok(Err(None)) };
        ask(&app, &who, copy.transfer, Some(copy.id), &body).await
    };
    match asked.await {
        Ok(Ok(())) => see_other(&format!("/operations/deliveries/{delivery}?done=asked")),
        Ok(Err(None)) => overtaken::copy(&app, &who, delivery).await,
        Ok(Err(Some((field, error)))) => {
            let wrong = Wrong::new("redirect", field, error, &body);
            show(&app, &who, &headers, &id, "", Some(wrong), Vec::new()).await
        }
        Err(error) => store_failed(&error),
    }
}

/// What came of asking for a redirect; else the field with what is wrong with it, or nothing when there is nothing to redirect.
pub(super) type AskedFor = Result<(), Option<(&'static str, String)>>;

/// Asks another operator to send a transfer, or one copy of it, elsewhere.
pub(super) async fn ask(
    app: &App,
    who: &SignedIn,
    transfer: TransferId,
    delivery: Option<DeliveryId>,
    body: &[u8],
) -> Result<AskedFor, StoreError> {
    let (care_home, registered_practice) = match parties(body) {
        Ok(parties) => parties,
        Err(wrong) => return Ok(Err(Some(wrong))),
    };
    let why = match reason(body) {
        Ok(why) => why,
        Err(error) => return Ok(Err(Some(("reason", error.to_owned())))),
    };
    let redirect = Redirect { transfer, delivery, care_home, registered_practice };
    Ok(match app.gateway.ask_redirect(&attendant(who), &redirect, &why).await? {
        Asked::Kept(_) => Ok(()),
        Asked::NotFound => Err(None),
        Asked::UnknownParty(ods) => Err(Some(unknown(&redirect, &ods))),
    })
}

/// `POST /operations/deliveries/{id}/reveal`: whom it is about. That is a disclosure.
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
    let Ok(delivery) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    match app.gateway.reveal(&attendant(&who), Hidden::Delivery(delivery), &why).await {
        Ok(Some(revealed)) => show(&app, &who, &headers, &id, "", None, told(&revealed)).await,
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

/// The parties of a form: a home, a practice, or both; else the field and what is wrong with it.
#[expect(clippy::type_complexity, reason = "two codes, or one field with its error")]
fn parties(body: &[u8]) -> Result<(Option<OdsCode>, Option<OdsCode>), (&'static str, String)> {
    let code = |field: &'static str| match sent(body, field).to_ascii_uppercase().as_str() {
        "" => Ok(None),
        text => text.parse::<OdsCode>().map(Some).map_err(|_| (field, "Write an ODS code, such as VMH01".to_owned())),
    };
    match (code("care_home")?, code("registered_practice")?) {
        (None, None) => Err(("care_home", "Say where it is to go".to_owned())),
        parties => Ok(parties),
    }
}

/// Which field holds a code that the directory does not know.
fn unknown(redirect: &Redirect, ods: &OdsCode) -> (&'static str, String) {
    let field = if redirect.care_home.as_ref() == Some(ods) { "care_home" } else { "registered_practice" };
    (field, format!("{ods} is not in the directory"))
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
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let looked = async {
        let Some(copy) = app.gateway.look_at_delivery(&attendant(who), id).await? else { return Ok(None) };
        let replays = app.gateway.store().replays(id).await?;
        let closed = app.gateway.store().closed_copies(id).await?;
        let former = app.gateway.store().former_addresses(id).await?;
        Ok::<_, StoreError>(Some((shell(app, who).await?.0, copy, replays, (closed, former))))
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    match looked.await {
        Ok(Some((shell, copy, replays, (closed, former)))) => {
            let now = app.gateway.clock().now();
            let links = links(&copy, &replays, now);
            let mut one = OnePage { links, ..one(shell, &copy, done, wrong.as_ref(), person, now) };
            one.facts.extend(went(&copy, &former));
            one.facts.extend(closed.iter().map(|closed| closed_by(closed, &copy, now)));
            page(headers, status, &one)
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

fn one(
    shell: Shell,
    copy: &DeliveryRecord,
    done: &'static str,
    wrong: Option<&Wrong>,
    person: Vec<String>,
    now: Timestamp,
) -> OnePage {
    let (advice_title, advice) = match waits(copy) || copy.is_unprocessed() {
        _ if copy.closed => (
            "A person took care of it in another way",
            "Nothing to do. If it must be sent all the same, send it again as a repeat: the recipient may have it.",
        ),
        true => words::cause(copy.cause()),
        false if copy.ended.is_some() => {
            ("It is not to be used any more", "Nothing to do: whoever may have it has been told.")
        }
        false => ("It has left", "Nothing to do, unless the recipient says that it never came: then send it again."),
    };
    let forms: Vec<DeedForm> = forms(copy, !person.is_empty(), now).into_iter().map(|form| form.wrong(wrong)).collect();
    OnePage {
        shell,
        title: format!("Delivery {}", words::short(copy.id)),
        back: ("/operations".to_owned(), "Deliveries"),
        done,
        errors: errors(&forms),
        tag: (words::standing(copy), colour(copy)),
        facts: facts(copy, now),
        links: Vec::new(),
        advice_title,
        advice,
        person,
        forms,
    }
}

/// The colour of how it stands.
pub(super) fn colour(copy: &DeliveryRecord) -> &'static str {
    match copy.state {
        _ if copy.ended.is_some() || copy.closed => "grey",
        DeliveryState::Failed => "red",
        _ if copy.is_unprocessed() => "red",
        DeliveryState::Queued => "yellow",
        DeliveryState::Withdrawn | DeliveryState::Rejected => "grey",
        _ => "green",
    }
}

/// Whether it may be sent again although it may have arrived.
pub(super) fn is_replayable(copy: &DeliveryRecord) -> bool {
    matches!(copy.state, DeliveryState::Failed | DeliveryState::Sent) || copy.is_unprocessed()
}

/// Its replays, and the way to one more.
fn links(copy: &DeliveryRecord, replays: &[Replay], now: Timestamp) -> Vec<Link> {
    let again = is_replayable(copy).then(|| Link {
        href: format!("/operations/deliveries/{}/replay", copy.id),
        text: "Send it again, labelled as a repeat: see first what would leave".to_owned(),
    });
    replays.iter().map(|replay| replay::link(replay, now)).chain(again).collect()
}

fn waits(copy: &DeliveryRecord) -> bool {
    matches!(copy.state, DeliveryState::Queued | DeliveryState::Failed)
}

fn facts(copy: &DeliveryRecord, now: Timestamp) -> Vec<Fact> {
    let part = match copy.notice {
        Some(notice) => {
            format!("{}: notice that another copy ended or the stay did ({})", words::kind(copy.kind), notice.why)
        }
        None => words::kind(copy.kind).to_owned(),
    };
    let mut facts = vec![
        Fact { key: "To", lines: vec![format!("{} ({})", copy.recipient_name, copy.recipient)] },
        Fact { key: "As", lines: vec![part] },
        Fact { key: "By", lines: vec![copy.endpoint.kind().to_string()] },
        Fact { key: "From", lines: vec![copy.sender.to_string()] },
        Fact { key: "Queued", lines: vec![dates::near_moment(copy.created, now)] },
        Fact { key: "Attempts", lines: vec![copy.attempts.to_string()] },
    ];
    // What a recipient wrote when it refused may name the person.
    let reason = copy.reason.clone().filter(|_| waits(copy));
    if reason.is_some() || copy.is_unprocessed() {
        let cause = copy.cause();
        let told = format!("{} ({cause})", words::cause(cause).0);
        facts.push(Fact { key: "Cause", lines: std::iter::once(told).chain(reason).collect() });
    }
    if let Some(code) = &copy.code {
        facts.push(Fact { key: "Code", lines: vec![code.clone()] });
    }
    if let Some(said) = copy.reason.as_deref().filter(|_| !waits(copy)).and_then(retrace::said) {
        facts.push(Fact { key: "PDS was asked again", lines: vec![said.to_owned()] });
    }
    if let Some(at) = copy.next_attempt {
        facts.push(Fact { key: "Next attempt", lines: vec![dates::near_moment(at, now)] });
    }
    if let Some(why) = &copy.replay {
        facts.push(Fact { key: "Sent again because", lines: vec![why.clone()] });
    }
    facts.push(Fact { key: "Identifier", lines: vec![copy.id.to_string()] });
    facts
}

/// Where it went before it was given the address that it has.
fn went(copy: &DeliveryRecord, former: &[FormerAddress]) -> Option<Fact> {
    let now = format!("Any after that goes to {}", copy.endpoint.told());
    let lines: Vec<String> = told_before(former).into_iter().chain([now]).collect();
    (!former.is_empty()).then_some(Fact { key: "Where it went", lines })
}

/// Who took care of it in another way, when and why.
fn closed_by(closed: &ClosedCopy, copy: &DeliveryRecord, now: Timestamp) -> Fact {
    let holds = copy.closed && closed.version == copy.version;
    let why = closed.reason.clone().unwrap_or_else(|| "Erased".to_owned());
    Fact {
        key: if holds { "Handed over in another way" } else { "Handed over before in another way" },
        lines: vec![format!("{}, {}", closed.by, dates::near_moment(closed.at, now)), why],
    }
}

fn forms(copy: &DeliveryRecord, revealed: bool, now: Timestamp) -> Vec<DeedForm> {
    let path = format!("/operations/deliveries/{}", copy.id);
    let mut forms = Vec::new();
    let later = copy.next_attempt.is_some_and(|at| at > now);
    let dead = copy.is_dead();
    if dead || copy.state == DeliveryState::Queued && later {
        let title = "Retry: send the same message now";
        let mut form = DeedForm::new(Resend::Retry.as_str(), title, format!("{path}/resend"), "Retry now");
        form.hidden = vec![("how", Resend::Retry.to_string())];
        forms.push(form.saying("It keeps its identifier. A recipient that has it already takes it once."));
    }
    if dead {
        let title = "Close it: it was handed over in another way";
        let mut form = DeedForm::new(CLOSE, title, format!("{path}/close"), "Close it");
        form.hidden = vec![("version", copy.version.to_string())];
        forms.push(form.saying(
            "After you read it out, sent it by other means or made a new referral. It leaves this list, and its alerts are over. The hospital \
             sees that it did not arrive electronically and that a person took care.",
        ));
    }
    let routed = matches!(copy.kind, RecipientKind::CareHome | RecipientKind::RegisteredPractice);
    if routed && copy.ended.is_none() && copy.notice.is_none() {
        let (name, label) = match copy.kind {
            RecipientKind::CareHome => ("care_home", "ODS code of the right care home"),
            _ => ("registered_practice", "ODS code of the right GP practice"),
        };
        forms.push(
            DeedForm::new("redirect", "Send it to another party", format!("{path}/redirect"), "Ask for it")
                .saying("Another operator must agree. Then this copy is taken back, whoever may have it is told, and the transfer goes to the other party.")
                .code(name, label),
        );
    }
    if !revealed {
        forms.push(reveal_form(&path));
    }
    forms
}
