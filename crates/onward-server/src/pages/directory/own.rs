//! The entry that a home keeps itself.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::directory::{BedType, BedTypes, Beds, Capabilities, CareHome, Contact, Need, OwnWord, TypedBeds};
use onward_core::store::StoreError;
use onward_core::{OdsCode, Timestamp};
use onward_gateway::directory::{Kept, NotSo, judge};
use onward_transform::render::dates;

use super::super::components::FormError;
use super::super::{Shell, attendant, page, see_other, sent, shell, store_failed, trouble};
use super::entry::OwnHome;
use crate::app::App;
use crate::people::SignedIn;

/// Longest text of a contact, in characters.
const TEXT_MAX: usize = 200;
/// Beds of one kind at most.
const BEDS_MAX: u32 = 9_999;

#[derive(Template)]
#[template(path = "directory/own.html")]
struct OwnPage {
    shell: Shell,
    done: &'static str,
    errors: Vec<FormError>,
    homes: Vec<OwnHome>,
}

/// A form that was not kept.
pub(super) struct Refused<'b> {
    pub(super) why: Why,
    pub(super) body: &'b [u8],
}

/// Why not.
pub(super) enum Why {
    /// Something in it cannot be so.
    NotSo(NotSo),
    /// A colleague changed the entry after the form was opened; who and when, where that is known.
    Overtaken(Option<(String, Timestamp)>),
}

/// `POST /directory/confirm`: what stands there is still correct.
pub(super) async fn confirm(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    keep(&app, &who, &headers, &body, None, "/directory?done=confirmed").await
}

/// `POST /directory/entry`: what the home says of itself.
pub(super) async fn entry(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    match read(&body).and_then(|word| judge(&word).map(|()| word)) {
        Ok(word) => keep(&app, &who, &headers, &body, Some(word), "/directory?done=kept").await,
        Err(not_so) => show(&app, &who, &headers, "", Some(Refused { why: Why::NotSo(not_so), body: &body })).await,
    }
}

async fn keep(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    body: &[u8],
    word: Option<OwnWord>,
    to: &str,
) -> Response {
    let Ok(ods) = sent(body, "ods").parse::<OdsCode>() else { return trouble(StatusCode::BAD_REQUEST) };
    match app.gateway.keep_entry(&attendant(who), &ods, &sent(body, "stands"), word).await {
        Ok(Kept::Yes) => see_other(to),
        Ok(Kept::NotTheirs) => trouble(StatusCode::NOT_FOUND),
        Ok(Kept::Changed { by }) => show(app, who, headers, "", Some(Refused { why: Why::Overtaken(by), body })).await,
        Err(error) => store_failed(&error),
    }
}

fn read(body: &[u8]) -> Result<OwnWord, NotSo> {
    let text = |name: &str| match sent(body, name) {
        long if long.chars().count() > TEXT_MAX => {
            Err(NotSo { field: name.to_owned(), why: "Write at most 200 characters".to_owned() })
        }
        text => Ok(text),
    };
    let number = |name: String| match sent(body, &name).as_str() {
        "" => Ok(0),
        digits => digits
            .parse::<u32>()
            .ok()
            .filter(|count| *count <= BEDS_MAX)
            .ok_or(NotSo { field: name, why: "Write a number of beds, such as 4".to_owned() }),
    };
    let beds = |of: &str| {
        Ok(Beds { with_nursing: number(format!("{of}-with"))?, without_nursing: number(format!("{of}-without"))? })
    };
    let ticked = |name: &str| sent(body, name) == "1";
    let mut capabilities = Capabilities::default();
    for need in Need::ALL {
        let told = capabilities.of_mut(*need);
        told.offered = ticked(need.as_str());
        told.beds = beds(need.as_str())?;
    }
    let mut beds_by_type = BedTypes::default();
    for bed_type in BedType::ALL {
        let of = |part: &str| format!("type-{bed_type}-{part}");
        *beds_by_type.of_mut(*bed_type) = TypedBeds {
            maximum: number(of("maximum"))?,
            occupied: number(of("occupied"))?,
            vacant: number(of("vacant"))?,
            closed: ticked(&of("closed")),
        };
    }
    Ok(OwnWord {
        contact: Contact {
            name: text("contact")?,
            telephone: text("telephone")?,
            email: text("email")?,
            hours: text("hours")?,
        },
        assesses_at_weekends: ticked("assesses"),
        accepts_discharges_at_weekends: ticked("accepts"),
        closed_to_admissions: ticked("closed"),
        beds_total: beds("total")?,
        beds_available: beds("free")?,
        beds_by_type,
        capabilities,
    })
}

pub(super) async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    query: &str,
    refused: Option<Refused<'_>>,
) -> Response {
    let done = match query {
        "done=kept" => "Your entry is kept. Hospitals see it now.",
        "done=confirmed" => "It is kept that what stands here is still correct.",
        _ => "",
    };
    let now = app.gateway.clock().now();
    let looked = async {
        let homes = app.gateway.own_entries(&attendant(who)).await?;
        Ok::<_, StoreError>((shell(app, who).await?.0, homes))
    };
    match looked.await {
        Ok((shell, homes)) => {
            let of = |home: &CareHome| {
                OwnHome::new(
                    home,
                    refused.as_ref().filter(|refused| sent(refused.body, "ods") == home.ods.as_str()),
                    now,
                )
            };
            let homes: Vec<OwnHome> = homes.iter().map(of).collect();
            let (status, error) = match &refused {
                None => (StatusCode::OK, None),
                Some(refused) => {
                    let ods = sent(refused.body, "ods");
                    let (status, error) = refused.told(&ods, now);
                    (status, Some(error))
                }
            };
            page(headers, status, &OwnPage { shell, done, errors: error.into_iter().collect(), homes })
        }
        Err(error) => store_failed(&error),
    }
}

impl Refused<'_> {
    fn told(&self, ods: &str, now: Timestamp) -> (StatusCode, FormError) {
        match &self.why {
            Why::NotSo(not_so) => {
                let error = FormError { field: format!("{ods}-{}", not_so.field), text: not_so.why.clone() };
                (StatusCode::UNPROCESSABLE_ENTITY, error)
            }
            Why::Overtaken(by) => {
                let who = match by {
                    Some((name, at)) => format!("{name} changed this entry, {}", dates::near_moment(*at, now)),
                    None => "Somebody changed this entry".to_owned(),
                };
                let text = format!("{who}, after you had opened it. Nothing was kept of what you sent: look again");
                (StatusCode::CONFLICT, FormError { field: format!("{ods}-now"), text })
            }
        }
    }
}
