//! What is asked outside about a message. That PDS is asked about a person is committed before it is: whoever is killed meanwhile has told,
//! and whatever becomes of the message, the question is in the log. Where it then did not leave, because it had no turn say, a second entry
//! tells that.
//!
//! About a large message all is asked before there is room for what is made of it. It is read twice: once to see whom PDS would be asked
//! about and what is attached, and again, with the answers, when there is room. In between nothing is kept but its bytes, the attachments
//! while the scanner has them, which is bounded by a room of its own, and the answer. It asks for nothing that the one walk would not ask:
//! the first reading is that walk, ended where PDS would be asked.

use std::sync::OnceLock;

use onward_core::audit::{Agent, AuditEntry, AuditWord};
use onward_core::directory::{Asker, Demographics, Directory, DirectoryError, PdsPatient, Question};
use onward_core::store::StoreError;
use onward_core::{NhsNumber, TransferId};

use crate::Gateway;
use crate::accept::{AcceptError, Submission};
use crate::decision::Decided;
use crate::identify::{Found, search};
use crate::prepare::PrepareError;
use crate::room::Place;

/// How PDS is asked.
#[derive(Clone, Copy)]
pub enum Pds<'a> {
    /// When its answer is needed.
    Asked(Asking<'a>),
    /// The same without an entry: of a stand-in, to measure what everything else takes.
    Untold(&'a dyn Directory),
    /// Not at all: only whom it would be asked about is noted, and the walk ends there.
    Foreseen(&'a Foreseen),
    /// It was, about whom was foreseen; now only if somebody else is meant.
    Answered(&'a Beforehand, Asking<'a>),
}

/// Whom PDS would be asked about.
#[derive(Default)]
pub struct Foreseen {
    number: OnceLock<NhsNumber>,
    person: OnceLock<Demographics>,
}

/// What PDS said of somebody, or why it said nothing.
type Answer = Result<Option<PdsPatient>, DirectoryError>;

/// Whom PDS found, or why it said nothing.
type Search = Result<Found, DirectoryError>;

impl<'a> Pds<'a> {
    /// The same for this asker, where nobody else has been named.
    pub(crate) fn by(self, asker: &'a Asker) -> Self {
        let named = |asking: Asking<'a>| Asking { asker: asking.asker.or(Some(asker)), ..asking };
        match self {
            Self::Asked(asking) => Self::Asked(named(asking)),
            Self::Answered(known, asking) => Self::Answered(known, named(asking)),
            Self::Untold(_) | Self::Foreseen(_) => self,
        }
    }

    /// Asks about the person of this number; `person` is who is searched for where nobody has it.
    ///
    /// # Errors
    /// When it cannot be audited that PDS is asked: then it is not.
    pub(crate) async fn patient(self, number: &NhsNumber, person: Option<&Demographics>) -> Result<Answer, StoreError> {
        match self {
            Self::Asked(asking) => asking.about(number).await,
            Self::Untold(directory) => Ok(directory.patient(number, &Question::of(Asker::Gateway)).await),
            Self::Foreseen(foreseen) => {
                let _ = foreseen.number.set(number.clone());
                if let Some(person) = person {
                    let _ = foreseen.person.set(person.clone());
                }
                Ok(Err(not_yet()))
            }
            Self::Answered(Beforehand { number: Some((who, answer)), .. }, _) if who == number => Ok(answer.clone()),
            Self::Answered(_, asking) => asking.about(number).await,
        }
    }

    /// Searches for the person, for a few seconds.
    ///
    /// # Errors
    /// As [`Pds::patient`].
    pub(crate) async fn search(self, person: &Demographics) -> Result<Search, StoreError> {
        match self {
            Self::Asked(asking) => asking.search(person).await,
            Self::Untold(directory) => {
                Ok(search::in_time(directory, person, &Question::of(Asker::Gateway), search::HINT).await)
            }
            Self::Foreseen(foreseen) => {
                let _ = foreseen.person.set(person.clone());
                Ok(Err(not_yet()))
            }
            Self::Answered(Beforehand { person: Some((who, found)), .. }, _) if who == person => Ok(found.clone()),
            Self::Answered(_, asking) => asking.search(person).await,
        }
    }
}

fn not_yet() -> DirectoryError {
    DirectoryError::Unavailable("it is not asked yet".to_owned())
}

/// Who asks PDS, and on which occasion.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    gateway: &'a Gateway,
    transfer: Option<TransferId>,
    request_id: Option<&'a str>,
    again: bool,
    /// For whom; of a message, until the walk names its client, nobody.
    asker: Option<&'a Asker>,
}

impl<'a> Asking<'a> {
    /// The same for this asker.
    pub(crate) fn by(self, asker: &'a Asker) -> Self {
        Self { asker: Some(asker), ..self }
    }

    /// The same because the person's own practice does not have them.
    pub(crate) fn again(self) -> Self {
        Self { again: true, ..self }
    }

    /// Commits that PDS is asked about this person, and asks it.
    async fn about(self, number: &NhsNumber) -> Result<Answer, StoreError> {
        let what = match self.again {
            false => "PDS asked to trace the person before routing",
            true => "PDS asked again about the person: their own practice does not have them, or MESH finds none",
        };
        self.note(Some(number), true, what).await?;
        let question = self.question();
        let answer = self.gateway.directory.patient(number, &question).await;
        self.note_unless_left(&question, Some(number)).await?;
        Ok(answer)
    }

    /// Commits that PDS is searched, and searches it. The entry names nobody: whom a search finds is a candidate, and who is taken for the
    /// person is asked about by number.
    async fn search(self, person: &Demographics) -> Result<Search, StoreError> {
        self.note(None, true, "PDS searched for the person by name and date of birth before routing").await?;
        let question = self.question();
        let found = search::in_time(self.gateway.directory.as_ref(), person, &question, search::HINT).await;
        self.note_unless_left(&question, None).await?;
        Ok(found)
    }

    fn question(self) -> Question {
        Question::of(self.asker.cloned().unwrap_or(Asker::Gateway))
    }

    /// Takes back what was committed before, where it has not come to pass.
    async fn note_unless_left(self, question: &Question, patient: Option<&NhsNumber>) -> Result<(), StoreError> {
        match question.has_left() {
            true => Ok(()),
            false => self.note(patient, false, "PDS was not asked after all: the question never left").await,
        }
    }

    async fn note(self, patient: Option<&NhsNumber>, success: bool, what: &str) -> Result<(), StoreError> {
        let entry = AuditEntry {
            success,
            transfer: self.transfer,
            patient: patient.cloned(),
            request_id: self.request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::DirectoryLookup, self.gateway.clock.now(), Agent::gateway(), what)
        };
        self.gateway.store.audit(vec![self.gateway.journal.row(&entry)]).await
    }
}

/// What was asked before there was room.
pub struct Beforehand {
    number: Option<(NhsNumber, Answer)>,
    person: Option<(Demographics, Search)>,
}

impl Beforehand {
    /// What PDS has just said of the person of this number.
    pub(crate) fn told(number: NhsNumber, pds: PdsPatient) -> Self {
        Self { number: Some((number, Ok(Some(pds)))), person: None }
    }
}

impl Gateway {
    /// How PDS is asked in this request about the person of this transfer, which a message becomes where it is taken in; `None` where it
    /// becomes none.
    pub(crate) fn asking<'a>(&'a self, transfer: Option<TransferId>, request_id: Option<&'a str>) -> Asking<'a> {
        Asking { gateway: self, transfer, request_id, again: false, asker: None }
    }

    /// Asks the scanner and PDS about a large message.
    ///
    /// # Errors
    /// As [`Gateway::acceptance_of`]; a refusal has been audited when it is returned.
    pub(crate) async fn beforehand(
        &self,
        submission: &Submission,
        transfer: TransferId,
        place: &mut Place,
    ) -> Result<Beforehand, AcceptError> {
        let who = Foreseen::default();
        // Entered before anything is decoded: whoever waited for it with its attachments in hand would be outside every bound.
        let scanning = match &self.scanner {
            Some(_) => self.scanning.enter(submission.body.len()).await?,
            None => None,
        };
        if scanning.is_some() {
            place.leave();
        }
        let attached = {
            let _room = self.room.enter(submission.body.len()).await?;
            // From here on it may wait for a partner, which must not keep others from being read.
            place.leave();
            let Submission { client, body, media_type, .. } = submission;
            let walked = self.walk(client, body, media_type, transfer, &Decided::default(), Pds::Foreseen(&who)).await;
            match walked {
                Ok(prepared) => prepared.to_scan,
                Err(PrepareError::Store(error)) => return Err(error.into()),
                Err(PrepareError::Refused(refusal)) => return Err(self.refuse(submission, refusal).await?),
            }
        };
        self.refuse_malware(submission, &attached.0).await?;
        drop((attached, scanning));
        let asker = Asker::Client(submission.client.id.clone());
        let asking = self.asking(Some(transfer), submission.request_id.as_deref()).by(&asker);
        let number = match who.number.into_inner() {
            Some(number) => {
                let answer = asking.about(&number).await?;
                Some((number, answer))
            }
            None => None,
        };
        let is_known = matches!(&number, Some((_, Ok(Some(_)) | Err(_))));
        let person = match who.person.into_inner().filter(|_| !is_known) {
            Some(person) => {
                // Nothing is decided yet: whoever is searched for is held.
                let found = asking.search(&person).await?;
                Some((person, found))
            }
            None => None,
        };
        Ok(Beforehand { number, person })
    }
}
