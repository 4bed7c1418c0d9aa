//! Erasure by two leads, and legal holds, which forbid it (UK GDPR Articles 17 and 18): for those who have just signed in. The second
//! lead writes the number of the person as well, so that nobody confirms what they have not looked up.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use onward_core::store::{ErasureGround, ErasureOutcome, Lifted, StoreError};
use onward_gateway::erasing::{AskedErasure, Confirmed};
use onward_gateway::explore::Inquiry;
use onward_transform::render::dates;
use uuid::Uuid;

use super::super::components::{Choice, Field, FormError};
use super::super::{OnlyGet, Shell, attendant, operations, page, see_other, sent, shell, store_failed, trouble};
use super::{NOTHING, Tab, TabLink, nhs_number, own_organisation};
use crate::app::App;
use crate::people::SignedIn;

#[derive(Template)]
#[template(path = "audit/rights.html")]
struct RightsPage {
    shell: Shell,
    tabs: Vec<TabLink>,
    done: &'static str,
    errors: Vec<FormError>,
    forms: Forms,
    grounds: Vec<Choice>,
    requests: Vec<Row>,
    holds: Vec<Row>,
}

/// A request or an order.
struct Row {
    id: String,
    what: &'static str,
    by: String,
    reason: String,
    at: String,
    /// Until when a request can be confirmed, in words; empty of orders.
    until: String,
    lapsed: bool,
    own: bool,
    /// What must be written to decide on it.
    field: Field,
    /// Why a request is refused; of orders not used.
    refusal: Field,
}

/// The forms with what was sent in them, and what is wrong with it.
struct Forms {
    organisations: Vec<Choice>,
    kept_for: Field,
    kept: Field,
    kept_reason: Field,
    erased_for: Field,
    erased: Field,
    erased_reason: Field,
    ground: Field,
    /// What is wrong with one of the rows: the field of it, and what.
    row: Option<(String, String)>,
}

impl Forms {
    fn new(who: &SignedIn) -> Self {
        let field = |id: &str, name: &str, label: &str, hint: &str| Field {
            name: name.to_owned(),
            hint: hint.to_owned(),
            ..Field::new(id, label)
        };
        let whose = |id: &str| Field {
            value: who.organisations.first().map(ToString::to_string).unwrap_or_default(),
            ..field(id, "organisation", "For which organisation", "")
        };
        let number = "10 digits. It is sent by form and stands in no address";
        let reason = "Such as a case number. It is kept with your name. Leave out whom it is about";
        Self {
            organisations: who.organisations.iter().map(|ods| Choice::new(ods.to_string(), ods.to_string())).collect(),
            kept_for: whose("kept-for"),
            kept: field("kept", "patient", "NHS number of the person", number),
            kept_reason: field("kept-reason", "reason", "Why must it be kept?", reason),
            erased_for: whose("erased-for"),
            erased: field("erased", "patient", "NHS number of the person", number),
            erased_reason: field("erased-reason", "reason", "Why?", reason),
            ground: Field::new("ground", "Why may it be erased?"),
            row: None,
        }
    }

    /// What is wrong, each with a place on the page: `shown` are the fields of its rows. A row that went meanwhile is found under its
    /// heading, and an organisation that stands in no field of its own beside the number.
    fn errors(&self, shown: &[&str]) -> Vec<FormError> {
        let kept = [&self.kept_for, &self.kept, &self.kept_reason];
        let fields = kept.into_iter().chain([&self.erased_for, &self.erased, &self.ground, &self.erased_reason]);
        let wrong = fields.filter(|field| !field.error.is_empty()).map(|field| {
            let place = match field.id.as_str() {
                "kept-for" if !self.several() => &self.kept.id,
                "erased-for" if !self.several() => &self.erased.id,
                _ => &field.id,
            };
            FormError { field: place.clone(), text: field.error.clone() }
        });
        let row = self.row.iter().map(|(field, text)| {
            let field = if shown.contains(&field.as_str()) { field } else { "requests" };
            FormError { field: field.to_owned(), text: text.clone() }
        });
        row.chain(wrong).collect()
    }

    fn several(&self) -> bool {
        self.organisations.len() > 1
    }
}

fn row_field(id: Uuid) -> String {
    format!("row-{id}")
}

fn refusal_field(id: Uuid) -> String {
    format!("refusal-{id}")
}

fn reason(body: &[u8], field: &mut Field) -> Option<String> {
    operations::reason(body).map_err(|error| error.clone_into(&mut field.error)).ok()
}

/// Puts what was sent into the fields.
fn fill(body: &[u8], fields: [&mut Field; 3]) {
    for field in fields {
        field.value = sent(body, &field.name);
    }
}

/// `GET /audit/rights`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    who: SignedIn,
    _: OnlyGet,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let done = match query.as_deref() {
        Some("done=kept") => "Nothing about this person is erased until the hold is lifted.",
        Some("done=lifted") => "The hold is lifted.",
        Some("done=asked") => "Your request is kept. Another lead of your organisation must confirm it.",
        Some("done=refused") => "The request is taken back. Nothing was erased.",
        Some("done=erased") => "The person's keys are destroyed. Nothing about them can be read any more.",
        _ => "",
    };
    show(&app, &who, &headers, Forms::new(&who), done).await
}

/// `POST /audit/rights/holds`: forbids to erase a person.
pub(super) async fn keep(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let mut forms = Forms::new(&who);
    fill(&body, [&mut forms.kept_for, &mut forms.kept, &mut forms.kept_reason]);
    let organisation = own_organisation(&mut forms.kept_for, &who);
    let patient = nhs_number(&mut forms.kept);
    let reason = reason(&body, &mut forms.kept_reason);
    let (Some(organisation), Some(patient), Some(reason)) = (organisation, patient, reason) else {
        return show(&app, &who, &headers, forms, "").await;
    };
    let person = attendant(&who);
    let asked = Inquiry { who: &person, organisation: &organisation, reason: &reason, asked: String::new() };
    match app.gateway.place_hold(&asked, &patient).await {
        Ok(true) => see_other("/audit/rights?done=kept"),
        Ok(false) => {
            NOTHING.clone_into(&mut forms.kept.error);
            show(&app, &who, &headers, forms, "").await
        }
        Err(error) => store_failed(&error),
    }
}

/// `POST /audit/rights/holds/{id}`: ends a hold.
pub(super) async fn lift(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<Uuid>() else { return trouble(StatusCode::NOT_FOUND) };
    let reason = match operations::reason(&body) {
        Ok(reason) => reason,
        Err(error) => {
            let forms = Forms { row: Some((row_field(id), error.to_owned())), ..Forms::new(&who) };
            return show(&app, &who, &headers, forms, "").await;
        }
    };
    let person = attendant(&who);
    for organisation in &who.organisations {
        let asked = Inquiry { who: &person, organisation, reason: &reason, asked: String::new() };
        match app.gateway.lift_hold(&asked, id).await {
            Ok(Lifted::Yes) => return see_other("/audit/rights?done=lifted"),
            Ok(Lifted::SamePerson) => {
                let wrong = "You placed it: another lead of your organisation must lift it";
                let forms = Forms { row: Some((row_field(id), wrong.to_owned())), ..Forms::new(&who) };
                return show(&app, &who, &headers, forms, "").await;
            }
            Ok(Lifted::NoSuchHold) => {}
            Err(error) => return store_failed(&error),
        }
    }
    trouble(StatusCode::NOT_FOUND)
}

/// `POST /audit/rights/erasures`: asks for an erasure.
pub(super) async fn ask(State(app): State<Arc<App>>, who: SignedIn, headers: HeaderMap, body: Bytes) -> Response {
    let mut forms = Forms::new(&who);
    fill(&body, [&mut forms.erased_for, &mut forms.erased, &mut forms.erased_reason]);
    let organisation = own_organisation(&mut forms.erased_for, &who);
    let patient = nhs_number(&mut forms.erased);
    let reason = reason(&body, &mut forms.erased_reason);
    forms.ground.value = sent(&body, "ground");
    let ground = forms.ground.value.parse::<ErasureGround>().ok();
    if ground.is_none() {
        "Choose why: records that care needs are not erased on request".clone_into(&mut forms.ground.error);
    }
    let (Some(organisation), Some(patient), Some(reason), Some(ground)) = (organisation, patient, reason, ground)
    else {
        return show(&app, &who, &headers, forms, "").await;
    };
    let person = attendant(&who);
    let asked = Inquiry { who: &person, organisation: &organisation, reason: &reason, asked: String::new() };
    let refused = match app.gateway.ask_erasure(&asked, &patient, ground).await {
        Ok(AskedErasure::Kept) => return see_other("/audit/rights?done=asked"),
        Ok(AskedErasure::Nothing) => NOTHING,
        Ok(AskedErasure::NotAlone) => NOT_ALONE,
        Err(error) => return store_failed(&error),
    };
    refused.clone_into(&mut forms.erased.error);
    show(&app, &who, &headers, forms, "").await
}

/// Said of everything that the organisation may not know of: what others sent, and whose hold stands.
const NOT_ALONE: &str = "Your organisation cannot decide this alone, or a legal hold forbids it. Nothing was erased. Ask whoever runs \
    the gateway";

/// `POST /audit/rights/erasures/{id}/refuse`: takes a request back.
pub(super) async fn refuse(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<Uuid>() else { return trouble(StatusCode::NOT_FOUND) };
    let reason = match operations::reason(&body) {
        Ok(reason) => reason,
        Err(error) => {
            let forms = Forms { row: Some((refusal_field(id), error.to_owned())), ..Forms::new(&who) };
            return show(&app, &who, &headers, forms, "").await;
        }
    };
    let person = attendant(&who);
    for organisation in &who.organisations {
        let asked = Inquiry { who: &person, organisation, reason: &reason, asked: String::new() };
        match app.gateway.refuse_erasure(&asked, id).await {
            Ok(true) => return see_other("/audit/rights?done=refused"),
            Ok(false) => {}
            Err(error) => return store_failed(&error),
        }
    }
    trouble(StatusCode::NOT_FOUND)
}

/// `POST /audit/rights/erasures/{id}`: the second person's word.
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    who: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(id) = id.parse::<Uuid>() else { return trouble(StatusCode::NOT_FOUND) };
    let mut number = Field { value: sent(&body, "patient"), ..Field::default() };
    let Some(patient) = nhs_number(&mut number) else {
        let forms = Forms { row: Some((row_field(id), number.error)), ..Forms::new(&who) };
        return show(&app, &who, &headers, forms, "").await;
    };
    let person = attendant(&who);
    for organisation in &who.organisations {
        let asked = Inquiry { who: &person, organisation, reason: "second person", asked: String::new() };
        let wrong = match app.gateway.confirm_erasure(&asked, id, &patient).await {
            Ok(None) => continue,
            Ok(Some(Confirmed::Decided(ErasureOutcome::Erased { .. }))) => {
                return see_other("/audit/rights?done=erased");
            }
            Ok(Some(Confirmed::Decided(refused))) => why(&refused),
            Ok(Some(Confirmed::AnotherPerson)) => {
                "This is not the number of the person whom the request is about. Nothing was erased".to_owned()
            }
            Err(error) => return store_failed(&error),
        };
        let forms = Forms { row: Some((row_field(id), wrong)), ..Forms::new(&who) };
        return show(&app, &who, &headers, forms, "").await;
    }
    trouble(StatusCode::NOT_FOUND)
}

fn why(outcome: &ErasureOutcome) -> String {
    match outcome {
        ErasureOutcome::SamePerson => "You asked for it: another lead must confirm".to_owned(),
        ErasureOutcome::Lapsed => "It was not confirmed in time: ask for it anew".to_owned(),
        ErasureOutcome::UnderWay { queued, holds } => format!(
            "Something about this person is under way: {queued} copies or answers still to be sent, {holds} holds open. Nothing was \
             erased"
        ),
        ErasureOutcome::OthersToo | ErasureOutcome::OnLegalHold => NOT_ALONE.to_owned(),
        ErasureOutcome::KeysChanged => {
            "Something about this person came in meanwhile. Look again, and confirm again".to_owned()
        }
        ErasureOutcome::NoSuchRequest | ErasureOutcome::Erased { .. } => "This was decided meanwhile".to_owned(),
    }
}

async fn show(app: &App, who: &SignedIn, headers: &HeaderMap, forms: Forms, done: &'static str) -> Response {
    let now = app.gateway.clock().now();
    let me = who.user.to_string();
    let near = |at| dates::near_moment(at, now);
    let of_row = |place: String, name: &str, label: &str| Field {
        name: name.to_owned(),
        error: forms.row.as_ref().filter(|row| row.0 == place).map(|row| row.1.clone()).unwrap_or_default(),
        ..Field::new(&place, label)
    };
    let field = |id: Uuid, name: &str, label: &str| of_row(row_field(id), name, label);
    let refusal = |id: Uuid| of_row(refusal_field(id), "reason", "Why is it refused?");
    let looked = async {
        let (mut requests, mut holds) = (Vec::new(), Vec::new());
        for organisation in &who.organisations {
            for open in app.gateway.open_erasures(organisation).await? {
                let request = &open.pending.request;
                requests.push(Row {
                    id: request.id.to_string(),
                    what: ground_words(request.ground),
                    reason: request.reason.clone(),
                    at: near(request.at),
                    until: dates::moment(request.lapses()),
                    lapsed: open.has_lapsed(now),
                    own: open.asked_by(&me),
                    field: field(request.id, "patient", "NHS number of the person, from your own papers"),
                    refusal: refusal(request.id),
                    by: open.by,
                });
            }
            for own in app.gateway.own_holds(organisation).await? {
                let order = &own.hold.order;
                holds.push(Row {
                    id: order.id.to_string(),
                    what: "Nothing about one person is erased",
                    reason: order.reason.clone(),
                    at: near(order.at),
                    until: String::new(),
                    lapsed: false,
                    own: own.placed_by(&me),
                    refusal: Field::default(),
                    field: field(order.id, "reason", "Why is it lifted?"),
                    by: own.by,
                });
            }
        }
        Ok::<_, StoreError>((shell(app, who).await?.0, requests, holds))
    };
    match looked.await {
        Ok((shell, requests, holds)) => {
            let refusals = requests.iter().map(|row| &row.refusal);
            let fields = requests.iter().chain(&holds).map(|row| &row.field).chain(refusals);
            let shown: Vec<&str> = fields.map(|field| field.id.as_str()).collect();
            let errors = forms.errors(&shown);
            let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
            let grounds = ErasureGround::ALL.iter().map(|ground| Choice::new(ground.as_str(), ground_words(*ground)));
            let grounds = grounds.collect();
            let tabs = Tab::Rights.links();
            page(headers, status, &RightsPage { shell, tabs, done, errors, forms, grounds, requests, holds })
        }
        Err(error) => store_failed(&error),
    }
}

fn ground_words(ground: ErasureGround) -> &'static str {
    match ground {
        ErasureGround::RetentionEnded => "Its retention is over, and nobody needs it",
        ErasureGround::WrongPerson => "It was filed under this person by mistake",
        ErasureGround::UnlawfulProcessing => "It should never have been processed here",
        ErasureGround::LegalObligation => "A law or a court demands it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(id: &str, error: &str) -> Field {
        Field { error: error.to_owned(), ..Field::new(id, "") }
    }

    #[test]
    fn every_error_leads_to_a_place_on_the_page() {
        let gone = Uuid::from_u128(7);
        let one = vec![Choice::new("R9Z", "R9Z")];
        let forms = |organisations: Vec<Choice>, row| Forms {
            organisations,
            kept_for: field("kept-for", "not yours"),
            kept: field("kept", ""),
            kept_reason: field("kept-reason", ""),
            erased_for: field("erased-for", "not yours"),
            erased: field("erased", ""),
            erased_reason: field("erased-reason", "say why"),
            ground: field("ground", ""),
            row,
        };
        let places = |forms: &Forms, shown: &[&str]| {
            forms.errors(shown).into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        let decided = Some((row_field(gone), "This was decided meanwhile".to_owned()));
        let rest = ["kept", "erased", "erased-reason"];
        assert_eq!(places(&forms(one.clone(), decided.clone()), &[]), [&["requests"], &rest[..]].concat());
        let shown = row_field(gone);
        assert_eq!(places(&forms(one.clone(), decided), &[&shown])[0], shown);
        let several = [one.clone(), one].concat();
        assert_eq!(places(&forms(several, None), &[]), ["kept-for", "erased-for", "erased-reason"]);
    }
}
