//! The local stand-in for PDS, for the demo, tests and sites that have no PDS access yet: a TOML file of people.
//!
//! It refuses a file in which one NHS number means two people. Its errors name a line, never what stands there.
//!
//! ```toml
//! [[patient]]
//! nhs_number = "9990000018"
//! sensitivity = "unrestricted"      # or "restricted", "very-restricted"
//! family = "Example"
//! given = ["Ada"]
//! birth_date = "1940-02-03"
//! registered_practice = "A82608"
//! nominated_pharmacy = "FLG02"
//!
//! [superseded]                      # asked for the left, PDS answers with the right
//! "9990000026" = "9990000018"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use onward_core::NhsNumber;
use onward_core::directory::{Demographics, Directory, DirectoryError, Likeness, Match, PdsPatient, Question};
use serde::Deserialize;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// It cannot be read.
    #[error("the stand-in directory cannot be read")]
    Read(#[from] std::io::Error),
    /// It is not such a file.
    #[error("the stand-in directory does not fit its format at line {line}")]
    Format {
        /// Line, from 1.
        line: usize,
    },
    /// One number stands for two people.
    #[error("the stand-in directory tells two things about one NHS number (patient or superseded entry {entry})")]
    Twice {
        /// Position in its table, from 1.
        entry: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    patient: Vec<PdsPatient>,
    #[serde(default)]
    superseded: BTreeMap<NhsNumber, NhsNumber>,
}

/// People by the number that is asked for.
#[derive(Debug, Clone, Default)]
pub struct StandInDirectory {
    people: BTreeMap<NhsNumber, PdsPatient>,
}

impl StandInDirectory {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`StandInError`].
    pub fn load(path: &Path) -> Result<Self, StandInError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// See [`StandInError`].
    pub fn parse(text: &str) -> Result<Self, StandInError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start).min(text.len());
            StandInError::Format { line: 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() }
        })?;
        let mut people = BTreeMap::new();
        for (position, patient) in file.patient.into_iter().enumerate() {
            if people.insert(patient.nhs_number.clone(), patient).is_some() {
                return Err(StandInError::Twice { entry: position + 1 });
            }
        }
        let mut answers = people.clone();
        for (position, (old, new)) in file.superseded.into_iter().enumerate() {
            // A chain would hide which number is the last; name the last one.
            let Some(patient) = people.get(&new).filter(|_| !people.contains_key(&old)) else {
                return Err(StandInError::Twice { entry: position + 1 });
            };
            answers.insert(old, patient.clone());
        }
        Ok(Self { people: answers })
    }
}

#[async_trait]
impl Directory for StandInDirectory {
    async fn patient(&self, number: &NhsNumber, question: &Question) -> Result<Option<PdsPatient>, DirectoryError> {
        question.leaves();
        Ok(self.people.get(number).cloned())
    }

    /// As PDS tells of whom it finds: without the pharmacy. What is alike begins alike, and there are no addresses to tell people apart by.
    async fn find(
        &self,
        person: &Demographics,
        likeness: Likeness,
        question: &Question,
    ) -> Result<Match, DirectoryError> {
        question.leaves();
        let folded = |text: &str| text.to_lowercase();
        let agrees = |ours: Option<&str>, theirs: &str| match (ours, likeness) {
            (None, _) => false,
            (Some(ours), Likeness::Exact) => folded(ours) == folded(theirs),
            (Some(ours), Likeness::Alike) => folded(ours).chars().take(3).eq(folded(theirs).chars().take(3)),
        };
        let born = person.birth_date().to_string();
        // Under a superseded number stands the same person again.
        let mut found = self.people.iter().filter(|(number, patient)| {
            **number == patient.nhs_number
                && agrees(patient.family.as_deref(), person.family())
                && agrees(patient.given.first().map(String::as_str), person.given())
                && patient.birth_date.as_deref() == Some(&born)
        });
        let Some((_, one)) = found.next() else { return Ok(Match::Nobody) };
        Ok(match found.next() {
            Some(_) => Match::Several,
            None => Match::One(Box::new(PdsPatient { nominated_pharmacy: None, ..one.clone() })),
        })
    }
}

#[cfg(test)]
mod tests {
    use onward_core::directory::{Asker, Sensitivity};

    use super::*;

    const PEOPLE: &str = r#"
        [[patient]]
        nhs_number = "9000000009"
        sensitivity = "unrestricted"
        family = "Example"
        given = ["Ada", "B"]
        birth_date = "1940-02-03"
        registered_practice = "A82608"
        nominated_pharmacy = "FLG02"

        [[patient]]
        nhs_number = "9000000025"
        sensitivity = "restricted"

        [superseded]
        "9000000017" = "9000000009"
    "#;

    #[tokio::test]
    async fn people_are_found_by_the_number_asked() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("people.toml");
        std::fs::write(&path, PEOPLE).expect("written");
        let directory = StandInDirectory::load(&path).expect("loaded");
        let ask = async |number: &str| {
            directory
                .patient(&number.parse().expect("a number"), &Question::of(Asker::Gateway))
                .await
                .expect("answered")
        };
        let person = ask("9000000009").await.expect("a person");
        assert_eq!((person.family.as_deref(), person.given.len()), (Some("Example"), 2));
        assert_eq!(person.registered_practice.map(String::from).as_deref(), Some("A82608"));
        assert_eq!(ask("9000000025").await.expect("a person").sensitivity, Sensitivity::Restricted);
        assert_eq!(ask("9000000033").await, None);
        let superseded = ask("9000000017").await.expect("a person");
        assert_eq!(superseded.nhs_number.expose(), "9000000009", "another number than asked means superseded");
        assert!(StandInDirectory::load(&folder.path().join("absent")).is_err());
        assert!(!format!("{directory:?}").contains("Example"));
    }

    #[tokio::test]
    async fn people_are_found_by_their_demographics() {
        let directory = StandInDirectory::parse(PEOPLE).expect("people");
        let find = async |directory: &StandInDirectory, family: &str, given: &str, likeness| {
            let born = jiff::civil::date(1940, 2, 3);
            let person = Demographics::new(family, given, born).expect("whole");
            directory.find(&person, likeness, &Question::of(Asker::Gateway)).await.expect("answered")
        };
        let Match::One(found) = find(&directory, "example", "ADA", Likeness::Exact).await else {
            panic!("one person, who has a superseded number too")
        };
        assert_eq!((found.nhs_number.expose(), found.nominated_pharmacy), ("9000000009", None));
        assert_eq!(find(&directory, "Exampel", "Ada", Likeness::Exact).await, Match::Nobody);
        assert!(matches!(find(&directory, "Exampel", "Ada", Likeness::Alike).await, Match::One(_)));
        let namesake = PEOPLE.replace(
            "nhs_number = \"9000000025\"",
            "nhs_number = \"9000000025\"\nfamily = \"Example\"\ngiven = [\"Ada\"]\nbirth_date = \"1940-02-03\"",
        );
        let two = StandInDirectory::parse(&namesake).expect("people");
        assert_eq!(find(&two, "Example", "Ada", Likeness::Exact).await, Match::Several);
    }

    #[test]
    fn one_number_means_one_person() {
        let twice = PEOPLE.replace("9000000025", "9000000009");
        let both = PEOPLE.replace("\"9000000017\" =", "\"9000000025\" =");
        let nowhere = PEOPLE.replace("\"9000000017\" = \"9000000009\"", "\"9000000017\" = \"9000000033\"");
        assert_ne!(nowhere, PEOPLE);
        for text in [twice, both, nowhere] {
            assert!(matches!(StandInDirectory::parse(&text), Err(StandInError::Twice { .. })), "{text}");
        }
    }

    #[test]
    fn errors_name_the_line_and_not_what_stands_there() {
        for (from, to, line) in [
            ("\"9000000009\"\n        sens", "9000000009\n        sens", 3),
            ("family = \"Example\"", "familie = \"Example\"", 5),
            ("\"restricted\"", "\"secret\"", 13),
        ] {
            let text = PEOPLE.replacen(from, to, 1);
            assert_ne!(text, PEOPLE, "{from}");
            let error = StandInDirectory::parse(&text).expect_err("does not fit");
            assert!(!format!("{error} {error:?}").contains("9000000009"));
            match error {
                StandInError::Format { line: told } => assert_eq!(told, line, "{from}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
