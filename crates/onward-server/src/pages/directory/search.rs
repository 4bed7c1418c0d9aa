//! A hospital looks for homes by what those say of themselves.

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::Timestamp;
use onward_core::directory::{CareHome, Need};
use onward_core::store::StoreError;
use onward_gateway::directory::{Characteristic, HomeQuery, Wanted};
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

#[derive(Template)]
#[template(path = "directory/search.html")]
struct SearchPage {
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
    contact: Vec<String>,
    weekends: &'static str,
    free: String,
    closed: bool,
    age: String,
    old: bool,
    offers: Vec<String>,
}

pub(super) async fn show(app: &App, who: &SignedIn, headers: &HeaderMap, query: &str) -> Response {
    let text = |name: &str| sent(query.as_bytes(), name);
    let chosen = |name: &str| match text(name).as_str() {
        "" => Ok(None),
        word => word.parse::<Characteristic>().map(Some),
    };
    let (Ok(need), Ok(vacancy)) = (chosen("need"), chosen("vacancy")) else {
        return trouble(headers, StatusCode::BAD_REQUEST);
    };
    let locality = text("locality");
    if locality.chars().count() > TEXT_MAX {
        return trouble(headers, StatusCode::BAD_REQUEST);
    }
    let weekend = (text("weekend") == "1").then_some(Characteristic::AcceptsAtWeekends);
    let wanted: Vec<Characteristic> = [need, vacancy, weekend].into_iter().flatten().collect();
    let place = (!locality.is_empty()).then(|| Wanted::containing(&locality));
    let asked =
        HomeQuery { characteristics: wanted.iter().map(|each| vec![*each]).collect(), place, ..HomeQuery::default() };
    let now = app.gateway.clock().now();
    let told = format!("directory?{query}");
    let looked = async {
        let found = app.gateway.find_homes(&who.agent(), who.request_id.as_deref(), &asked, told).await?;
        Ok::<_, StoreError>((shell(app, who).await?.0, found))
    };
    match looked.await {
        Ok((shell, mut homes)) => {
            homes.sort_by(|a, b| (&a.name, &a.ods).cmp(&(&b.name, &b.ods)));
            let mut filter: Vec<String> = wanted.iter().map(|each| each.title().to_owned()).collect();
            if !locality.is_empty() {
                filter.push(format!("in “{locality}”"));
            }
            let field = |name: &str, label: &str| Field { value: text(name), ..Field::new(name, label) };
            let template = SearchPage {
                shell,
                need: field("need", "Need"),
                needs: choices("Any", Need::ALL.iter().map(|need| Characteristic::Need(*need))),
                locality: Field {
                    hint: "Any part of the address or postcode".to_owned(),
                    ..field("locality", "Locality")
                },
                vacancy: field("vacancy", "Vacancy"),
                vacancies: choices(
                    "Free or not",
                    [
                        Characteristic::FreeBed,
                        Characteristic::FreeBedWithNursing,
                        Characteristic::FreeBedWithoutNursing,
                    ],
                ),
                weekend: weekend.is_some(),
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
            };
            page(headers, StatusCode::OK, &template)
        }
        Err(error) => store_failed(headers, &error),
    }
}

fn choices(any: &'static str, of: impl IntoIterator<Item = Characteristic>) -> Vec<Choice> {
    let named = of.into_iter().map(|each| Choice::new(each.as_str(), each.title()));
    std::iter::once(Choice::new("", any)).chain(named).collect()
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
            contact: contact.into_iter().filter(|text| !text.is_empty()).cloned().collect(),
            weekends: match (home.assesses_at_weekends, home.accepts_discharges_at_weekends) {
                (true, true) => "Assesses and accepts",
                (true, false) => "Assesses, does not accept",
                (false, true) => "Accepts, does not assess",
                (false, false) => "Neither assesses nor accepts",
            },
            free: beds(home.beds_available),
            closed: home.closed_to_admissions,
            age,
            old,
            offers: offers.map(|(need, told)| format!("{} ({})", need.title(), beds(told.beds))).collect(),
        }
    }
}
