//! Rows of the audit log: entries as a verifier and as a search read them, checkpoints, and who else has them.

use onward_core::audit::{FoundAudit, StoredCheckpoint};
use onward_core::store::evidence::{PolicyInForce, StoredCosignature};
use onward_core::store::{AuditColumns, AuditContent, Contents, StoredAudit};

use super::unless_erased;
use crate::columns::{Columns, Corrupt};
use crate::sealing::{self, Keychain, Place, Unread, key_of};

/// The columns of [`audit`].
pub(crate) const AUDIT: &str =
    "position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, entry, event,
     shown IS NOT NULL AS listed,
     CASE WHEN shown IS NOT NULL THEN
         (SELECT string_agg(s.subject, ' ') FROM audit_shown s WHERE s.position = audit_log.position)
     END AS showed";

pub(crate) fn audit(columns: &Columns<'_>, keys: &Keychain) -> Result<StoredAudit, Unread> {
    let content = content(columns, keys)?;
    let patient = match columns.get::<Option<String>>("patient")? {
        Some(index) if content.event().is_some() => match keys.person(columns.table(), &index) {
            Ok(person) => person.map(|number| number.expose().to_owned()),
            // A verifier judges this: what stands there is no person's.
            Err(Unread::Corrupt(_)) => Some(index),
            Err(unread) => return Err(unread),
        },
        _ => None,
    };
    let entry = columns.get::<Option<Vec<u8>>>("entry")?;
    let showed: Option<String> = columns.get("showed")?;
    let showed: Vec<String> = showed.iter().flat_map(|ids| ids.split(' ')).map(str::to_owned).collect();
    Ok(StoredAudit {
        index: columns.count("position")?,
        entry: entry.or_else(|| content.event().map(<[u8]>::to_vec)),
        content,
        leaf: columns.get("leaf")?,
        columns: AuditColumns {
            id: columns.get("id")?,
            recorded: columns.moment("recorded")?,
            word: columns.get("word")?,
            transfer: columns.get("transfer")?,
            delivery: columns.get("delivery")?,
            agent: columns.get("agent")?,
            organisation: columns.get("organisation")?,
            patient,
            shown: columns.flag("listed")?.then_some(showed),
        },
    })
}

/// The content of an entry, with every hash that its header has of it checked.
fn content(columns: &Columns<'_>, keys: &Keychain) -> Result<AuditContent, Unread> {
    let sealed: Vec<u8> = columns.get("event")?;
    let header: Option<Vec<u8>> = columns.get("entry")?;
    let key = unless_erased(keys.key(key_of(&sealed).ok_or_else(|| columns.corrupt("event"))?))?;
    let opened = sealing::opened(key.as_deref(), &columns.get::<String>("id")?, header.as_deref(), &sealed);
    Ok(opened.map_err(|_| columns.corrupt("event"))?)
}

/// Where an AuditEvent is sealed.
pub(crate) fn of_event(id: &str) -> Place<'_> {
    Place::new("audit_log", "event", id)
}

/// The columns of [`found_audit`], of `audit_log a`.
pub(crate) const FOUND_AUDIT: &str =
    "a.position, a.id, a.recorded, a.word, a.delivery, a.agent, a.organisation, a.patient, a.entry, a.event";

pub(crate) fn found_audit(columns: &Columns<'_>, keys: &Keychain) -> Result<FoundAudit, Unread> {
    let event = match content(columns, keys)? {
        AuditContent::Open { event, .. } => Some(event),
        AuditContent::Erased => None,
    };
    let pseudonym = columns.get::<Option<String>>("patient")?;
    let index = pseudonym.as_deref().filter(|_| event.is_some());
    Ok(FoundAudit {
        index: columns.count("position")?,
        recorded: columns.moment("recorded")?,
        word: columns.parsed("word")?,
        agent: columns.get("agent")?,
        organisation: columns.get("organisation")?,
        delivery: columns.parsed_opt("delivery")?,
        patient: index.map(|index| keys.person(columns.table(), index)).transpose()?.flatten(),
        pseudonym,
        event,
    })
}

pub(crate) fn checkpoint(columns: &Columns<'_>) -> Result<StoredCheckpoint, Corrupt> {
    Ok(StoredCheckpoint { size: columns.count("size")?, note: columns.get("note")? })
}

pub(crate) fn cosignature(columns: &Columns<'_>) -> Result<StoredCosignature, Corrupt> {
    Ok(StoredCosignature {
        size: columns.count("size")?,
        witness: columns.get("witness")?,
        line: columns.get("line")?,
        at: columns.moment("at")?,
    })
}

pub(crate) fn contents(columns: &Columns<'_>) -> Result<Contents, Corrupt> {
    Ok(Contents { sha256: columns.get("sha256")?, names: columns.get("names")? })
}

pub(crate) fn policy_in_force(columns: &Columns<'_>) -> Result<PolicyInForce, Corrupt> {
    Ok(PolicyInForce { kind: columns.parsed("kind")?, since: columns.moment("since")?, text: columns.get("text")? })
}

pub(crate) fn forwarding(columns: &Columns<'_>) -> Result<(String, u64), Corrupt> {
    Ok((columns.get("sink")?, columns.count("position")?))
}
