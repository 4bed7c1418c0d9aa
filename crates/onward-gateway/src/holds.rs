//! A person decides: held transfers are walked again with the decision and with what has been mended since, or are
//! ended without being sent; failed copies are sent again. Every decision names who decided and why, also when it comes
//! to nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::directory::Asker;
use onward_core::state::{HoldReason, RecipientKind, TransportKind};
use onward_core::store::{
    Closure, Ending, HeldTransfer, HoldChange, NewDelivery, NewHold, Release, StoreError, TransferRecord,
};
use onward_core::{DeliveryId, HoldId, NhsNumber, OdsCode, TransferId};
use onward_fhir::itk::Level;

use crate::Gateway;
use crate::answer::{TAKEN_IN, code_of_closed, not_replaced};
use crate::beforehand::{Asking, Pds};
use crate::decision::{Decided, NotDecidable};
use crate::identify::HoldCause;
use crate::lifecycle::{Heir, TRIES, TakenBack};
use crate::prepare::{PrepareError, Routing};
use crate::recall::keeps_theirs;

/// Who decides, why, and whether it is only a preview.
#[derive(Debug, Clone)]
pub struct Decider<'d> {
    /// As audit names the way in: the command line, or a person on a page.
    pub agent: Agent,
    /// The person, by name.
    pub by: &'d str,
    /// Why; no patient data.
    pub reason: &'d str,
    /// False shows what would happen.
    pub act: bool,
    /// `X-Request-ID`.
    pub request_id: Option<&'d str>,
}

/// What is decided.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Let it go on.
    Release {
        /// For a person who is restricted or objects: who may receive, as agreed with the ward.
        agreed_recipients: BTreeSet<RecipientKind>,
    },
    /// Let it go on to these parties.
    Reroute {
        /// The home.
        care_home: Option<OdsCode>,
        /// The person's own practice.
        registered_practice: Option<OdsCode>,
    },
}

impl Choice {
    /// Whether this sends a transfer that is held for this reason although the reason is still there: a decision of who has seen it.
    #[must_use]
    pub fn sends_despite(&self, reason: HoldReason) -> bool {
        let mut decided = Decided::default();
        self.add_to(&mut decided, reason).is_ok()
            && (decided.sends_despite(reason) || !decided.agreed(reason).is_empty())
    }

    fn add_to(&self, decided: &mut Decided, reason: HoldReason) -> Result<(), NotDecidable> {
        match self {
            Self::Release { agreed_recipients } => decided.release(reason, agreed_recipients),
            Self::Reroute { care_home, registered_practice } => {
                decided.reroute(reason, care_home.clone(), registered_practice.clone())
            }
        }
    }
}

/// A copy that is queued, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its identifier, once it is queued.
    pub id: DeliveryId,
    /// As what.
    pub kind: RecipientKind,
    /// To whom.
    pub recipient: OdsCode,
    /// The recipient's name.
    pub name: String,
    /// How.
    pub transport: TransportKind,
}

/// What became of a decision about a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// The copies are queued.
    Queued(Vec<Planned>),
    /// The transfer is ended without being sent.
    Closed {
        /// The hospital is told by an ITK3 response.
        response: bool,
    },
    /// A preview: these copies would be queued.
    WouldQueue(Vec<Planned>),
    /// A preview: the transfer would be ended.
    WouldClose {
        /// The hospital would be told by an ITK3 response.
        response: bool,
    },
    /// No such open hold.
    NotFound,
    /// The decision is not one for this hold.
    NotDecidable(NotDecidable),
    /// The reason is still there, or another one is: nothing was queued.
    StillHeld(HoldCause),
    /// The message would be refused now.
    Refused(String),
}

/// What a walk with the decision came to.
struct Walk {
    released: Released,
    patient: Option<NhsNumber>,
    care_home: Option<OdsCode>,
    deliveries: Vec<NewDelivery>,
    /// What it replaces, and the ends of the earlier versions' copies.
    replaces: Option<(TransferId, u32)>,
    earlier: Vec<TransferRecord>,
    endings: Vec<Ending>,
    /// The transfer itself, and the ends of what went where it does not go any more.
    transfer: Option<TransferRecord>,
    taken_back: Vec<Ending>,
}

impl Walk {
    fn nothing(released: Released) -> Self {
        Self {
            released,
            patient: None,
            care_home: None,
            deliveries: Vec::new(),
            replaces: None,
            earlier: Vec::new(),
            endings: Vec::new(),
            transfer: None,
            taken_back: Vec::new(),
        }
    }
}

impl Gateway {
    /// Walks a held message again from its stored bytes, with what was decided, and queues its copies if nothing holds it
    /// any more. If something else holds it, the hold takes over that reason, with its owner and its time.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn release(&self, hold: HoldId, choice: Choice, decider: &Decider<'_>) -> Result<Released, StoreError> {
        match self.store.open_hold(hold).await? {
            Some(held) => self.release_for(hold, held.hold.reason, choice, decider).await,
            None => Ok(Released::NotFound),
        }
    }

    /// The same by whoever saw it held for this reason: about another one, which may be that the person has died, they decided nothing.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn release_for(
        &self,
        hold: HoldId,
        held_for: HoldReason,
        choice: Choice,
        decider: &Decider<'_>,
    ) -> Result<Released, StoreError> {
        for _ in 1..TRIES {
            match self.try_to_release(hold, Some((&choice, held_for)), decider).await {
                // The hold, what it replaces, or a recipient's address moved on between the look and the commit.
                Err(StoreError::Overtaken) => {}
                outcome => return outcome,
            }
        }
        self.try_to_release(hold, Some((&choice, held_for)), decider).await
    }

    /// Looks at a replacement again now that what it replaces has come; whether it went on.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(crate) async fn join(&self, hold: HoldId) -> Result<bool, StoreError> {
        Ok(matches!(self.look_again(hold, "what it replaces has come").await?, Released::Queued(_)))
    }

    /// Looks at a held transfer again, as the gateway, for this reason: nothing is decided but by what has changed since.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub(crate) async fn look_again(&self, hold: HoldId, reason: &str) -> Result<Released, StoreError> {
        let decider = Decider { agent: Agent::gateway(), by: Agent::GATEWAY, reason, act: true, request_id: None };
        for _ in 0..TRIES {
            match self.try_to_release(hold, None, &decider).await {
                Err(StoreError::Overtaken) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Overtaken)
    }

    async fn try_to_release(
        &self,
        hold: HoldId,
        choice: Option<(&Choice, HoldReason)>,
        decider: &Decider<'_>,
    ) -> Result<Released, StoreError> {
        let Some(held) = self.store.open_hold(hold).await? else { return Ok(Released::NotFound) };
        let mut decided: Decided =
            serde_json::from_str(&held.decided).map_err(|_| StoreError::Corrupt("holds.decided".to_owned()))?;
        let reason = held.hold.reason;
        let is_other = choice.is_some_and(|(_, held_for)| held_for != reason);
        let said = choice.filter(|_| !is_other).map_or(Ok(()), |(choice, _)| choice.add_to(&mut decided, reason));
        let walk = match said {
            _ if is_other => Walk::nothing(Released::StillHeld(HoldCause::new(reason, held.hold.detail.clone()))),
            Ok(()) => {
                // A person waits for the answer; when nobody does, others go first.
                let asker = if choice.is_some() { Asker::Person } else { Asker::Gateway };
                self.walk_again(&held, &decided, self.asking(Some(held.transfer), decider.request_id).by(&asker))
                    .await?
            }
            Err(why) => Walk::nothing(Released::NotDecidable(why)),
        };
        let mut audit = vec![self.decision_row(&held, &walk, &decided, decider)];
        let at = self.clock.now();
        match &walk.released {
            Released::Queued(planned) if !decider.act => {
                self.store.audit(audit).await?;
                Ok(Released::WouldQueue(planned.clone()))
            }
            Released::Queued(_) => {
                let back = TakenBack {
                    agent: decider.agent.clone(),
                    by: Some(decider.by),
                    reason: decider.reason,
                    request_id: decider.request_id,
                };
                let copies: Vec<_> =
                    walk.earlier.iter().chain(&walk.transfer).flat_map(TransferRecord::copies).collect();
                audit.extend(self.ending_rows(&walk.endings, &copies, &back));
                audit.extend(self.ending_rows(&walk.taken_back, &copies, &back));
                let Walk { released, patient, care_home, deliveries, replaces, endings, taken_back, .. } = walk;
                let release = Release {
                    hold,
                    seen: held.seen,
                    patient,
                    care_home,
                    deliveries,
                    endings,
                    taken_back,
                    replaces,
                    at,
                    audit,
                };
                let done = self.store.release_hold(release).await?;
                self.work.notify_one();
                Ok(if done { released } else { Released::NotFound })
            }
            Released::StillHeld(cause) if decider.act => {
                let (hold, decided) = self.hold_from_now(&held, cause, &decided);
                if cause.reason != reason {
                    audit.push(self.held_row(&held, &walk, cause));
                }
                // From now on what becomes of the one becomes of the other, though this one waits for something else.
                let joins = walk.replaces;
                let change = HoldChange { hold, seen: held.seen, joins, decided, at, audit };
                let changed = self.store.change_hold(change).await?;
                Ok(if changed { walk.released } else { Released::NotFound })
            }
            _ => {
                self.store.audit(audit).await?;
                Ok(walk.released)
            }
        }
    }

    /// Ends a held transfer without sending it. Its Task fails with the reason, and the hospital gets the negative ITK3
    /// response when it asked for one. A replacement makes the versions before it null and void, in the same commit.
    ///
    /// # Errors
    /// When the store cannot be read or commit.
    pub async fn close(&self, hold: HoldId, decider: &Decider<'_>) -> Result<Released, StoreError> {
        for _ in 1..TRIES {
            match self.try_to_close(hold, decider).await {
                // What it replaces moved on between the look and the commit, or has come.
                Err(StoreError::Overtaken) => {}
                outcome => return outcome,
            }
        }
        self.try_to_close(hold, decider).await
    }

    async fn try_to_close(&self, hold: HoldId, decider: &Decider<'_>) -> Result<Released, StoreError> {
        let Some(held) = self.store.open_hold(hold).await? else { return Ok(Released::NotFound) };
        let Some(transfer) = self.store.transfer(held.transfer).await? else { return Ok(Released::NotFound) };
        // After a recall others keep what they have.
        let never_sent = transfer.copies().next().is_none();
        let is_replacement = transfer.replaces.is_some() || transfer.awaits.is_some() && never_sent;
        let answer = if is_replacement {
            not_replaced(transfer.reply.infrastructure)
        } else {
            (Level::Business, code_of_closed(held.hold.reason))
        };
        let response = self.response_to_sender(transfer.id, &transfer.sender, &transfer.reply, answer);
        let told = response.is_some();
        if !decider.act {
            return Ok(Released::WouldClose { response: told });
        }
        let at = self.clock.now();
        let detail = format!("{} closed by {}, nothing is sent: {}", held.hold.reason, decider.by, decider.reason);
        let mut entry = self.decision_entry(&held, decider, true, detail);
        entry.patient.clone_from(&transfer.patient);
        let mut audit = vec![self.journal.row(&entry)];
        let voids = if is_replacement && never_sent {
            let (voided, rows) = self.voided(&transfer, decider).await?;
            audit.extend(rows);
            Some(voided)
        } else {
            None
        };
        let closure = Closure {
            hold,
            seen: held.seen,
            reason: format!("not sent ({}): {}", held.hold.reason, decider.reason),
            responses: response.into_iter().collect(),
            voids,
            at,
            audit,
        };
        let done = self.store.close_hold(closure).await?;
        self.work.notify_one();
        Ok(if done { Released::Closed { response: told } } else { Released::NotFound })
    }

    async fn walk_again(&self, held: &HeldTransfer, decided: &Decided, asking: Asking<'_>) -> Result<Walk, StoreError> {
        let transfer = self.store.transfer(held.transfer).await?;
        let original = self.store.original(held.transfer).await?;
        let (Some(transfer), Some(original)) = (transfer, original) else {
            return Ok(Walk::nothing(Released::NotFound));
        };
        let Some(client) = self.store.client(&transfer.client_id).await? else {
            let why = "the sender's client is no longer registered".to_owned();
            return Ok(Walk::nothing(Released::Refused(why)));
        };
        let body = Bytes::from(original.body);
        let pds = Pds::Asked(asking);
        let prepared = self.walk(&client, &body, &original.media_type, held.transfer, decided, pds).await;
        let parts = prepared.map(|prepared| {
            let is_replacement = prepared.facts.replaces.is_some();
            (prepared.routing, prepared.predecessor, is_replacement)
        });
        match parts {
            Ok((Routing::Deliver { identified, copies }, predecessor, is_replacement)) => {
                let mut deliveries: Vec<_> = copies.into_iter().map(|copy| copy.delivery).collect();
                let earlier = self.versions_before(predecessor.as_ref().map(|before| before.transfer)).await?;
                let home = &identified.care_home.ods;
                let taken_back = self.left_behind(&transfer, &earlier, home, &deliveries).await?;
                // After a recall the others keep what they have.
                deliveries.retain(|new| !keeps_theirs(&transfer, home, new));
                let released = Released::Queued(deliveries.iter().map(planned).collect());
                let version = predecessor.as_ref().map_or(1, |before| before.version + 1);
                let kept = transfer.copies().filter(|old| old.ended.is_none());
                let copies: Vec<Heir<'_>> = deliveries.iter().map(Heir::from).chain(kept.map(Heir::from)).collect();
                let endings = self.superseding(&earlier, version, &copies).await?;
                let (sender, patient) = (&transfer.sender, Some(&identified.patient));
                let notices = self.leaving_told_before(transfer.id, sender, patient, &earlier, &deliveries).await?;
                deliveries.extend(notices);
                if is_replacement {
                    deliveries.extend(self.response_to_sender(
                        transfer.id,
                        &transfer.sender,
                        &transfer.reply,
                        TAKEN_IN,
                    ));
                }
                Ok(Walk {
                    released,
                    patient: Some(identified.patient),
                    care_home: Some(identified.care_home.ods),
                    deliveries,
                    replaces: predecessor.map(|before| (before.transfer, version)),
                    earlier,
                    endings,
                    transfer: Some(transfer),
                    taken_back,
                })
            }
            Ok((Routing::Hold { patient, care_home, cause }, predecessor, _)) => {
                let replaces = predecessor.map(|before| (before.transfer, before.version + 1));
                Ok(Walk { patient, care_home, replaces, ..Walk::nothing(Released::StillHeld(cause)) })
            }
            Err(PrepareError::Refused(refusal)) => Ok(Walk::nothing(Released::Refused(refusal.to_string()))),
            Err(PrepareError::Store(error)) => Err(error),
        }
    }

    /// The hold as it goes on, and the decisions that are kept with it. A decision that changed nothing is not kept.
    fn hold_from_now(&self, held: &HeldTransfer, cause: &HoldCause, decided: &Decided) -> (NewHold, String) {
        let hold = &held.hold;
        if cause.reason == hold.reason {
            return (NewHold { detail: cause.detail.clone(), ..hold.clone() }, held.decided.clone());
        }
        let (owner, due) = self.settings.hold_until(cause.reason, held.expected, self.clock.now());
        let decided = serde_json::to_string(decided).expect("codes and words are JSON");
        (NewHold { id: hold.id, reason: cause.reason, detail: cause.detail.clone(), owner, due }, decided)
    }

    /// The row of one decision: what was decided and came of it.
    fn decision_row(&self, held: &HeldTransfer, walk: &Walk, decided: &Decided, decider: &Decider<'_>) -> AuditRow {
        let reason = held.hold.reason;
        let (success, what) = match &walk.released {
            Released::Queued(copies) if decider.act => (true, format!("released, {} copies", copies.len())),
            Released::Queued(copies) => (true, format!("previewed, {} copies would be queued", copies.len())),
            Released::StillHeld(cause) => (false, format!("not released, still held: {}", cause.reason)),
            Released::Refused(why) => (false, format!("not released, it would be refused: {why}")),
            Released::NotDecidable(_) => (false, "not released, no such decision is possible".to_owned()),
            _ => (false, "not released".to_owned()),
        };
        let detail = format!("{reason} {what}, by {}{}: {}", decider.by, told(decided), decider.reason);
        let mut entry = self.decision_entry(held, decider, success, detail);
        entry.patient.clone_from(&walk.patient);
        self.journal.row(&entry)
    }

    fn decision_entry(&self, held: &HeldTransfer, decider: &Decider<'_>, success: bool, detail: String) -> AuditEntry {
        AuditEntry {
            success,
            transfer: Some(held.transfer),
            request_id: decider.request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::Release, self.clock.now(), decider.agent.clone(), detail)
        }
    }

    fn held_row(&self, held: &HeldTransfer, walk: &Walk, cause: &HoldCause) -> AuditRow {
        let detail = format!("{}: {}", cause.reason, cause.detail);
        self.journal.row(&AuditEntry {
            transfer: Some(held.transfer),
            patient: walk.patient.clone(),
            ..AuditEntry::new(AuditWord::Hold, self.clock.now(), Agent::gateway(), detail)
        })
    }
}

fn planned(delivery: &NewDelivery) -> Planned {
    Planned {
        id: delivery.id,
        kind: delivery.kind,
        recipient: delivery.recipient.clone(),
        name: delivery.recipient_name.clone(),
        transport: delivery.endpoint.kind(),
    }
}

/// The decisions in words.
fn told(decided: &Decided) -> String {
    let mut text = String::new();
    let mut add = |what: &str, value: String| text.push_str(&format!(", {what} {value}"));
    if let Some(home) = &decided.care_home {
        add("care home", home.to_string());
    }
    if let Some(practice) = &decided.registered_practice {
        add("registered practice", practice.to_string());
    }
    let words = |words: Vec<&str>| words.join(" and ");
    if !decided.sent_all_the_same.is_empty() {
        add("sent despite", words(decided.sent_all_the_same.iter().copied().map(HoldReason::as_str).collect()));
    }
    if !decided.agreed_recipients.is_empty() {
        let kinds = decided.agreed_recipients.iter().copied().map(RecipientKind::as_str).collect();
        add("agreed with the ward to go to", words(kinds));
    }
    text
}
