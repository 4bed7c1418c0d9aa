//! What is asked outside about a large message, before there is room for what is made of it.
//!
//! Its message is read twice: once to see whom PDS would be asked about and what is attached, and again, with the answers, when there is
//! room. In between nothing is kept but its bytes, the attachments while the scanner has them, which is bounded by a room of its own, and
//! the answer. It asks for nothing that the one walk would not ask: the first reading is that walk, ended where PDS would be asked. That
//! PDS is asked is committed before it is: afterwards the message may find no room, or be refused, and then there is no acceptance that
//! could tell so.

use std::sync::OnceLock;

use onward_core::directory::{Directory, DirectoryError, PdsPatient};
use onward_core::{NhsNumber, TransferId};

use crate::Gateway;
use crate::accept::{AcceptError, Submission};
use crate::decision::Decided;
use crate::prepare::PrepareError;

/// How PDS is asked.
#[derive(Clone, Copy)]
pub enum Pds<'a> {
    /// When its answer is needed.
    Asked(&'a dyn Directory),
    /// Not at all: only whom it would be asked about is noted, and the walk ends there.
    Foreseen(&'a OnceLock<NhsNumber>),
    /// It was, about whom was foreseen; now only if somebody else is meant.
    Answered(&'a Beforehand, &'a dyn Directory),
}

impl Pds<'_> {
    pub(crate) async fn patient(self, number: &NhsNumber) -> Result<Option<PdsPatient>, DirectoryError> {
        match self {
            Self::Asked(directory) => directory.patient(number).await,
            Self::Foreseen(who) => {
                let _ = who.set(number.clone());
                Err(DirectoryError::Unavailable("it is not asked yet".to_owned()))
            }
            Self::Answered(Beforehand { pds: Some((who, answer)) }, _) if who == number => answer.clone(),
            Self::Answered(_, directory) => directory.patient(number).await,
        }
    }
}

/// What was asked before there was room.
pub struct Beforehand {
    pds: Option<(NhsNumber, Result<Option<PdsPatient>, DirectoryError>)>,
}

impl Beforehand {
    /// Whether PDS was asked about this person, which has then been audited.
    pub(crate) fn asked_about(&self, person: &NhsNumber) -> bool {
        self.pds.as_ref().is_some_and(|(who, _)| who == person)
    }
}

impl Gateway {
    /// Asks the scanner and PDS about a large message. Without an entry that says so PDS is not asked.
    ///
    /// # Errors
    /// As [`Gateway::acceptance_of`]; a refusal has been audited when it is returned.
    pub(crate) async fn beforehand(&self, submission: &Submission) -> Result<Beforehand, AcceptError> {
        let who = OnceLock::new();
        // Entered before anything is decoded: whoever waited for it with its attachments in hand would be outside every bound.
        let scanning = match &self.scanner {
            Some(_) => self.scanning.enter(submission.body.len()).await?,
            None => None,
        };
        let attached = {
            let _room = self.room.enter(submission.body.len()).await?;
            let Submission { client, body, media_type, .. } = submission;
            let transfer = TransferId::random();
            let walked = self.walk(client, body, media_type, transfer, &Decided::default(), Pds::Foreseen(&who)).await;
            match walked {
                Ok(prepared) => prepared.to_scan,
                Err(PrepareError::Store(error)) => return Err(error.into()),
                Err(PrepareError::Refused(refusal)) => return Err(self.refuse(submission, refusal).await?),
            }
        };
        self.refuse_malware(submission, &attached.0).await?;
        drop((attached, scanning));
        let pds = match who.into_inner() {
            Some(number) => {
                let asking = self.lookup_row(None, &number, submission.request_id.as_deref());
                self.store.audit(vec![asking]).await?;
                let answer = self.directory.patient(&number).await;
                Some((number, answer))
            }
            None => None,
        };
        Ok(Beforehand { pds })
    }
}
