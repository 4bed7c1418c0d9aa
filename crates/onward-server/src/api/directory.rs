//! `GET HealthcareService` and `GET Location`: hospitals find care homes by what those say of themselves. Nothing in it is about
//! a patient, so that everything that is asked may stand in an address.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use onward_core::directory::{Beds, CareHome};
use onward_core::{OdsCode, Timestamp};
use onward_fhir::authored::{HomeContent, SearchEntry, healthcare_service, location, searchset};
use onward_fhir::systems;
use onward_gateway::directory::{Characteristic, HomeQuery, Wanted, typed_beds};

use super::edge::FHIR_JSON;
use crate::app::App;
use crate::auth::table::Action;
use crate::listener::Connection;
use crate::outcome;

/// Homes on one page when `_count` does not say.
const COUNT: usize = 50;
/// The most that `_count` may ask for.
const COUNT_MAX: usize = 200;

/// As which resource a home is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Location,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Service => "HealthcareService",
            Self::Location => "Location",
        }
    }

    fn action(self) -> Action {
        match self {
            Self::Service => Action::SearchDirectory,
            Self::Location => Action::SearchPlaces,
        }
    }

    fn understood(self) -> &'static str {
        match self {
            Self::Service => {
                "understood are characteristic, identifier, name, location.address, location.address-city, \
                 location.address-postalcode, _count and _cursor"
            }
            Self::Location => {
                "understood are identifier, name, address, address-city, address-postalcode, _count and _cursor"
            }
        }
    }
}

/// `GET HealthcareService?…`.
pub async fn services(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    search(&app, &headers, &connection, Kind::Service, &query.unwrap_or_default()).await
}

/// `GET Location?…`.
pub async fn locations(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    search(&app, &headers, &connection, Kind::Location, &query.unwrap_or_default()).await
}

/// `GET HealthcareService/{id}`.
pub async fn service(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    read(&app, &headers, &connection, Kind::Service, &id).await
}

/// `GET Location/{id}`.
pub async fn one_location(
    State(app): State<Arc<App>>,
    connection: Connection,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    read(&app, &headers, &connection, Kind::Location, &id).await
}

async fn read(app: &App, headers: &HeaderMap, connection: &Connection, kind: Kind, id: &str) -> Response {
    let caller = match super::allowed(app, headers, connection, kind.action()).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let Ok(ods) = id.parse::<OdsCode>() else { return outcome::not_found().into_response() };
    let query = HomeQuery { ods: Some(ods.clone()), ..HomeQuery::default() };
    let asked = format!("{}/{ods}", kind.name());
    match app.gateway.find_homes(&caller.agent(), caller.request_id.as_deref(), &query, asked).await {
        // Under its own code only: an identifier of a resource is not one of several names.
        Ok(homes) => match homes.iter().find(|home| home.ods == ods) {
            Some(home) => ([(header::CONTENT_TYPE, FHIR_JSON)], resource(kind, home)).into_response(),
            None => outcome::not_found().into_response(),
        },
        Err(error) => outcome::store(&error).into_response(),
    }
}

async fn search(app: &App, headers: &HeaderMap, connection: &Connection, kind: Kind, raw: &str) -> Response {
    let caller = match super::allowed(app, headers, connection, kind.action()).await {
        Ok(caller) => caller,
        Err(response) => return response,
    };
    let search = match Search::read(kind, raw) {
        Ok(search) => search,
        Err(text) => return outcome::bad_request(text).into_response(),
    };
    let asked = format!("{}?{raw}", kind.name());
    match app.gateway.find_homes(&caller.agent(), caller.request_id.as_deref(), &search.query, asked).await {
        Ok(homes) => ([(header::CONTENT_TYPE, FHIR_JSON)], bundle(app, kind, &search, &homes)).into_response(),
        Err(error) => outcome::store(&error).into_response(),
    }
}

/// What was asked for.
struct Search {
    query: HomeQuery,
    count: usize,
    /// Homes after this code.
    after: Option<OdsCode>,
    /// What was understood, for our links.
    given: Vec<(String, String)>,
}

impl Search {
    fn read(kind: Kind, raw: &str) -> Result<Self, &'static str> {
        let mut search = Self { query: HomeQuery::default(), count: COUNT, after: None, given: Vec::new() };
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            search.take(kind, &name, &value)?;
            if name != "_cursor" {
                search.given.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(search)
    }

    /// Takes in one parameter. Parameters that are not understood are refused, not ignored.
    fn take(&mut self, kind: Kind, name: &str, value: &str) -> Result<(), &'static str> {
        let (bare, anywhere) = match name.strip_suffix(":contains") {
            Some(bare) => (bare, true),
            None => (name, false),
        };
        let text = || if anywhere { Wanted::containing(value) } else { Wanted::beginning(value) };
        let field = match (kind, bare) {
            (Kind::Service, _) => bare.strip_prefix("location.").unwrap_or(if bare == "name" { bare } else { "" }),
            (Kind::Location, _) => bare,
        };
        let query = &mut self.query;
        let place = match field {
            "address" => &mut query.place,
            "address-city" => &mut query.locality,
            "address-postalcode" => &mut query.postcode,
            "name" => &mut query.name,
            _ => return self.take_other(kind, name, value),
        };
        if place.replace(text()).is_some() {
            return Err("a parameter of text is given twice");
        }
        Ok(())
    }

    fn take_other(&mut self, kind: Kind, name: &str, value: &str) -> Result<(), &'static str> {
        match (kind, name) {
            (Kind::Service, "characteristic") => {
                let read = |token: &str| token.rsplit('|').next().unwrap_or_default().parse::<Characteristic>();
                let group: Result<Vec<_>, _> = value.split(',').map(read).collect();
                self.query.characteristics.push(group.map_err(
                    |_| "characteristic takes codes of https://onward.example/CodeSystem/care-home-characteristic",
                )?);
            }
            (_, "identifier") => {
                let (system, code) = value.split_once('|').unwrap_or((systems::ODS_ORGANISATION, value));
                if system == systems::CQC_LOCATION {
                    self.query.cqc_location = Some(code.to_owned());
                    return Ok(());
                }
                let known = systems::is_ods(system);
                let code = code.parse().ok().filter(|_| known);
                self.query.ods = Some(code.ok_or(
                    "identifier takes an ODS code, with or without its system, or a CQC location with its system",
                )?);
            }
            (_, "_count") => {
                let count: usize = value.parse().map_err(|_| "_count takes a number")?;
                self.count = count.clamp(1, COUNT_MAX);
            }
            (_, "_cursor") => self.after = Some(value.parse().map_err(|_| "the cursor is none of ours")?),
            (_, "_format") => {}
            _ => return Err(kind.understood()),
        }
        Ok(())
    }
}

fn bundle(app: &App, kind: Kind, search: &Search, homes: &[CareHome]) -> String {
    let base = format!("{}/fhir/R4/{}", app.gateway.settings().base_url, kind.name());
    // By code, as the store gives them: a cursor is the last code of a page.
    let rest: Vec<&CareHome> =
        homes.iter().filter(|home| search.after.as_ref().is_none_or(|after| home.ods > *after)).collect();
    let shown = &rest[..rest.len().min(search.count)];
    let link = |cursor: Option<&OdsCode>| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&search.given);
        if let Some(cursor) = cursor {
            query.append_pair("_cursor", cursor.as_str());
        }
        let query = query.finish();
        if query.is_empty() { base.clone() } else { format!("{base}?{query}") }
    };
    let mut links = vec![("self", link(search.after.as_ref()))];
    if rest.len() > shown.len()
        && let Some(last) = shown.last()
    {
        links.push(("next", link(Some(&last.ods))));
    }
    let entry =
        |home: &&CareHome| SearchEntry { full_url: format!("{base}/{}", home.ods), resource: resource(kind, home) };
    let entries: Vec<SearchEntry> = shown.iter().map(entry).collect();
    searchset(&entries, &links, Some(homes.len() as u64))
}

fn resource(kind: Kind, home: &CareHome) -> String {
    let content = content(home);
    match kind {
        Kind::Service => healthcare_service(&content),
        Kind::Location => location(&content),
    }
}

fn content(home: &CareHome) -> HomeContent {
    let beds = |beds: Beds| format!("{} with nursing, {} without", beds.with_nursing, beds.without_nursing);
    let when = |at: Timestamp| format!("told {at}");
    let characteristic = |each: Characteristic| {
        let told = match each {
            Characteristic::Need(need) => Some(beds(home.capabilities.of(need).beds)),
            Characteristic::Vacant(bed_type) => Some(typed_beds(home.beds_by_type.of(bed_type))),
            _ => None,
        };
        (each.as_str(), each.title(), told)
    };
    let by_type =
        home.beds_by_type.told().map(|(bed_type, beds)| format!(" {}: {}.", bed_type.title(), typed_beds(beds)));
    HomeContent {
        ods: home.ods.to_string(),
        cqc_location: home.cqc_location.clone(),
        name: home.name.clone(),
        address: home.address.clone(),
        locality: home.locality.clone(),
        postcode: home.postcode.clone(),
        telephone: home.contact.telephone.clone(),
        email: home.contact.email.clone(),
        hours: home.contact.hours.clone(),
        closed: home.closed_to_admissions,
        characteristics: Characteristic::all().filter(|each| each.holds(home)).map(characteristic).collect(),
        beds: format!(
            "{}All beds: {}. Free: {}, {}.{} This books no bed: ring the home.",
            if home.closed_to_admissions { "Closed to admissions. " } else { "" },
            beds(home.beds_total),
            beds(home.beds_available),
            home.beds_updated.map_or_else(|| "never told when".to_owned(), when),
            by_type.collect::<String>(),
        ),
    }
}
