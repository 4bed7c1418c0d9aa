//! Who a person is whose number is missing or wrong: PDS is searched by what the document says of them. What it finds tells whoever decides
//! whether the person can be traced, and routes nothing: who has the name and the birthday may still be somebody else.

use std::time::Duration;

use onward_core::directory::{Demographics, Directory, DirectoryError, Gender, Likeness, Match, Question};
use onward_core::state::HoldReason;
use onward_core::store::StoreError;
use onward_fhir::{Element, views};

use super::{Stop, hold};
use crate::beforehand::Pds;

/// A message that is held whatever PDS says waits for it no longer.
pub(crate) const HINT: Duration = Duration::from_secs(5);

/// How the one person was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Name and date of birth alone: there is no other.
    Name,
    /// Of several by gender.
    Gender,
    /// Of several by postcode, by which nobody is found whose record is restricted: one of those may be meant.
    Postcode,
    /// They are alike.
    Likeness,
}

/// What a search came to; not whom it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nobody, and nobody alike.
    Nobody,
    /// Several, and nothing tells them apart.
    Several,
    /// One.
    One(By),
    /// PDS has not answered in the time that it was given.
    NotInTime,
}

/// Searches no longer than this.
pub(crate) async fn in_time(
    directory: &dyn Directory,
    person: &Demographics,
    question: &Question,
    within: Duration,
) -> Result<Found, DirectoryError> {
    tokio::time::timeout(within, among(directory, person, question)).await.unwrap_or(Ok(Found::NotInTime))
}

/// Searches for who agrees in everything; several are told apart by gender, then by postcode too, and where nobody agrees, for who is
/// alike.
async fn among(directory: &dyn Directory, person: &Demographics, question: &Question) -> Result<Found, DirectoryError> {
    let broad = person.broad();
    match directory.find(&broad, Likeness::Exact, question).await? {
        Match::One(_) => return Ok(Found::One(By::Name)),
        Match::Several => {}
        Match::Nobody => {
            return Ok(match directory.find(&broad, Likeness::Alike, question).await? {
                Match::Nobody => Found::Nobody,
                Match::Several => Found::Several,
                Match::One(_) => Found::One(By::Likeness),
            });
        }
    }
    let by_gender = person.gender().map(|gender| (broad.narrowed(Some(gender), None), By::Gender));
    let by_postcode = person.postcode().map(|_| (person.clone(), By::Postcode));
    for (narrower, by) in by_gender.into_iter().chain(by_postcode) {
        match directory.find(&narrower, Likeness::Exact, question).await? {
            Match::One(_) => return Ok(Found::One(by)),
            Match::Several => {}
            // Told apart by what fits none of them.
            Match::Nobody => break,
        }
    }
    Ok(Found::Several)
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
        Ok(Found::One(By::Name)) => {
            "PDS has one person of this name and date of birth, so that the sender can trace them".to_owned()
        }
        Ok(Found::One(By::Gender)) => {
            "PDS has several people of this name and date of birth, and one of this gender, so that the sender can trace them"
                .to_owned()
        }
        Ok(Found::One(By::Postcode)) => {
            "PDS has several people of this name and date of birth, and finds one of them at this postcode: another, whose record is \
             restricted, is found by no postcode"
                .to_owned()
        }
        Ok(Found::One(By::Likeness)) => {
            "PDS has nobody of this name and date of birth, and one person who is alike: one of the two may be misspelt"
                .to_owned()
        }
        Ok(Found::Several) => "PDS has more than one person who may be meant".to_owned(),
        Ok(Found::Nobody) => "PDS has nobody who may be meant".to_owned(),
        Ok(Found::NotInTime) => "PDS could not be searched in time".to_owned(),
        Err(error) => format!("PDS could not be searched: {error}"),
    }
}

/// A person whose document has no number is held, whoever PDS finds: every copy carries the number, and it is the hospital's to send.
pub(super) async fn without_number<T>(patient: Element<'_, '_>, asked: Pds<'_>) -> Result<T, Stop> {
    let hint = hint(patient, asked).await?;
    let next = "ask the ward to trace the person and send it again";
    hold(HoldReason::NhsNumberMissing, format!("the Patient has no NHS number; {hint}: {next}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use jiff::civil::date;
    use onward_core::NhsNumber;
    use onward_core::directory::{Asker, PdsPatient, Sensitivity};

    use super::*;

    /// What is found, in the order of the questions, and what was asked: whether by what tells apart, and how close.
    struct Scripted {
        answers: Mutex<Vec<Match>>,
        asked: Mutex<Vec<(bool, Likeness)>>,
    }

    #[async_trait]
    impl Directory for Scripted {
        async fn patient(&self, _: &NhsNumber, _: &Question) -> Result<Option<PdsPatient>, DirectoryError> {
            panic!("nobody is asked about by number")
        }

        async fn find(&self, person: &Demographics, likeness: Likeness, _: &Question) -> Result<Match, DirectoryError> {
            self.asked.lock().expect("whole").push((*person != person.broad(), likeness));
            Ok(self.answers.lock().expect("whole").remove(0))
        }
    }

    fn one() -> Match {
        Match::One(Box::new(PdsPatient {
            nhs_number: "9990000018".parse().expect("a test number"),
            sensitivity: Sensitivity::Unrestricted,
            family: Some("Holroyd".to_owned()),
            given: vec!["Margaret".to_owned()],
            also: Vec::new(),
            birth_date: Some("1944-03-08".to_owned()),
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
        let by_gender = person.clone().narrowed(Some(Gender::Female), None);
        let by_both = person.clone().narrowed(Some(Gender::Female), Some("NM4 2TX"));
        let twice = vec![(false, Exact), (true, Exact)];
        let thrice = vec![(false, Exact), (true, Exact), (true, Exact)];
        for (answers, person, asked, found) in [
            (vec![one()], &told_apart, vec![(false, Exact)], "name"),
            (vec![Match::Several, one()], &told_apart, vec![(false, Exact), (true, Exact)], "postcode"),
            (vec![Match::Several, one()], &by_gender, twice.clone(), "gender"),
            (vec![Match::Several, one()], &by_both, twice.clone(), "gender"),
            (vec![Match::Several, Match::Several, one()], &by_both, thrice, "postcode"),
            (vec![Match::Several, Match::Nobody], &by_both, twice, "several"),
            (vec![Match::Several, Match::Several], &told_apart, vec![(false, Exact), (true, Exact)], "several"),
            (vec![Match::Several, Match::Nobody], &told_apart, vec![(false, Exact), (true, Exact)], "several"),
            (vec![Match::Several], &person, vec![(false, Exact)], "several"),
            (vec![Match::Nobody, one()], &told_apart, vec![(false, Exact), (false, Alike)], "alike"),
            (vec![Match::Nobody, Match::Several], &person, vec![(false, Exact), (false, Alike)], "several"),
            (vec![Match::Nobody, Match::Nobody], &person, vec![(false, Exact), (false, Alike)], "nobody"),
        ] {
            let directory = Scripted { answers: Mutex::new(answers), asked: Mutex::default() };
            let word = match among(&directory, person, &Question::of(Asker::Person)).await.expect("answered") {
                Found::Nobody => "nobody",
                Found::Several => "several",
                Found::One(By::Name) => "name",
                Found::One(By::Gender) => "gender",
                Found::One(By::Postcode) => "postcode",
                Found::One(By::Likeness) => "alike",
                Found::NotInTime => panic!("nobody hurries"),
            };
            assert_eq!((word, directory.asked.into_inner().expect("whole")), (found, asked));
            assert!(directory.answers.lock().expect("whole").is_empty(), "every answer was needed");
        }
    }

    /// A PDS that never answers.
    struct Silent;

    #[async_trait]
    impl Directory for Silent {
        async fn patient(&self, _: &NhsNumber, _: &Question) -> Result<Option<PdsPatient>, DirectoryError> {
            std::future::pending().await
        }

        async fn find(&self, _: &Demographics, _: Likeness, _: &Question) -> Result<Match, DirectoryError> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn what_is_held_anyway_does_not_wait_for_pds() {
        let person = Demographics::new("Holroyd", "Margaret", date(1944, 3, 8)).expect("whole");
        let found = in_time(&Silent, &person, &Question::of(Asker::Person), Duration::from_millis(1)).await;
        assert_eq!(told(&found), "PDS could not be searched in time");
    }
}
