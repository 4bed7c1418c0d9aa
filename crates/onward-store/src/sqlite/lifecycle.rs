//! Later versions, copies that are taken back, and pauses.

use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::state::EndReason;
use onward_core::store::{Acceptance, Ending, Late, Pause, Predecessor, TakeBack, Voided, Waiting};
use onward_core::{DeliveryId, OdsCode, TransferId};
use rusqlite::params;

use super::audit;
use super::deliveries;
use super::elsewhere;
use super::failure::Failure;
use super::keyed::Keyed;
use super::transfers;
use crate::columns::Columns;
use crate::query;
use crate::rows::{self, EVERYBODY, Origin, PREDECESSOR};
use crate::stored::{micros, micros_opt};
use crate::versions::{self, ATTEMPTED, IS_SENDING, InUse, NEWEST, Told, WAITS, WENT, has_gone_elsewhere};

/// A document by its own identifier, else the newest of its set: of one that was not replaced there is at most one.
pub(super) fn predecessor(
    c: &Keyed<'_>,
    sender: &OdsCode,
    named: &str,
    except: TransferId,
) -> Result<Option<Predecessor>, Failure> {
    for by in [
        "AND document_id = ?2",
        "AND document_set_id = ?2 ORDER BY replaced_by IS NOT NULL, version DESC, received DESC, id LIMIT 1",
    ] {
        let found = c
            .prepare_cached(&format!("SELECT {PREDECESSOR} FROM transfers WHERE sender = ?1 AND id <> ?3 {by}"))?
            .query_and_then(params![sender.as_str(), named, except.to_string()], |row| {
                c.opened(|keys| rows::predecessor(&Columns::of("transfers", row), keys))
            })?
            .next()
            .transpose()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

pub(super) fn waiting(c: &Keyed<'_>, sender: &OdsCode, for_any: &[String]) -> Result<Vec<Waiting>, Failure> {
    let mut found = Vec::new();
    let mut statement = c.prepare_cached(&format!(
        "SELECT h.id AS hold, t.id FROM transfers t JOIN holds h ON h.transfer = t.id
         WHERE t.sender = ? AND t.awaits = ? AND h.closed IS NULL AND {WAITS} ORDER BY t.dated, t.received, t.id"
    ))?;
    for named in for_any {
        for waiting in statement.query_and_then(params![sender.as_str(), named], |row| {
            Ok::<_, Failure>(rows::waiting(&Columns::of("transfers", row))?)
        })? {
            let waiting = waiting?;
            if !found.contains(&waiting) {
                found.push(waiting);
            }
        }
    }
    Ok(found)
}

pub(super) fn waiting_in_vain(c: &Keyed<'_>) -> Result<Vec<Waiting>, Failure> {
    c.prepare_cached(&versions::waiting_in_vain())?
        .query_and_then([], |row| Ok(rows::waiting(&Columns::of("transfers", row))?))?
        .collect()
}

pub(super) fn come_since(c: &Keyed<'_>, transfer: TransferId) -> Result<Option<TransferId>, Failure> {
    let awaiting = c
        .prepare_cached(
            "SELECT sender, awaits, dated FROM transfers WHERE id = ? AND awaits IS NOT NULL AND replaces IS NULL",
        )?
        .query_and_then([transfer.to_string()], |row| {
            let columns = Columns::of("transfers", row);
            let dated = columns.moment_opt("dated")?;
            Ok::<(OdsCode, String, Option<Timestamp>), Failure>((
                columns.parsed("sender")?,
                columns.get("awaits")?,
                dated,
            ))
        })?
        .next()
        .transpose()?;
    let Some((sender, named, dated)) = awaiting else { return Ok(None) };
    let found = predecessor(c, &sender, &named, transfer)?;
    Ok(found.filter(|found| versions::may_precede(found, transfer, micros_opt(dated))).map(|found| found.transfer))
}

pub(super) fn successor(
    c: &Keyed<'_>,
    sender: &OdsCode,
    named: &[String],
    dated: Option<Timestamp>,
    except: &[TransferId],
) -> Result<Option<TransferId>, Failure> {
    let mut statement = c.prepare_cached(&versions::successors())?;
    for named in named {
        let found = statement.query_and_then(params![sender.as_str(), named, micros_opt(dated)], |row| {
            Ok::<TransferId, Failure>(Columns::of("transfers", row).parsed("id")?)
        })?;
        for id in found {
            let id = id?;
            if !except.contains(&id) {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// Refuses what was prepared before its place among the versions was known: what it replaces has come meanwhile, or what replaces it
/// waits for it no longer.
pub(super) fn in_order(c: &Keyed<'_>, acceptance: &Acceptance) -> Result<(), Failure> {
    let transfer = &acceptance.transfer;
    let mut except = match transfer.replaces {
        Some(_) => earlier_versions(c, transfer.id)?,
        None => Vec::new(),
    };
    except.push(transfer.id);
    let named: Vec<String> = transfer.document_id.iter().chain(&transfer.document_set_id).cloned().collect();
    let by = successor(c, &transfer.sender, &named, transfer.dated, &except)?;
    let has_come = transfer.awaits.is_some() && come_since(c, transfer.id)?.is_some();
    if has_come || by != acceptance.late.as_ref().map(|late| late.by) {
        return Err(Failure::Overtaken);
    }
    Ok(())
}

/// Ends a transfer that came after what replaces it, and names the two to each other.
pub(super) fn come_late(
    c: &Keyed<'_>,
    transfer: TransferId,
    late: &Late,
    endings: &[Ending],
    at: Timestamp,
) -> Result<(), Failure> {
    c.prepare_cached("UPDATE transfers SET replaced_by = ? WHERE id = ?")?
        .execute([late.by.to_string(), transfer.to_string()])?;
    follow(c, late.by, transfer, at)?;
    end_transfer(c, transfer, late.why, &late.reason, at)?;
    if late.earlier_stay {
        return Ok(());
    }
    let earlier = earlier_versions(c, transfer)?;
    if !in_use(c, &earlier)?.live_ones_end(endings) {
        return Err(Failure::Overtaken);
    }
    end_copies(c, endings, at)?;
    elsewhere::mark_heirs(c, endings)?;
    for id in earlier {
        end_transfer(c, id, late.why, &late.reason, at)?;
    }
    Ok(())
}

/// Gives `transfer` its predecessor, which names it already, and all from there on their places among the versions.
fn follow(c: &Keyed<'_>, transfer: TransferId, predecessor: TransferId, at: Timestamp) -> Result<(), Failure> {
    c.prepare_cached("UPDATE transfers SET replaces = ?, changed = ? WHERE id = ?")?.execute(params![
        predecessor.to_string(),
        micros(at),
        transfer.to_string()
    ])?;
    c.prepare_cached(
        "WITH RECURSIVE later (id, far) AS (
             SELECT replaced_by, 1 FROM transfers WHERE id = ?1 AND replaced_by IS NOT NULL
             UNION ALL SELECT t.replaced_by, far + 1 FROM transfers t JOIN later ON t.id = later.id
                 WHERE t.replaced_by IS NOT NULL
         ) UPDATE transfers SET version = (SELECT p.version FROM transfers p WHERE p.id = ?1)
                 + (SELECT far FROM later WHERE later.id = transfers.id)
             WHERE id IN (SELECT id FROM later)",
    )?
    .execute([predecessor.to_string()])?;
    Ok(())
}

/// Joins a transfer that ends with what it replaces, where that came after it; refused when something else, or nothing, did.
fn join_to_end(c: &Keyed<'_>, transfer: TransferId, joins: Option<TransferId>, at: Timestamp) -> Result<(), Failure> {
    if come_since(c, transfer)? != joins {
        return Err(Failure::Overtaken);
    }
    if let Some(predecessor) = joins {
        c.prepare_cached("UPDATE transfers SET replaced_by = ? WHERE id = ?")?
            .execute([transfer.to_string(), predecessor.to_string()])?;
        follow(c, transfer, predecessor, at)?;
    }
    Ok(())
}

/// Ends the versions before a replacement that is not sent.
pub(super) fn void(c: &Keyed<'_>, transfer: TransferId, voided: &Voided, at: Timestamp) -> Result<(), Failure> {
    join_to_end(c, transfer, voided.joins, at)?;
    let earlier = earlier_versions(c, transfer)?;
    if !in_use(c, &earlier)?.all_end(&voided.endings) {
        return Err(Failure::Overtaken);
    }
    for id in earlier {
        end_transfer(c, id, EndReason::Void, &voided.reason, at)?;
    }
    end_copies(c, &voided.endings, at)?;
    Ok(())
}

/// Makes `transfer` the successor of `predecessor`; `false` when that has another one.
pub(super) fn succeed(
    c: &Keyed<'_>,
    transfer: TransferId,
    predecessor: TransferId,
    at: Timestamp,
) -> Result<bool, Failure> {
    let taken = c
        .prepare_cached(
            "UPDATE transfers SET replaced_by = ?1, changed = ?2
             WHERE id = ?3 AND (replaced_by IS NULL OR replaced_by = ?1)",
        )?
        .execute(params![transfer.to_string(), micros(at), predecessor.to_string()])?;
    if taken == 0 {
        return Ok(false);
    }
    // What waits for a person has been overtaken: nobody needs to decide about it any more.
    let waited = c
        .prepare_cached("UPDATE holds SET closed = ? WHERE transfer = ? AND closed IS NULL")?
        .execute(params![micros(at), predecessor.to_string()])?;
    // Of one that is held after a recall others rightly have copies, which stay in use until its successor is sent.
    let used = || c.prepare_cached(query::IN_USE)?.exists([predecessor.to_string()]);
    if waited > 0 && !used()? {
        end_transfer(c, predecessor, EndReason::Superseded, "a later version came before it was released", at)?;
    }
    Ok(true)
}

/// The versions before this one, the nearest first.
fn earlier_versions(c: &Keyed<'_>, transfer: TransferId) -> Result<Vec<TransferId>, Failure> {
    c.prepare_cached(
        "WITH RECURSIVE chain (id, replaces, far) AS (
             SELECT id, replaces, 0 FROM transfers WHERE id = ?
             UNION ALL SELECT t.id, t.replaces, far + 1 FROM transfers t JOIN chain ON t.id = chain.replaces
         ) SELECT id FROM chain WHERE far > 0 ORDER BY far",
    )?
    .query_and_then([transfer.to_string()], |row| Ok(Columns::of("transfers", row).parsed("id")?))?
    .collect()
}

/// Ends the copies of all earlier versions; `false`, with nothing to be kept, when `endings` leave one out that is live.
pub(super) fn supersede(
    c: &Keyed<'_>,
    transfer: TransferId,
    endings: &[Ending],
    at: Timestamp,
) -> Result<bool, Failure> {
    let earlier = earlier_versions(c, transfer)?;
    if !in_use(c, &earlier)?.live_ones_end(endings) {
        return Ok(false);
    }
    end_copies(c, endings, at)?;
    if earlier.len() > 1 {
        elsewhere::mark_line(c, endings)?;
    }
    for id in earlier {
        end_transfer(c, id, EndReason::Superseded, "a later version took its place", at)?;
    }
    Ok(true)
}

/// Copies of these transfers that their recipients may still use.
fn in_use(c: &Keyed<'_>, transfers: &[TransferId]) -> Result<InUse, Failure> {
    let mut in_use = InUse::default();
    let mut statement = c.prepare_cached(
        "SELECT id, ended IS NULL AS live FROM deliveries
         WHERE transfer = ? AND kind <> 'sender' AND notice_of IS NULL AND (ended IS NULL OR ended = 'superseded')",
    )?;
    for transfer in transfers {
        for copy in statement.query_and_then([transfer.to_string()], |row| {
            let columns = Columns::of("deliveries", row);
            Ok::<(DeliveryId, bool), Failure>((columns.parsed("id")?, columns.flag("live")?))
        })? {
            let (id, live) = copy?;
            in_use.add(id, live);
        }
    }
    Ok(in_use)
}

/// Ends a transfer, with its hold, unless it has ended before.
fn end_transfer(c: &Keyed<'_>, id: TransferId, why: EndReason, reason: &str, at: Timestamp) -> Result<bool, Failure> {
    let id = id.to_string();
    let words = match c.seal_text(transfers::key(c, &id)?, rows::of_transfer("ended_words", &id), reason) {
        Err(Failure::Erased) => None,
        sealed => Some(sealed?),
    };
    let ended = c
        .prepare_cached("UPDATE transfers SET ended = ?, ended_words = ?, changed = ? WHERE id = ? AND ended IS NULL")?
        .execute(params![why.as_str(), words, micros(at), id])?;
    if ended == 0 {
        return Ok(false);
    }
    c.prepare_cached("UPDATE holds SET closed = ? WHERE transfer = ? AND closed IS NULL")?
        .execute(params![micros(at), id])?;
    Ok(true)
}

/// Ends copies and tells whoever may have one, of the first such copy in this order; whether one of them had not ended before.
pub(super) fn end_copies(c: &Keyed<'_>, endings: &[Ending], at: Timestamp) -> Result<bool, Failure> {
    let (mut told, mut ended) = (Told::default(), false);
    for ending in endings {
        ended |= end_copy(c, ending, &mut told, at)?;
    }
    Ok(ended)
}

/// Ends one copy and queues its notice if it may have left. A lease stays, so that whoever is sending can still record
/// the attempt, and the lane waits for that. `false` when it has ended in this way, or in a stricter one, before.
///
/// Where it was sent before, and where only a version before went, nothing of the recipient's may go any more: nothing of theirs waits for such
/// a notice, which waits only for what is being sent there. The former addresses are not told about whom it was.
fn end_copy(c: &Keyed<'_>, ending: &Ending, told: &mut Told, at: Timestamp) -> Result<bool, Failure> {
    let id = ending.delivery.to_string();
    let stricter = ending.why != EndReason::Superseded;
    let found = c
        .prepare_cached(&format!(
            "SELECT transfer, sender, patient, erased, lane, {WENT}, {ATTEMPTED} AS attempted, {IS_SENDING} AS sending,
                 coalesce(ended = 'superseded', FALSE) AS superseded,
                 opened IS NOT NULL OR (state NOT IN ('queued', 'withdrawn') OR {ATTEMPTED})
                 AND (json_extract(endpoint, '$.transport') <> 'inbox'
                     OR state IN ('accepted', 'in-progress', 'rejected', 'completed')) AS left
             FROM deliveries d WHERE id = ?1 AND (ended IS NULL OR ?2 AND ended = 'superseded' OR ?3 AND ended <> 'recalled')"
        ))?
        .query_and_then(params![id, stricter, ending.why == EndReason::Recalled], |row| {
            let columns = Columns::of("deliveries", row);
            if has_gone_elsewhere(ending, &columns)? {
                return Err(Failure::Overtaken);
            }
            let transfer = columns.parsed("transfer")?;
            let mut origin = c.opened(|keys| Origin::of(&columns, keys, transfer, at))?;
            origin.behind = Some(columns.get("lane")?);
            Ok::<_, Failure>((origin, columns.flag("left")?, columns.flag("sending")?, columns.flag("superseded")?))
        })?
        .next()
        .transpose()?;
    let Some((mut origin, left, sending, superseded)) = found else { return Ok(false) };
    let lane = origin.behind.clone();
    c.prepare_cached(
        "UPDATE deliveries SET ended = ?1, ended_by = ?2, reason = NULL, words = NULL, version = version + 1, changed = ?3,
             next_attempt = NULL,
             state = CASE WHEN state IN ('completed', 'rejected') THEN state ELSE 'withdrawn' END
         WHERE id = ?4",
    )?
    .execute(params![ending.why.as_str(), ending.by.map(|by| by.to_string()), micros(at), id])?;
    deliveries::put_words(c, "words", ending.delivery, &ending.reason)?;
    deliveries::keep_version(c, ending.delivery, at)?;
    if ending.why == EndReason::Recalled {
        // Whoever should not have got it is not told about whom it was.
        origin.patient = None;
    }
    for notice in ending.notice.iter().filter(|notice| (left || ending.seen) && told.is_first(notice)) {
        if superseded {
            origin.behind = Some(notice.id.to_string());
        }
        deliveries::insert(c, &origin, std::slice::from_ref(notice))?;
    }
    let patient = origin.patient.take();
    for notice in ending.went.iter().flat_map(|went| &went.notices).filter(|notice| told.is_first(notice)) {
        let is_there = ending.is_at(&notice.endpoint);
        origin.behind = if sending && is_there { lane.clone() } else { Some(notice.id.to_string()) };
        origin.patient = patient.clone().filter(|_| is_there);
        deliveries::insert(c, &origin, std::slice::from_ref(notice))?;
    }
    Ok(true)
}

/// Whether this is its document's newest version, and, where it is to wait in a hold, one that can.
fn is_newest(c: &Keyed<'_>, transfer: TransferId, to_wait: bool) -> Result<bool, Failure> {
    Ok(c.prepare_cached(&NEWEST.replace('$', "?"))?.exists(params![transfer.to_string(), to_wait])?)
}

pub(super) fn take_back(c: &Keyed<'_>, back: &TakeBack) -> Result<bool, Failure> {
    if let Some(why) = back.whole {
        if !end_transfer(c, back.transfer, why, &back.reason, back.at)? {
            return Ok(false);
        }
        join_to_end(c, back.transfer, back.joins, back.at)?;
        let earlier = earlier_versions(c, back.transfer)?;
        let line: Vec<_> = earlier.iter().copied().chain([back.transfer]).collect();
        if !in_use(c, &line)?.all_end(&back.endings) {
            return Err(Failure::Overtaken);
        }
        // They are used only while a later one stands in for them, or may yet; now none does.
        for id in earlier {
            end_transfer(c, id, why, &back.reason, back.at)?;
        }
    }
    if back.whole.is_none() && !is_newest(c, back.transfer, back.hold.is_some())? {
        return Err(Failure::Overtaken);
    }
    let ended = end_copies(c, &back.endings, back.at)?;
    if back.whole.is_none() && !ended {
        return Ok(false);
    }
    transfers::origin(c, back.transfer, back.at)?;
    if let Some((hold, decided)) = &back.hold {
        transfers::insert_hold(c, back.transfer, hold, decided, back.at)?;
    }
    audit::append(c, &back.audit)?;
    Ok(true)
}

pub(super) fn pause(c: &Keyed<'_>, pause: &Pause, rows: &[AuditRow]) -> Result<bool, Failure> {
    let inserted = c
        .prepare_cached(
            "INSERT INTO pauses (recipient, reason, by, since) VALUES (?, ?, ?, ?) ON CONFLICT (recipient) DO NOTHING",
        )?
        .execute(params![
            pause.recipient.as_ref().map_or(EVERYBODY, OdsCode::as_str),
            pause.reason,
            pause.by,
            micros(pause.since)
        ])?;
    if inserted == 1 {
        audit::append(c, rows)?;
    }
    Ok(inserted == 1)
}

pub(super) fn resume(c: &Keyed<'_>, recipient: Option<&OdsCode>, rows: &[AuditRow]) -> Result<bool, Failure> {
    let ended = c
        .prepare_cached("DELETE FROM pauses WHERE recipient = ?")?
        .execute([recipient.map_or(EVERYBODY, OdsCode::as_str)])?;
    if ended == 1 {
        audit::append(c, rows)?;
    }
    Ok(ended == 1)
}

pub(super) fn pauses(c: &Keyed<'_>) -> Result<Vec<Pause>, Failure> {
    c.prepare_cached("SELECT recipient, reason, by, since FROM pauses ORDER BY recipient <> '*', recipient")?
        .query_and_then([], |row| Ok(rows::pause(&Columns::of("pauses", row))?))?
        .collect()
}
