//! The entry that a home keeps itself.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::directory::{Beds, Capabilities, CareHome, Contact, Need, OwnWord};
use onward_core::store::StoreError;
use onward_core::{OdsCode, Timestamp};
use onward_gateway::directory::{NotSo, judge};
use onward_transform::render::dates;

use super::super::components::{Field, FormError};
use super::super::{Shell, attendant, page, see_other, sent, shell, store_failed, trouble};
use super::{age, beds};
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

struct OwnHome {
    name: String,
    ods: String,
    place: String,
    age: String,
    old: bool,
    free: String,
    closed: bool,
    fixed: Vec<String>,
    contact: Vec<Field>,
    ticks: Vec<Tick>,
    beds: [[Field; 2]; 2],
    needs: Vec<NeedRow>,
}

/// A box to tick.
struct Tick {
    id: String,
    name: &'static str,
    words: &'static str,
    ticked: bool,
}

struct NeedRow {
    title: &'static str,
    tick: Tick,
    error: String,
    with: Field,
    without: Field,
}

/// What was sent and cannot be so.
pub(super) struct Wrong<'b> {
    not_so: NotSo,
    body: &'b [u8],
}

/// `POST /directory/confirm`: what stands there is still correct.
pub(super) async fn confirm(State(app): State<Arc<App>>, who: SignedIn, body: Bytes) -> Response {
    keep(&app, &who, &body, None, "/directory?done=confirmed").await
}

/// `POST /directory/entry`: what the home says of itself.
pub(super) async fn entry(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    match read(&body).and_then(|word| judge(&word).map(|()| word)) {
        Ok(word) => keep(&app, &who, &body, Some(word), "/directory?done=kept").await,
        Err(not_so) => show(&app, &who, &headers, "", Some(Wrong { not_so, body: &body })).await,
    }
}

async fn keep(app: &App, who: &SignedIn, body: &[u8], word: Option<OwnWord>, to: &str) -> Response {
    let Ok(ods) = sent(body, "ods").parse::<OdsCode>() else { return trouble(StatusCode::BAD_REQUEST) };
    match app.gateway.keep_entry(&attendant(who), &ods, word).await {
        Ok(true) => see_other(to),
        Ok(false) => trouble(StatusCode::NOT_FOUND),
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
        capabilities,
    })
}

pub(super) async fn show(
    app: &App,
    who: &SignedIn,
    headers: &HeaderMap,
    query: &str,
    wrong: Option<Wrong<'_>>,
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
                OwnHome::new(home, wrong.as_ref().filter(|wrong| sent(wrong.body, "ods") == home.ods.as_str()), now)
            };
            let homes: Vec<OwnHome> = homes.iter().map(of).collect();
            let errors = wrong.as_ref().map(|wrong| FormError {
                field: format!("{}-{}", sent(wrong.body, "ods"), wrong.not_so.field),
                text: wrong.not_so.why.clone(),
            });
            let status = if errors.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            page(headers, status, &OwnPage { shell, done, errors: errors.into_iter().collect(), homes })
        }
        Err(error) => store_failed(&error),
    }
}

impl OwnHome {
    fn new(home: &CareHome, wrong: Option<&Wrong<'_>>, now: Timestamp) -> Self {
        let error = |name: &str| {
            let of_this = wrong.filter(|wrong| wrong.not_so.field == name);
            of_this.map(|wrong| wrong.not_so.why.clone()).unwrap_or_default()
        };
        let field = |name: &str, label: &str, stands: String| Field {
            id: format!("{}-{name}", home.ods),
            value: wrong.map_or(stands, |wrong| sent(wrong.body, name)),
            error: error(name),
            ..Field::new(name, label)
        };
        let tick = |name: &'static str, words: &'static str, stands: bool| Tick {
            id: format!("{}-{name}", home.ods),
            name,
            words,
            ticked: wrong.map_or(stands, |wrong| sent(wrong.body, name) == "1"),
        };
        let pair = |key: &str, with: &str, without: &str, beds: Beds| {
            [
                field(&format!("{key}-with"), with, beds.with_nursing.to_string()),
                field(&format!("{key}-without"), without, beds.without_nursing.to_string()),
            ]
        };
        let need = |need: &Need| {
            let told = home.capabilities.of(*need);
            let [with, without] = pair(need.as_str(), "Beds with nursing", "Beds without nursing", told.beds);
            let tick = tick(need.as_str(), "We offer this", told.offered);
            NeedRow { title: need.title(), tick, error: error(need.as_str()), with, without }
        };
        let contact = &home.contact;
        let (age, old) = age(home, now);
        Self {
            name: home.name.clone(),
            ods: home.ods.to_string(),
            place: format!("{}, {}", home.address.join(", "), home.postcode),
            age,
            old,
            free: beds(home.beds_available),
            closed: home.closed_to_admissions,
            fixed: vec![
                format!("Covered by the practice {}", home.covering_practice),
                format!("Supplied by the pharmacy {}", home.delivering_pharmacy),
                format!("The entry is used until {}", dates::fhir(&home.expires.to_string())),
            ],
            contact: vec![
                field("contact", "Whom hospitals ring", contact.name.clone()),
                field("telephone", "Telephone", contact.telephone.clone()),
                field("email", "E-mail", contact.email.clone()),
                field("hours", "Admission hours, in words", contact.hours.clone()),
            ],
            ticks: vec![
                tick("assesses", "We assess people at weekends", home.assesses_at_weekends),
                tick("accepts", "We accept discharges at weekends", home.accepts_discharges_at_weekends),
                tick("closed", "We are closed to admissions at present", home.closed_to_admissions),
            ],
            beds: [
                pair("total", "All beds with nursing", "All beds without nursing", home.beds_total),
                pair("free", "Free beds with nursing", "Free beds without nursing", home.beds_available),
            ],
            needs: Need::ALL.iter().map(need).collect(),
        }
    }
}
