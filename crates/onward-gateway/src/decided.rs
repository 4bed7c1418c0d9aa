//! Who decided about a hold, a copy or a pause, as the log tells it: whoever comes second is told by whom they were overtaken.

use onward_core::audit::{Agent, AuditQuery, AuditWord, FoundAudit};
use onward_core::state::{EndReason, HoldReason};
use onward_core::store::{Resend, StoreError};
use onward_core::{BulkId, DeliveryId, OdsCode, Timestamp, TransferId};

use crate::Gateway;
use crate::explore::{everything, told};
use crate::operate::{CLOSED_COPY, RESUMED, named};

/// Entries about one thing, or about how the gateway is run, that are read at most to find who decided.
const LOOKED_THROUGH: u32 = 200;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A held transfer went on.
    Released,
    /// A held transfer was ended without being sent.
    Closed,
    /// A copy was sent again.
    Resent(Resend),
    /// A copy that did not arrive was taken care of in another way.
    CopyClosed,
    /// A redirect was granted.
    Redirected,
    /// A redirect was refused.
    RedirectRefused,
    /// A copy, or a whole transfer, ended for this reason.
    Ended(EndReason),
    /// A pause ended.
    Resumed,
    /// The sending again of many copies was stopped.
    Stopped,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Who decided: a person's name, or what the gateway and its command line are called.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub verb: Verb,
}

impl Gateway {
    /// The latest decision about a copy; none where the log tells none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn decided_of_copy(&self, copy: DeliveryId) -> Result<Option<Decision>, StoreError> {
        let words = vec![AuditWord::Release, AuditWord::Withdraw];
        let found = self.newest_entries(Some(copy.to_string()), words).await?;
        Ok(found.iter().filter(|entry| entry.delivery == Some(copy)).find_map(decision))
    }

    /// The latest decision that let a held transfer go on or ended it, by whoever holds it or by the hospital; none where the log tells none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn decided_of_held(&self, transfer: TransferId) -> Result<Option<Decision>, StoreError> {
        let words = vec![AuditWord::Release, AuditWord::Withdraw];
        let found = self.newest_entries(Some(transfer.to_string()), words).await?;
        // What ended one copy alone did not end the hold.
        let whole = found.iter().filter(|entry| entry.delivery.is_none());
        let closes = |decision: &Decision| matches!(decision.verb, Verb::Released | Verb::Closed | Verb::Ended(_));
        Ok(whole.filter_map(decision).find(closes))
    }

    /// Whether a person has named the registered practice to which a transfer goes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn practice_was_decided(&self, transfer: TransferId) -> Result<bool, StoreError> {
        let found = self.newest_entries(Some(transfer.to_string()), vec![AuditWord::Release]).await?;
        // As `holds` words it. Who wrote the same as a reason makes a person look once more.
        Ok(found.iter().filter_map(told).any(|detail| detail.contains(", registered practice ")))
    }

    /// Who ended the latest pause of a recipient, or of everybody; none where the log tells none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resumed_by(&self, recipient: Option<&OdsCode>) -> Result<Option<Decision>, StoreError> {
        self.configured_by(&format!("{} {RESUMED} ", named(recipient)), Verb::Resumed).await
    }

    /// Who stopped the sending again of many copies; none where the log tells none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stopped_by(&self, bulk: BulkId) -> Result<Option<Decision>, StoreError> {
        self.configured_by(&format!("sending many copies again ({bulk}) stopped by "), Verb::Stopped).await
    }

    async fn configured_by(&self, begins: &str, verb: Verb) -> Result<Option<Decision>, StoreError> {
        let found = self.newest_entries(None, vec![AuditWord::Configure]).await?;
        Ok(found.iter().find_map(|entry| {
            let rest = told(entry)?.strip_prefix(begins)?.to_owned();
            Some(Decision { by: by(entry, until(&rest, &[':']))?, at: entry.recorded, verb })
        }))
    }

    async fn newest_entries(
        &self,
        entity: Option<String>,
        words: Vec<AuditWord>,
    ) -> Result<Vec<FoundAudit>, StoreError> {
        self.store.search_audit(AuditQuery { entity, words, limit: LOOKED_THROUGH, ..everything(None) }).await
    }
}

/// The decision that an entry tells of; what came to nothing, was only previewed or asked for is none.
fn decision(entry: &FoundAudit) -> Option<Decision> {
    let made = |verb, name: &str| Some(Decision { by: by(entry, name)?, at: entry.recorded, verb });
    let detail = told(entry)?;
    // As `lifecycle` words it.
    if entry.word == AuditWord::Withdraw {
        let ending = detail.strip_prefix("the whole transfer ").unwrap_or(&detail);
        let why = until(ending, &[',', ':']);
        let name = ending[why.len()..].strip_prefix(", by ").map_or("", |by| until(by, &[':']));
        return made(Verb::Ended(why.parse().ok()?), name);
    }
    // As `operate` words it.
    if let Some(rest) = detail.strip_prefix(CLOSED_COPY) {
        return made(Verb::CopyClosed, until(rest, &[',', ':']));
    }
    let (first, rest) = detail.split_once(' ')?;
    // As `holds` words it.
    if first.parse::<HoldReason>().is_ok() {
        if let Some(rest) = rest.strip_prefix("closed by ") {
            return made(Verb::Closed, until(rest, &[',']));
        }
        let (_, by) = rest.strip_prefix("released, ")?.split_once(", by ")?;
        return made(Verb::Released, until(by, &[',', ':']));
    }
    // As `operate` and `resending` do.
    if let Ok(how) = first.parse::<Resend>() {
        return if rest.starts_with("of a ") { made(Verb::Resent(how), "") } else { None };
    }
    // As `redirect` does; what is asked for comes before the words of whoever asked.
    let rest = rest.strip_prefix("to ").filter(|_| first == "redirect")?;
    let outcomes = [
        (" granted, asked for by ", Some(Verb::Redirected)),
        (" refused, asked for by ", Some(Verb::RedirectRefused)),
        (" asked for: ", None),
    ];
    let first = outcomes.iter().filter_map(|(words, verb)| Some((rest.find(*words)?, *verb))).min_by_key(|(at, _)| *at);
    made(first?.1?, "")
}

/// Who an entry says it was: at the command line, whose name it was told.
fn by(entry: &FoundAudit, name: &str) -> Option<String> {
    Some(match entry.agent.as_deref()? {
        Agent::GATEWAY => "Onward itself".to_owned(),
        Agent::OPERATOR if name.is_empty() => "Somebody at the command line".to_owned(),
        Agent::OPERATOR => name.to_owned(),
        agent => agent.to_owned(),
    })
}

fn until<'t>(text: &'t str, ends: &[char]) -> &'t str {
    text.split(ends).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use onward_core::audit::AuditEntry;

    use super::*;
    use crate::journal::Journal;

    fn read(agent: &str, word: AuditWord, detail: &str) -> Option<(String, Verb)> {
        let journal = Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
        let row = journal.row(&AuditEntry::new(word, Timestamp::UNIX_EPOCH, Agent::named(agent, None), detail));
        decision(&FoundAudit {
            index: 3,
            recorded: row.recorded,
            word: row.word,
            agent: Some(row.agent),
            organisation: None,
            delivery: None,
            patient: None,
            pseudonym: None,
            event: Some(row.event),
        })
        .map(|decision| (decision.by, decision.verb))
    }

    #[test]
    fn a_decision_is_read_as_it_was_written_and_what_decided_nothing_is_none() {
        let release = |agent: &str, detail: &str| read(agent, AuditWord::Release, detail);
        let reason = HoldReason::ALL[0];
        let by = |name: &str, verb| Some((name.to_owned(), verb));
        let released = format!("{reason} released, 3 copies, by Ada Wells, care home VMH02: the ward rang");
        assert_eq!(release("Ada Wells", released.as_str()), by("Ada Wells", Verb::Released));
        assert_eq!(release("operator", released.as_str()), by("Ada Wells", Verb::Released), "the command line's word");
        assert_eq!(release("onward", released.as_str()), by("Onward itself", Verb::Released));
        let closed = format!("{reason} closed by Ben Cole, nothing is sent: sent twice");
        assert_eq!(release("operator", closed.as_str()), by("Ben Cole", Verb::Closed));
        let granted =
            "redirect to care home VMH02 granted, asked for by Ada Wells: asked for: as refused, asked for by";
        assert_eq!(release("Ben Cole", granted), by("Ben Cole", Verb::Redirected));
        let refused = "redirect to care home VMH02 refused, asked for by Ada Wells: x granted, asked for by y";
        assert_eq!(release("Ben Cole", refused), by("Ben Cole", Verb::RedirectRefused));
        for how in Resend::ALL {
            assert_eq!(
                release("Ada Wells", &format!("{how} of a failed copy: x")),
                by("Ada Wells", Verb::Resent(*how))
            );
        }
        assert_eq!(
            release("operator", "retry of a failed copy: x"),
            by("Somebody at the command line", Verb::Resent(Resend::Retry))
        );
        let elsewhere = "handed over otherwise by Ada Wells, a failed copy: read out, as refused, asked for by";
        assert_eq!(release("operator", elsewhere), by("Ada Wells", Verb::CopyClosed));
        let ended = |agent: &str, detail: &str| read(agent, AuditWord::Withdraw, detail);
        let epr = |why| by("northmoor-epr", Verb::Ended(why));
        assert_eq!(ended("northmoor-epr", "withdrawn: sent twice"), epr(EndReason::Withdrawn));
        assert_eq!(ended("northmoor-epr", "the whole transfer withdrawn: , by x"), epr(EndReason::Withdrawn));
        let recalled = Verb::Ended(EndReason::Recalled);
        assert_eq!(ended("operator", "recalled, by Ada Wells: wrong home"), by("Ada Wells", recalled));
        assert_eq!(ended("Ben Cole", "recalled, by Ada Wells: wrong home"), by("Ben Cole", recalled));
        let superseded = Verb::Ended(EndReason::Superseded);
        assert_eq!(ended("onward", "superseded: version 2 took its place"), by("Onward itself", superseded));
        assert_eq!(ended("onward", "something: else"), None);
        for nothing in [
            format!("{reason} previewed, 3 copies would be queued, by Ada Wells: x"),
            format!("{reason} not released, still held: {reason}, by Ada Wells: x"),
            "redirect to care home VMH02 asked for: as granted, asked for by".to_owned(),
            "something else".to_owned(),
        ] {
            assert_eq!(release("Ada Wells", nothing.as_str()), None, "{nothing}");
        }
    }
}
