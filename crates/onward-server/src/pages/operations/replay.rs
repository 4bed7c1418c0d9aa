//! A copy is sent again although it may have arrived: what would leave is seen before, and each replay has a page that leads to the copy
//! which it repeats, as the copy's leads to its replays.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::state::TransportKind;
use onward_core::store::{DeliveryRecord, Replay, Resend, StoreError, Whereto};
use onward_core::{DeliveryId, ReplayId, Timestamp};
use onward_gateway::readdressing::{self, other_way};
use onward_transform::render::dates;

use super::super::components::Fact;
use super::super::{OnlyGet, Shell, attendant, page, shell, store_failed, trouble};
use super::delivery::{self, Link, OnePage};
use super::{DeedForm, Wrong, done_words, errors, overtaken, words};
use crate::app::App;
use crate::people::SignedIn;

/// `GET /operations/deliveries/{id}/replay`: what would be sent again, before anything is done.
pub(super) async fn preview(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    show_preview(&app, &who, &headers, &id, None).await
}

/// The same with what was wrong.
pub(super) async fn show_preview(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    id: &str,
    wrong: Option<Wrong>,
) -> Response {
    let Ok(id) = id.parse::<DeliveryId>() else { return trouble(StatusCode::NOT_FOUND) };
    let looked = async {
        let Some(copy) = app.gateway.look_at_delivery(&attendant(who), id).await? else { return Ok(None) };
        let replays = app.gateway.store().replays(id).await?;
        let to = app.gateway.whereto(&copy).await?;
        let younger = app.gateway.store().left_since(id).await?;
        Ok::<_, StoreError>(Some((shell(app, who).await?.0, copy, replays, (to, younger))))
    };
    match looked.await {
        Ok(Some((_, copy, ..))) if !delivery::is_replayable(&copy) => overtaken::looked_at(app, &copy).await,
        Ok(Some((shell, copy, replays, to))) => {
            let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            let now = app.gateway.clock().now();
            page(headers, status, &preview_of(shell, &copy, &replays, &to, wrong.as_ref(), now))
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

fn preview_of(
    shell: Shell,
    copy: &DeliveryRecord,
    replays: &[Replay],
    (to, younger): &(Whereto, u64),
    wrong: Option<&Wrong>,
    now: Timestamp,
) -> OnePage {
    let path = format!("/operations/deliveries/{}", copy.id);
    let mut form = DeedForm::new(Resend::Replay.as_str(), "Send it again", format!("{path}/resend"), "Send it again");
    form.hidden = vec![("how", Resend::Replay.to_string())];
    form.kind = "warning";
    form.open = true;
    let forms = vec![form.wrong(wrong)];
    let label = match copy.endpoint.kind() {
        TransportKind::Https => "The header Onward-Replay says so",
        TransportKind::Mesh => "The subject of the MESH message says so",
        TransportKind::Inbox => "It lies in the inbox under its own identifier",
    };
    let same = format!("The same bytes as before ({}), under the same identifier", kilobytes(copy.body_bytes));
    let before = match replays.len() {
        0 => "Never sent again before".to_owned(),
        1 => "Sent again once before".to_owned(),
        count => format!("Sent again {count} times before"),
    };
    OnePage {
        shell,
        title: format!("Send delivery {} again", words::short(copy.id)),
        back: (path, "The delivery"),
        done: "",
        errors: errors(&forms),
        tag: (words::standing(copy), delivery::colour(copy)),
        facts: vec![
            Fact { key: "To", lines: vec![format!("{} ({})", copy.recipient_name, copy.recipient)] },
            Fact { key: "As", lines: vec![words::kind(copy.kind).to_owned()] },
            Fact {
                key: "Sent since",
                lines: vec![
                    readdressing::younger(*younger).unwrap_or_else(|| "Nothing younger about the person".to_owned()),
                ],
            },
            Fact { key: "By", lines: vec![copy.endpoint.kind().to_string()] },
            Fact { key: "Address", lines: address(copy, to) },
            Fact {
                key: "What leaves",
                lines: vec![same, "Whoever has it already can tell that it is no second patient".to_owned()],
            },
            Fact { key: "Marked as a repeat", lines: vec![label.to_owned()] },
            Fact { key: "Tried so far", lines: vec![tries(copy.attempts), before] },
        ],
        links: replays.iter().map(|replay| link(replay, now)).collect(),
        advice_title: "Nothing is sent yet",
        advice: "Ask the recipient first whether it came. Your reason is kept with the repeat.",
        person: Vec::new(),
        forms,
    }
}

/// Where it goes, and where it was to go.
fn address(copy: &DeliveryRecord, to: &Whereto) -> Vec<String> {
    let was = || format!("It was to go to {}: the directory has changed", copy.endpoint.told());
    match to {
        Whereto::OtherWay { from, to } => vec![other_way(&copy.recipient, from, to)],
        to => [to.new_address().unwrap_or(&copy.endpoint).told()]
            .into_iter()
            .chain(to.new_address().map(|_| was()))
            .collect(),
    }
}

/// `GET /operations/replays/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<ReplayId>() else { return trouble(StatusCode::NOT_FOUND) };
    let looked = async {
        let Some(replay) = app.gateway.store().replay(id).await? else { return Ok(None) };
        let Some(copy) = app.gateway.look_at_delivery(&attendant(&who), replay.delivery).await? else {
            return Ok(None);
        };
        let all = app.gateway.store().replays(replay.delivery).await?;
        Ok::<_, StoreError>(Some((shell(&app, &who).await?.0, replay, copy, all)))
    };
    match looked.await {
        Ok(Some((shell, replay, copy, all))) => {
            let done = done_words(query.as_deref());
            page(&headers, StatusCode::OK, &one(shell, &replay, &copy, &all, done, app.gateway.clock().now()))
        }
        Ok(None) => trouble(StatusCode::NOT_FOUND),
        Err(error) => store_failed(&error),
    }
}

fn one(
    shell: Shell,
    replay: &Replay,
    copy: &DeliveryRecord,
    all: &[Replay],
    done: &'static str,
    now: Timestamp,
) -> OnePage {
    let place = all.iter().position(|each| each.id == replay.id).unwrap_or_default();
    // Attempts are the copy's: those until the next replay are this one's.
    let until = all.get(place + 1).map_or(copy.attempts, |next| next.attempts_before);
    let own = until.saturating_sub(replay.attempts_before);
    let path = format!("/operations/deliveries/{}", copy.id);
    let (advice_title, advice) = match (all.len() - place, own) {
        (1, 0) => ("It waits for its turn", "Nothing to do: it is sent by itself."),
        (1, _) => ("This is the latest repeat", "How the copy stands now is how this repeat stands."),
        _ => ("It was repeated again later", "The latest repeat tells how the copy stands."),
    };
    let links = [Link { href: path.clone(), text: format!("The delivery that it repeats: {}", words::short(copy.id)) }];
    let with = replay.bulk.map(|bulk| Link {
        href: format!("/operations/bulks/{bulk}"),
        text: "The decision about several copies that it belongs to".to_owned(),
    });
    let others = all.iter().filter(|each| each.id != replay.id).map(|each| link(each, now));
    OnePage {
        shell,
        title: format!("Repeat {}", words::short(replay.id)),
        back: (path, "The delivery that it repeats"),
        done,
        errors: Vec::new(),
        tag: (words::standing(copy), delivery::colour(copy)),
        facts: vec![
            Fact { key: "Repeats", lines: vec![format!("Delivery {}", copy.id)] },
            Fact { key: "To", lines: vec![format!("{} ({})", copy.recipient_name, copy.recipient)] },
            Fact { key: "Marked as", lines: vec!["A repeat: the recipient is told so".to_owned()] },
            Fact { key: "Asked for by", lines: vec![format!("{}, {}", replay.by, dates::near_moment(replay.at, now))] },
            Fact { key: "Why", lines: vec![replay.reason.clone().unwrap_or_else(|| "Erased".to_owned())] },
            Fact { key: "Tried before", lines: vec![tries(replay.attempts_before)] },
            Fact { key: "Tried since", lines: vec![tries(own)] },
            Fact { key: "Identifier", lines: vec![replay.id.to_string()] },
        ],
        links: links.into_iter().chain(with).chain(others).collect(),
        advice_title,
        advice,
        person: Vec::new(),
        forms: Vec::new(),
    }
}

/// The way to a replay.
pub(super) fn link(replay: &Replay, now: Timestamp) -> Link {
    let when = dates::near_moment(replay.at, now);
    Link {
        href: format!("/operations/replays/{}", replay.id),
        text: format!("Repeat {}, {when}, by {}", words::short(replay.id), replay.by),
    }
}

fn tries(count: u32) -> String {
    match count {
        0 => "Never".to_owned(),
        1 => "Once".to_owned(),
        count => format!("{count} times"),
    }
}

fn kilobytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        bytes => format!("{} kB", bytes.div_ceil(1_000)),
    }
}
