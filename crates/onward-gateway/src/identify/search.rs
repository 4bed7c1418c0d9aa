//! Who a person is whose number is missing or wrong: PDS is searched by what the document says of them. What it finds tells whoever decides
//! whether the person can be traced, and routes nothing: who has the name and the birthday may still be somebody else.

use onward_core::NhsNumber;
use onward_core::directory::{Demographics, Directory, DirectoryError, Gender, Likeness, Match, PdsPatient};
use onward_core::state::HoldReason;
use onward_core::store::StoreError;
use onward_fhir::{Element, views};

use super::{Stop, hold, person};
use crate::beforehand::Pds;
use crate::decision::Decided;

/// What a search came to. It has no `Debug`.
#[derive(Clone)]
pub(crate) enum Found {
    /// Nobody, and nobody alike.
    Nobody,
    /// Several, and nothing tells them apart.
    Several,
    /// One.
    One(Box<PdsPatient>, Likeness),
}

/// Searches for who agrees in everything; several are told apart by gender and postcode, and where nobody agrees, for who is alike.
pub(crate) async fn among(directory: &dyn Directory, person: &Demographics) -> Result<Found, DirectoryError> {
    let broad = person.broad();
    let found = match directory.find(&broad, Likeness::Exact).await? {
        Match::Several if broad != *person => directory.find(person, Likeness::Exact).await?,
        Match::Nobody => {
            return Ok(match directory.find(&broad, Likeness::Alike).await? {
                Match::Nobody => Found::Nobody,
                Match::Several => Found::Several,
                Match::One(one) => Found::One(one, Likeness::Alike),
            });
        }
        found => found,
    };
    Ok(match found {
        Match::One(one) => Found::One(one, Likeness::Exact),
        // Told apart by what fits none of them.
        Match::Nobody | Match::Several => Found::Several,
    })
}

/// What the document says of the person; `None` where that is too little to search by.
pub(super) fn demographics(patient: Element<'_, '_>) -> Option<Demographics> {
    let name = views::official_name(patient)?;
    let given = name.all("given").next().and_then(Element::value)?;
    let person = Demographics::new(name.text("family")?, given, patient.text("birthDate")?.parse().ok()?)?;
    let gender = patient.text("gender").and_then(|code| code.parse::<Gender>().ok());
    let home = patient.all("address").find(|address| address.text("use").is_none_or(|usage| usage == "home"));
    Some(person.narrowed(gender, home.and_then(|address| address.text("postalCode"))))
}

/// Whether PDS can tell who it is, for whoever asks the sender; without patient data.
pub(super) async fn hint(patient: Element<'_, '_>, asked: Pds<'_>) -> Result<String, StoreError> {
    let Some(person) = demographics(patient) else { return Ok(TOO_LITTLE.to_owned()) };
    Ok(told(&asked.search(&person).await?))
}

const TOO_LITTLE: &str =
    "the document does not have what PDS can be searched by (family and given name, whole date of birth)";

fn told(found: &Result<Found, DirectoryError>) -> String {
    match found {
        Ok(Found::One(_, Likeness::Exact)) => {
            "PDS has one person of this name and date of birth, so that the sender can trace them".to_owned()
        }
        Ok(Found::One(_, Likeness::Alike)) => {
            "PDS has nobody of this name and date of birth, and one person who is alike: one of the two may be misspelt"
                .to_owned()
        }
        Ok(Found::Several) => "PDS has more than one person who may be meant".to_owned(),
        Ok(Found::Nobody) => "PDS has nobody who may be meant".to_owned(),
        Err(error) => format!("PDS could not be searched: {error}"),
    }
}

/// The number of a person whose document has none. Two must say the same: the ward, by the number that a person decided with, and PDS, by
/// the one record that it finds and that agrees with the document. Everything else is a hold.
pub(super) async fn without_number(
    patient: Element<'_, '_>,
    asked: Pds<'_>,
    decided: &Decided,
    evidence: &mut Vec<String>,
) -> Result<NhsNumber, Stop> {
    let missing =
        |detail: String| hold(HoldReason::NhsNumberMissing, format!("the Patient has no NHS number; {detail}"));
    let Some(person) = demographics(patient) else { return missing(format!("{TOO_LITTLE}: ask the ward")) };
    let found = asked.search(&person).await?;
    let Some(named) = &decided.nhs_number else {
        let next = match &found {
            Ok(Found::One(..)) => ": let the ward name the NHS number, and release it with that",
            _ => ": ask the ward to trace the person and send it again",
        };
        return missing(told(&found) + next);
    };
    match found {
        Ok(Found::One(one, _)) if one.nhs_number == *named => match person::compare(patient, &one) {
            Ok(agree) => {
                evidence.push(format!(
                    "the document has no NHS number: a person named the ward's, and PDS finds the same record by name and date \
                     of birth ({agree})"
                ));
                Ok(one.nhs_number)
            }
            Err(differs) => missing(format!("{differs}: nothing is sent under the number that was named")),
        },
        Ok(Found::One(..)) => missing(
            "the one person whom PDS finds by name and date of birth has another NHS number than was named: ask the ward".to_owned(),
        ),
        found => missing(format!("{}: nothing is sent under the number that was named", told(&found))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use jiff::civil::date;
    use onward_core::directory::Sensitivity;

    use super::*;

    /// What is found, in the order of the questions, and what was asked: whether by what tells apart, and how close.
    struct Scripted {
        answers: Mutex<Vec<Match>>,
        asked: Mutex<Vec<(bool, Likeness)>>,
    }

    #[async_trait]
    impl Directory for Scripted {
        async fn patient(&self, _: &NhsNumber) -> Result<Option<PdsPatient>, DirectoryError> {
            panic!("nobody is asked about by number")
        }

        async fn find(&self, person: &Demographics, likeness: Likeness) -> Result<Match, DirectoryError> {
            self.asked.lock().expect("whole").push((*person != person.broad(), likeness));
            Ok(self.answers.lock().expect("whole").remove(0))
        }
    }

    fn one() -> Match {
        Match::One(Box::new(PdsPatient {
            nhs_number: "9990000018".parse().expect("a test number"),
            sensitivity: Sensitivity::Unrestricted,
            family: None,
            given: Vec::new(),
            also: Vec::new(),
            birth_date: None,
            deceased: None,
            registered_practice: None,
            nominated_pharmacy: None,
        }))
    }

    #[tokio::test]
    async fn nobody_is_picked_of_several_and_who_is_alike_is_told_as_that() {
        use Likeness::{Alike, Exact};
        let person = Demographics::new("Holroyd", "Margaret", date(1944, 3, 8)).expect("whole");
        let told_apart = person.clone().narrowed(None, Some("NM4 2TX"));
        for (answers, person, asked, found) in [
            (vec![one()], &told_apart, vec![(false, Exact)], "exact"),
            (vec![Match::Several, one()], &told_apart, vec![(false, Exact), (true, Exact)], "exact"),
            (vec![Match::Several, Match::Several], &told_apart, vec![(false, Exact), (true, Exact)], "several"),
            (vec![Match::Several, Match::Nobody], &told_apart, vec![(false, Exact), (true, Exact)], "several"),
            (vec![Match::Several], &person, vec![(false, Exact)], "several"),
            (vec![Match::Nobody, one()], &told_apart, vec![(false, Exact), (false, Alike)], "alike"),
            (vec![Match::Nobody, Match::Several], &person, vec![(false, Exact), (false, Alike)], "several"),
            (vec![Match::Nobody, Match::Nobody], &person, vec![(false, Exact), (false, Alike)], "nobody"),
        ] {
            let directory = Scripted { answers: Mutex::new(answers), asked: Mutex::default() };
            let word = match among(&directory, person).await.expect("answered") {
                Found::Nobody => "nobody",
                Found::Several => "several",
                Found::One(_, Exact) => "exact",
                Found::One(_, Alike) => "alike",
            };
            assert_eq!((word, directory.asked.into_inner().expect("whole")), (found, asked));
            assert!(directory.answers.lock().expect("whole").is_empty(), "every answer was needed");
        }
    }
}
