//! A search of PDS as an application may make it: it asks for one match, and gets it only where there is no other.

use jiff::civil::Date;
use onward_core::directory::{Demographics, DirectoryError, Gender, Likeness, Match};
use serde::Deserialize;
use url::Url;

use super::patient::{Patient, strange, told};

/// `Spine-ErrorOrWarningCode`: more people fit than may be told. It comes with 200.
const TOO_MANY: &str = "TOO_MANY_MATCHES";

/// Writes the search into the URL. A search for what sounds alike looks at what was once so by itself, and one for what agrees must not.
pub(super) fn ask_for(url: &mut Url, person: &Demographics, likeness: Likeness) {
    let mut query = url.query_pairs_mut();
    query.append_pair("family", person.family()).append_pair("given", person.given());
    query.append_pair("birthdate", &format!("eq{}", person.birth_date()));
    if let Some(gender) = person.gender() {
        query.append_pair("gender", Gender::as_str(gender));
    }
    if let Some(postcode) = person.postcode() {
        query.append_pair("address-postalcode", postcode);
    }
    let closeness = match likeness {
        Likeness::Exact => "_exact-match",
        Likeness::Alike => "_fuzzy-match",
    };
    query.append_pair(closeness, "true").append_pair("_max-results", "1");
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    resource_type: String,
    r#type: Option<String>,
    total: Option<u64>,
    #[serde(default)]
    entry: Vec<Entry>,
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
struct Entry {
    search: Option<Search>,
    resource: Patient,
}

#[derive(Deserialize)]
struct Search {
    score: Option<f64>,
}

#[derive(Deserialize)]
struct Issue {
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    code: Option<String>,
}

/// Reads the answer as it holds on this day of London.
pub(super) fn read(body: &[u8], likeness: Likeness, today: Date) -> Result<Match, DirectoryError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        strange(&format!("not an answer to a search of PDS at line {}, column {}", error.line(), error.column()))
    })?;
    match (answer.resource_type.as_str(), answer.r#type.as_deref()) {
        ("Bundle", Some("searchset")) => {}
        ("OperationOutcome", _) => {
            let mut codes = answer.issue.iter().filter_map(|issue| issue.details.as_ref()).flat_map(|of| &of.coding);
            return match codes.any(|coding| coding.code.as_deref() == Some(TOO_MANY)) {
                true => Ok(Match::Several),
                false => Err(strange("an outcome that is no answer to a search")),
            };
        }
        _ => return Err(strange("neither the result of a search nor an outcome")),
    }
    let count = answer.entry.len();
    if count > 1 || answer.total.is_some_and(|total| total > count as u64) {
        return Ok(Match::Several);
    }
    let Some(Entry { search, resource }) = answer.entry.into_iter().next() else { return Ok(Match::Nobody) };
    let score = search.and_then(|search| search.score);
    let agrees = score == Some(1.0);
    if likeness == Likeness::Exact && !agrees {
        return Err(strange("an exact search was answered with what does not agree in everything"));
    }
    // An invalidated record is nobody's.
    Ok(told(resource, today)?.map_or(Match::Nobody, |patient| Match::One(Box::new(patient))))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::{Value, json};

    use super::*;

    const TODAY: Date = date(2026, 11, 28);

    fn found(score: Value) -> Value {
        json!({
            "resourceType": "Bundle", "type": "searchset", "total": 1,
            "entry": [{ "search": { "score": score }, "resource": {
                "resourceType": "Patient", "id": "9990000018", "meta": { "security": [{ "code": "U" }] }
            } }]
        })
    }

    fn judged(answer: &Value, likeness: Likeness) -> Result<Match, DirectoryError> {
        read(answer.to_string().as_bytes(), likeness, TODAY)
    }

    #[test]
    fn nobody_is_picked_and_nothing_is_guessed() {
        let one = found(json!(1.0));
        assert!(matches!(judged(&one, Likeness::Exact), Ok(Match::One(_))));
        assert!(matches!(judged(&found(json!(1)), Likeness::Exact), Ok(Match::One(_))), "a number is a number");
        assert!(matches!(judged(&found(json!(0.7)), Likeness::Alike), Ok(Match::One(_))));
        let mut nobody = one.clone();
        nobody["entry"] = json!([]);
        nobody["total"] = json!(0);
        assert_eq!(judged(&nobody, Likeness::Exact), Ok(Match::Nobody));
        let mut several = one.clone();
        several["entry"] = json!([one["entry"][0], one["entry"][0]]);
        assert_eq!(judged(&several, Likeness::Exact), Ok(Match::Several));
        let mut more = one.clone();
        more["total"] = json!(2);
        assert_eq!(judged(&more, Likeness::Exact), Ok(Match::Several), "there are more than are told");
        let mut redacted = one.clone();
        redacted["entry"][0]["resource"]["meta"]["security"][0]["code"] = json!("REDACTED");
        assert_eq!(judged(&redacted, Likeness::Exact), Ok(Match::Nobody));
        let outcome = |code: &str| json!({ "resourceType": "OperationOutcome", "issue": [{ "details": { "coding": [{ "code": code }] } }] });
        assert_eq!(judged(&outcome(TOO_MANY), Likeness::Alike), Ok(Match::Several));
        let mut history = one.clone();
        history["type"] = json!("history");
        let mut other = one.clone();
        other["entry"][0]["resource"]["resourceType"] = json!("RelatedPerson");
        for (strange, likeness) in [
            (found(json!(0.99)), Likeness::Exact),
            (found(json!(null)), Likeness::Exact),
            (outcome("INVALID_VALUE"), Likeness::Exact),
            (history, Likeness::Exact),
            (other, Likeness::Alike),
            (one["entry"][0]["resource"].clone(), Likeness::Exact),
            (json!([]), Likeness::Exact),
        ] {
            match judged(&strange, likeness) {
                Err(DirectoryError::Unintelligible(reason)) => assert!(!reason.contains("9990000018"), "{reason}"),
                other => panic!("{other:?}: {strange}"),
            }
        }
    }

    #[test]
    fn what_is_asked_is_what_an_application_may_ask() {
        let person = Demographics::new("O'Reilly & Sons", "Zoë", date(1944, 3, 8)).expect("whole");
        let asked = |person: &Demographics, likeness| {
            let mut url: Url = "https://pds.example/Patient".parse().expect("a URL");
            ask_for(&mut url, person, likeness);
            url.query().expect("a query").to_owned()
        };
        assert_eq!(
            asked(&person, Likeness::Exact),
            "family=O%27Reilly+%26+Sons&given=Zo%C3%AB&birthdate=eq1944-03-08&_exact-match=true&_max-results=1"
        );
        let narrowed = person.narrowed(Some(Gender::Female), Some("NM4 2TX"));
        let asked = asked(&narrowed, Likeness::Alike);
        assert!(
            asked.ends_with("&gender=female&address-postalcode=NM4+2TX&_fuzzy-match=true&_max-results=1"),
            "{asked}"
        );
    }
}
