//! A hospital looks for homes by what those say of themselves.

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::Timestamp;
use onward_core::directory::{BedType, CareHome, Need};
use onward_core::store::StoreError;
use onward_gateway::directory::{Characteristic, HomeQuery, Wanted, typed_beds};
use onward_transform::render::dates;

use super::super::components::{Choice, Field};
use super::super::{Shell, page, sent, shell, store_failed, trouble};
use super::{age, beds};
use crate::app::App;
use crate::people::SignedIn;

/// Homes on one page at most.
const ROWS_MAX: usize = 100;
/// Longest text that is looked for, in characters.
const TEXT_MAX: usize = 200;

/// The page.
#[derive(Template)]
#[template(path = "directory/search.html")]
pub struct SearchPage {
    shell: Shell,
    need: Field,
    needs: Vec<Choice>,
    locality: Field,
    vacancy: Field,
    vacancies: Vec<Choice>,
    weekend: bool,
    heading: String,
    filter: String,
    correct_at: String,
    cut: bool,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    ods: String,
    place: String,
    cqc: String,
    contact: Vec<String>,
    weekends: &'static str,
    free: String,
    /// Beds by type, as far as the home tells them.
    types: Vec<String>,
    closed: bool,
    age: String,
    old: bool,
    offers: Vec<String>,
}

/// What a hospital looks for on the page.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    need: Option<Characteristic>,
    vacancy: Option<Characteristic>,
    weekend: bool,
    locality: String,
}

impl Looked {
    /// As the address says; `None` when that makes no sense.
    fn read(query: &str) -> Option<Self> {
        let text = |name: &str| sent(query.as_bytes(), name);
        let chosen = |name: &str| match text(name).as_str() {
            "" => Some(None),
            word => word.parse::<Characteristic>().ok().map(Some),
        };
        let locality = text("locality");
        (locality.chars().count() <= TEXT_MAX).then_some(())?;
        Some(Self { need: chosen("need")?, vacancy: chosen("vacancy")?, weekend: text("weekend") == "1", locality })
    }

    fn wanted(&self) -> Vec<Characteristic> {
        let weekend = self.weekend.then_some(Characteristic::AcceptsAtWeekends);
        [self.need, self.vacancy, weekend].into_iter().flatten().collect()
    }

    fn query(&self) -> HomeQuery {
        HomeQuery {
            characteristics: self.wanted().into_iter().map(|each| vec![each]).collect(),
            place: (!self.locality.is_empty()).then(|| Wanted::containing(&self.locality)),
            ..HomeQuery::default()
        }
    }
}

pub(super) async fn show(app: &App, who: &SignedIn, headers: &HeaderMap, query: &str) -> Response {
    let Some(looked) = Looked::read(query) else { return trouble(StatusCode::BAD_REQUEST) };
    let now = app.gateway.clock().now();
    let told = format!("directory?{query}");
    let found = async {
        let homes = app.gateway.find_homes(&who.agent(), who.request_id.as_deref(), &looked.query(), told).await?;
        Ok::<_, StoreError>((shell(app, who).await?.0, homes))
    };
    match found.await {
        Ok((shell, homes)) => page(headers, StatusCode::OK, &SearchPage::new(shell, &looked, homes, now)),
        Err(error) => store_failed(&error),
    }
}

impl SearchPage {
    /// The list at `now` of the homes that were found.
    #[must_use]
    pub fn new(shell: Shell, looked: &Looked, mut homes: Vec<CareHome>, now: Timestamp) -> Self {
        homes.sort_by(|a, b| (&a.name, &a.ods).cmp(&(&b.name, &b.ods)));
        let mut filter: Vec<String> = looked.wanted().into_iter().map(|each| each.title().to_owned()).collect();
        if !looked.locality.is_empty() {
            filter.push(format!("in “{}”", looked.locality));
        }
        let word = |chosen: Option<Characteristic>| chosen.map(|each| each.as_str().to_owned()).unwrap_or_default();
        Self {
            shell,
            need: Field { value: word(looked.need), ..Field::new("need", "Need") },
            needs: choices("Any", Need::ALL.iter().map(|need| Characteristic::Need(*need))),
            locality: Field {
                hint: "Any part of the address or postcode".to_owned(),
                value: looked.locality.clone(),
                ..Field::new("locality", "Locality")
            },
            vacancy: Field { value: word(looked.vacancy), ..Field::new("vacancy", "Vacancy") },
            vacancies: choices(
                "Free or not",
                [Characteristic::FreeBed, Characteristic::FreeBedWithNursing, Characteristic::FreeBedWithoutNursing]
                    .into_iter()
                    .chain(BedType::ALL.iter().map(|bed_type| Characteristic::Vacant(*bed_type))),
            ),
            weekend: looked.weekend,
            heading: match homes.len() {
                0 => "No home fits".to_owned(),
                1 => "1 home".to_owned(),
                count => format!("{count} homes"),
            },
            filter: match filter.is_empty() {
                true => "All homes whose entry is in use.".to_owned(),
                false => format!("Only homes that say: {}.", filter.join("; ")),
            },
            correct_at: dates::time_of_day(now),
            cut: homes.len() > ROWS_MAX,
            rows: homes.iter().take(ROWS_MAX).map(|home| Row::new(home, now)).collect(),
        }
    }
}

fn choices(any: &'static str, of: impl IntoIterator<Item = Characteristic>) -> Vec<Choice> {
    let named = of.into_iter().map(|each| Choice::new(each.as_str(), each.title()));
    std::iter::once(Choice::new("", any)).chain(named).collect()
}

/// The Care Quality Commission's name of the home, and what it last said of it; empty where neither is told.
fn cqc(home: &CareHome) -> String {
    let rated = match (home.cqc_rating.as_str(), home.cqc_rated) {
        ("", _) => None,
        (rating, Some(on)) => Some(format!("rated {rating}, {}", dates::fhir(&on.to_string()))),
        (rating, None) => Some(format!("rated {rating}")),
    };
    let location = Some(&home.cqc_location).filter(|id| !id.is_empty()).map(|id| format!("location {id}"));
    let parts: Vec<String> = location.into_iter().chain(rated).collect();
    if parts.is_empty() { String::new() } else { format!("CQC {}", parts.join(", ")) }
}

impl Row {
    fn new(home: &CareHome, now: Timestamp) -> Self {
        let (age, old) = age(home, now);
        let contact = [&home.contact.name, &home.contact.telephone, &home.contact.email, &home.contact.hours];
        let offers = Need::ALL.iter().map(|need| (need, home.capabilities.of(*need)));
        let offers = offers.filter(|(_, told)| told.offered);
        Self {
            name: home.name.clone(),
            ods: home.ods.to_string(),
            place: format!("{} {}", home.locality, home.postcode),
            cqc: cqc(home),
            contact: contact.into_iter().filter(|text| !text.is_empty()).cloned().collect(),
            weekends: match (home.assesses_at_weekends, home.accepts_discharges_at_weekends) {
                (true, true) => "Assesses and accepts",
                (true, false) => "Assesses, does not accept",
                (false, true) => "Accepts, does not assess",
                (false, false) => "Neither assesses nor accepts",
            },
            free: beds(home.beds_available),
            types: home
                .beds_by_type
                .told()
                .map(|(bed_type, beds)| format!("{}: {}", bed_type.title(), typed_beds(beds)))
                .collect(),
            closed: home.closed_to_admissions,
            age,
            old,
            offers: offers.map(|(need, told)| format!("{} ({})", need.title(), beds(told.beds))).collect(),
        }
    }
}
