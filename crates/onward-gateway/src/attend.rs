//! What people of a care home do: they open a copy, acknowledge or decline it, tell that the person
//! has arrived, ask the ward, go through the first 72 hours, note who else came, and tell when the person leaves. Each is kept
//! with its name and moment and audited; what changes the Task goes the same way as a system's `PUT Task`.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::civil::Date;
use onward_core::audit::{Agent, AuditEntry, AuditWord, Basis};
use onward_core::state::{DeliveryState, Departure, RecipientKind};
use onward_core::store::{CheckOutcome, DeliveryRecord, Step, StepKind, StoreError, StoredRendition, Transition};
use onward_core::{DeliveryId, OdsCode, Timestamp};

use onward_transform::render::{Fragment, dates, marked};

use crate::acknowledge::{Acknowledgement, is_early, may_move};
use crate::collect::{Made, Unmade, drawn};
use crate::contents::{self, Leaving};
use crate::meanwhile::Mark;
use crate::{Gateway, checklist, leaving, sha256_hex};

/// A signed-in person, of one or more organisations.
#[derive(Debug, Clone)]
pub struct Attendant {
    /// The account.
    pub user: String,
    /// The person's name.
    pub name: String,
    /// The organisations that they act for.
    pub organisations: Vec<OdsCode>,
    /// As audit names them; for which organisation is filled in for each object of a home.
    pub agent: Agent,
    /// `X-Request-ID`.
    pub request_id: Option<String>,
}

/// In which form a copy is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// On the screen.
    Page,
    /// For printing.
    Print,
    /// As PDF.
    Pdf,
    /// An attached file, by its number.
    File(usize),
}

impl Opening {
    fn words(self) -> String {
        match self {
            Self::Page => "opened".to_owned(),
            Self::Print => "opened for printing".to_owned(),
            Self::Pdf => "opened as PDF".to_owned(),
            Self::File(number) => format!("attachment {number} opened"),
        }
    }
}

/// A copy with what has happened to it.
#[derive(Debug, Clone)]
pub struct Attended {
    /// The copy.
    pub copy: DeliveryRecord,
    /// What people did with it.
    pub steps: Vec<Step>,
    /// How far this tells what was done with it.
    pub mark: Mark,
}

/// What a person gets of a copy.
#[derive(Debug, Clone)]
pub struct Content {
    /// The copy, with what has happened to it.
    pub attended: Attended,
    /// What travels, and the page, marked where a later version has taken the copy's place.
    pub rendition: StoredRendition,
    /// The page as PDF, where that was asked for and there is a page.
    pub pdf: Option<Result<Made, Unmade>>,
}

/// A copy as a person may see it.
#[derive(Debug, Clone)]
pub enum Sight {
    /// With its content.
    Content(Box<Content>),
    /// It was theirs and is not to be used any more: how it ended, without its content.
    Ended(Box<DeliveryRecord>),
    /// Not there, or not theirs.
    Nothing,
}

/// Whether it was told that the person is there.
#[must_use]
pub fn has_arrived(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.kind == StepKind::Arrived)
}

/// Whether anything can be done with a copy but to look at it: one that ended leads to what took its place, and a notice asks only to
/// be confirmed.
#[must_use]
pub fn takes_deeds(copy: &DeliveryRecord) -> bool {
    copy.ended.is_none() && copy.notice.is_none()
}

/// What a person wants to do.
#[derive(Clone)]
pub enum Deed {
    /// It is received; not a clinical acceptance.
    Acknowledge,
    /// The home cannot take the person.
    Decline {
        /// Why.
        reason: String,
    },
    /// The person is here.
    Arrive,
    /// The ward is asked.
    Query {
        /// What.
        question: String,
    },
    /// One item of the first 72 hours.
    Check {
        /// Its key.
        item: String,
        /// What became of it.
        outcome: CheckOutcome,
        /// Why it does not apply or cannot be done.
        reason: String,
    },
    /// All items are settled.
    Finish,
    /// Another agency came to the person.
    Visit {
        /// Which, and what for.
        agency: String,
    },
    /// The person has left the home: both practices, the pharmacy and the hospital are told.
    Leave {
        /// Where to.
        to: Departure,
        /// On which day.
        on: Date,
        /// Words for the hospital; nobody else gets them.
        words: String,
    },
}

/// What became of a [`Deed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or it was done before.
    Done,
    /// No such copy for this person.
    NotFound,
    /// The state does not allow it.
    NotAllowed(DeliveryState),
    /// The copy has ended: nothing was kept, and nobody told.
    Ended {
        /// The copy that took its place.
        by: Option<DeliveryId>,
    },
    /// Words are missing, or the item or the day cannot be so.
    WordsMissing,
    /// An item is still open.
    ItemsOpen,
    /// That the person has left was told before, and otherwise: nothing was kept, and nobody told.
    LeftBefore,
}

/// So long before its summary came somebody may have left the home.
const LATE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Longest reason or question, in characters.
pub const WORDS_MAX: usize = 2_000;

/// A file on the page of a copy, by its number.
fn file_of(rendition: &StoredRendition, number: usize) -> Option<Vec<u8>> {
    let page = std::str::from_utf8(rendition.html.as_deref()?).ok()?;
    Some(Fragment::of(page)?.file(number)?.bytes)
}

impl Gateway {
    /// Opens a copy for a person. Of one that was taken back they see that, and no content. One that is replaced or taken back while
    /// it is opened is opened anew, as what it has become: nothing leaves that does not say so, and the last entry names what left.
    ///
    /// # Errors
    /// When the opening cannot be audited: then nothing is released.
    pub async fn open_for(&self, who: &Attendant, id: DeliveryId, opening: Opening) -> Result<Sight, StoreError> {
        loop {
            let Some(copy) = self.theirs(who, id).await? else { return Ok(Sight::Nothing) };
            if !copy.is_readable() {
                return self.stopped(who, copy).await;
            }
            let now = self.clock.now();
            let Some(mut rendition) = self.content(&copy).await? else { return Ok(Sight::Nothing) };
            // A later version has taken its place: the page says so before anything else.
            let reason = copy.ended.and(copy.reason.as_deref());
            if let (Some(reason), Some(html)) = (reason, &mut rendition.html) {
                *html = marked(html, reason);
            }
            let pdf = match (opening, rendition.html.clone()) {
                (Opening::Pdf, Some(html)) => {
                    let foot =
                        format!("Made {} for {}. Look whether there is a newer version.", dates::moment(now), who.name);
                    Some(drawn(html, foot).await)
                }
                _ => None,
            };
            // Drawing takes its time.
            if pdf.is_some() && self.has_ended_since(&copy).await? {
                continue;
            }
            let leaving = match (opening, &pdf) {
                // Of one file nothing else leaves: a list of the whole page would tell of what was not seen.
                (Opening::File(number), _) => file_of(&rendition, number).map(|bytes| {
                    let contents = Arc::new(contents::of("application/octet-stream", &bytes));
                    Leaving { sha256: sha256_hex(&bytes), contents }
                }),
                (Opening::Pdf, None | Some(Err(_))) => None,
                (Opening::Pdf, Some(Ok(pdf))) => {
                    Some(Leaving { sha256: sha256_hex(&pdf.bytes), ..self.reader.of_page(&rendition) })
                }
                (Opening::Page | Opening::Print, _) => Some(self.reader.of_page(&rendition)),
            };
            let entry = AuditEntry {
                basis: Some(Basis::care(&copy.basis)),
                content_sha256: leaving.as_ref().map(|leaving| leaving.sha256.clone()),
                contents: leaving.map(|leaving| leaving.contents),
                ..self.attended(who, &copy, AuditWord::Read, &format!("version {} {}", copy.version, opening.words()))
            };
            let reader = step(who, &copy, StepKind::Opened, now);
            let opened = self.store.open_rendition(id, now, Some(reader), vec![self.journal.row(&entry)]).await?;
            self.work.notify_one();
            let log = self.store.audit_size().await?;
            let Some(after) = self.store.delivery(id).await? else { return Ok(Sight::Nothing) };
            if after.ended != copy.ended {
                continue;
            }
            if opened.is_none() {
                return Ok(Sight::Nothing);
            }
            let steps = self.store.steps(id).await?;
            let attended = Attended { mark: Mark::new(log, id, &steps), copy: after, steps };
            return Ok(Sight::Content(Box::new(Content { attended, rendition, pdf })));
        }
    }

    async fn stopped(&self, who: &Attendant, copy: DeliveryRecord) -> Result<Sight, StoreError> {
        let entry = self.attended(who, &copy, AuditWord::ReadTask, "that it is not to be used any more");
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        Ok(Sight::Ended(Box::new(copy)))
    }

    /// What has been done with a copy, without its content; `None`: not there, or not theirs.
    ///
    /// # Errors
    /// When the look cannot be audited: then nothing may be shown.
    pub async fn look_at(&self, who: &Attendant, id: DeliveryId, what: &str) -> Result<Option<Attended>, StoreError> {
        // Before the copy is read: what is done from here on is news to whoever sends a form of the page.
        let log = self.store.audit_size().await?;
        let Some(copy) = self.theirs(who, id).await? else { return Ok(None) };
        let steps = self.store.steps(id).await?;
        let entry = self.attended(who, &copy, AuditWord::ReadTask, what);
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        Ok(Some(Attended { mark: Mark::new(log, id, &steps), copy, steps }))
    }

    /// Does it, once: what was done before stays as it was, and whoever tells otherwise that the person has left hears that it does.
    ///
    /// # Errors
    /// When the store cannot commit.
    pub async fn attend(&self, who: &Attendant, id: DeliveryId, deed: Deed) -> Result<Outcome, StoreError> {
        loop {
            let Some(copy) = self.theirs(who, id).await? else { return Ok(Outcome::NotFound) };
            let steps = self.store.steps(id).await?;
            let (step, state) = match self.plan(who, &copy, &steps, &deed) {
                Ok(Some(planned)) => planned,
                Ok(None) => return Ok(Outcome::Done),
                Err(outcome) => return Ok(outcome),
            };
            let notices = match &deed {
                Deed::Leave { to, on, .. } => self.leaving_notices(&copy, *to, *on).await?,
                _ => Vec::new(),
            };
            let (transition, audit) = match state {
                Some(state) => (Some(self.change(who, &copy, state, &step).await?), Vec::new()),
                None => {
                    let item = step.item.as_deref().unwrap_or_default();
                    let outcome = step.outcome.map(CheckOutcome::as_str).unwrap_or_default();
                    let detail = format!("{} {item} {outcome}", step.kind);
                    (None, vec![self.journal.row(&self.attended(who, &copy, AuditWord::Acknowledge, detail.trim()))])
                }
            };
            // Somebody else moved the copy in between: look again and decide anew.
            if self.store.take_step(step, transition, notices, audit).await? {
                self.work.notify_one();
                return Ok(Outcome::Done);
            }
        }
    }

    /// The step to keep, and the state to move to; `None` when it was done before.
    fn plan(
        &self,
        who: &Attendant,
        copy: &DeliveryRecord,
        steps: &[Step],
        deed: &Deed,
    ) -> Result<Option<(Step, Option<DeliveryState>)>, Outcome> {
        let now = self.clock.now();
        let plain = |kind| step(who, copy, kind, now);
        let moves = |state: DeliveryState| match may_move(copy, state) {
            true => Ok(Some(state)),
            false => Err(Outcome::NotAllowed(copy.state)),
        };
        let worded = |kind, words: &str| match words.trim() {
            "" => Err(Outcome::WordsMissing),
            words => Ok(Step { text: Some(words.chars().take(WORDS_MAX).collect()), ..plain(kind) }),
        };
        // The home has it in its hands: nothing is asked or ticked about a copy that nobody opened or that was refused.
        let in_hand = || match copy.state {
            DeliveryState::Received
            | DeliveryState::Accepted
            | DeliveryState::InProgress
            | DeliveryState::Completed => Ok(()),
            state => Err(Outcome::NotAllowed(state)),
        };
        if let Some(ended) = copy.ended {
            return Err(Outcome::Ended { by: ended.by });
        }
        if copy.notice.is_some() && !matches!(deed, Deed::Acknowledge) {
            return Err(Outcome::NotAllowed(copy.state));
        }
        let is_there = has_arrived(steps) && leaving::told_before(steps).is_none();
        let planned = match deed {
            Deed::Acknowledge if copy.state.is_acknowledged() => return Ok(None),
            // Told with an earlier version; that a later one came does not take the person away.
            Deed::Acknowledge if is_there && may_move(copy, DeliveryState::InProgress) => {
                (plain(StepKind::Acknowledged), Some(DeliveryState::InProgress))
            }
            Deed::Acknowledge => (plain(StepKind::Acknowledged), moves(DeliveryState::Accepted)?),
            Deed::Decline { .. } if copy.state == DeliveryState::Rejected => return Ok(None),
            Deed::Decline { reason } => (worded(StepKind::Declined, reason)?, moves(DeliveryState::Rejected)?),
            Deed::Arrive if matches!(copy.state, DeliveryState::InProgress | DeliveryState::Completed) => {
                return Ok(None);
            }
            Deed::Arrive => (plain(StepKind::Arrived), moves(DeliveryState::InProgress)?),
            Deed::Query { question } => {
                in_hand()?;
                // The state stays; the Task's version grows, so that whoever polls it sees the question.
                (worded(StepKind::Queried, question)?, Some(copy.state))
            }
            Deed::Check { item, outcome, reason } => {
                in_hand()?;
                let item = checklist::item(item).ok_or(Outcome::WordsMissing)?;
                let step = match outcome {
                    CheckOutcome::Done => plain(StepKind::Checked),
                    _ => worded(StepKind::Checked, reason)?,
                };
                let step = Step { item: Some(item.key.to_owned()), outcome: Some(*outcome), ..step };
                let said = checklist::latest(steps).get(item.key).is_some_and(|last| {
                    (last.outcome, &last.text, &last.user) == (step.outcome, &step.text, &step.user)
                });
                if said {
                    return Ok(None);
                }
                (step, None)
            }
            Deed::Finish if copy.state == DeliveryState::Completed => return Ok(None),
            // Nobody has taken over a person who is not there.
            Deed::Finish if is_early(copy, DeliveryState::Completed) => return Err(Outcome::NotAllowed(copy.state)),
            Deed::Finish if !checklist::is_settled(steps) => return Err(Outcome::ItemsOpen),
            Deed::Finish => (plain(StepKind::Finished), moves(DeliveryState::Completed)?),
            Deed::Visit { agency } => {
                in_hand()?;
                (worded(StepKind::Visited, agency)?, None)
            }
            Deed::Leave { to, on, words } => {
                let told = leaving::told(*to, *on);
                let told = match words.trim() {
                    "" => told,
                    words => format!("{told}. {words}"),
                };
                let left = worded(StepKind::Left, &told)?;
                match leaving::left(steps) {
                    Some(before) if before.text == left.text => return Ok(None),
                    Some(_) => return Err(Outcome::LeftBefore),
                    None => {}
                }
                if !matches!(copy.state, DeliveryState::InProgress | DeliveryState::Completed) {
                    in_hand()?;
                    if !is_there {
                        return Err(Outcome::NotAllowed(copy.state));
                    }
                }
                // A summary may come late, but not for somebody who left long ago.
                if *on > dates::civil(now) || *on < dates::civil(copy.created - LATE_MAX) {
                    return Err(Outcome::WordsMissing);
                }
                // The state stays; the Task's version grows, so that the hospital that polls it sees that the person has left.
                (left, Some(copy.state))
            }
        };
        Ok(Some(planned))
    }

    async fn change(
        &self,
        who: &Attendant,
        copy: &DeliveryRecord,
        state: DeliveryState,
        step: &Step,
    ) -> Result<Transition, StoreError> {
        if state == copy.state {
            let entry = self.attended(who, copy, AuditWord::Acknowledge, step.kind.as_str());
            return Ok(Transition {
                delivery: copy.id,
                expected_version: copy.version,
                state,
                code: None,
                reason: copy.reason.clone(),
                at: step.at,
                responses: Vec::new(),
                audit: vec![self.journal.row(&entry)],
            });
        }
        let acknowledgement = Acknowledgement {
            state,
            code: None,
            reason: step.text.clone().filter(|_| state == DeliveryState::Rejected).or_else(|| copy.reason.clone()),
            agent: agent_for(who, copy),
            request_id: who.request_id.as_deref(),
        };
        // One moment for both: whoever looks at a change finds whose it was by it.
        Ok(Transition { at: step.at, ..self.transition_for(copy, acknowledgement).await? })
    }

    /// The copy, when it was addressed to one of the person's homes, even if it was taken back. Whoever asks for another's
    /// is audited.
    async fn theirs(&self, who: &Attendant, id: DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
        let Some(copy) = self.store.delivery(id).await? else { return Ok(None) };
        if copy.kind == RecipientKind::CareHome && who.organisations.contains(&copy.recipient) {
            return Ok(Some(copy));
        }
        let entry = AuditEntry {
            success: false,
            transfer: Some(copy.transfer),
            delivery: Some(id),
            request_id: who.request_id.clone(),
            ..AuditEntry::new(AuditWord::Deny, self.clock.now(), who.agent.clone(), "another organisation's copy")
        };
        self.store.audit(vec![self.journal.row(&entry)]).await?;
        Ok(None)
    }

    fn attended(&self, who: &Attendant, copy: &DeliveryRecord, word: AuditWord, detail: &str) -> AuditEntry {
        AuditEntry {
            transfer: Some(copy.transfer),
            delivery: Some(copy.id),
            recipient: Some(copy.recipient.clone()),
            patient: copy.patient.clone(),
            request_id: who.request_id.clone(),
            ..AuditEntry::new(word, self.clock.now(), agent_for(who, copy), detail)
        }
    }
}

/// The person as one of the home that the copy is addressed to.
fn agent_for(who: &Attendant, copy: &DeliveryRecord) -> Agent {
    Agent { organisation: Some(copy.recipient.clone()), ..who.agent.clone() }
}

fn step(who: &Attendant, copy: &DeliveryRecord, kind: StepKind, at: Timestamp) -> Step {
    Step {
        delivery: copy.id,
        kind,
        at,
        user: who.user.clone(),
        name: who.name.clone(),
        item: None,
        outcome: None,
        text: None,
    }
}
