//! Later versions, copies that are taken back, pauses, and the check of it all.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::state::EndReason;
use onward_core::store::{Acceptance, Ending, Late, NewDelivery, Pause, Predecessor, TakeBack, Voided, Waiting};
use onward_core::{OdsCode, TransferId};
use uuid::Uuid;

use super::columns::numbered;
use super::deliveries;
use super::elsewhere;
use super::failure::Failure;
use super::keyed::Keyed;
use super::session;
use super::transfers;
use super::work::Work;
use crate::columns::Columns;
use crate::query;
use crate::rows::{self, EVERYBODY, PREDECESSOR};
use crate::sealing::Unread;
use crate::stored::{micros, micros_opt};
use crate::versions::{self, ATTEMPTED, IS_SENDING, InUse, NEWEST, Told, WAITS, WENT, has_gone_elsewhere};

/// A document by its own identifier, else the newest of its set: of one that was not replaced there is at most one.
pub(super) async fn predecessor(
    c: &Keyed,
    sender: &OdsCode,
    named: &str,
    except: TransferId,
) -> Result<Option<Predecessor>, Failure> {
    for by in [
        "AND document_id = $2",
        "AND document_set_id = $2 ORDER BY (replaced_by IS NOT NULL), version DESC, received DESC, id LIMIT 1",
    ] {
        let sql = format!("SELECT {PREDECESSOR} FROM transfers WHERE sender = $1 AND id <> $3 {by}");
        if let Some(row) = session::first(c, &sql, &[&sender.as_str(), &named, &except.0]).await? {
            return c.opened_one(Some(&row), |row, keys| rows::predecessor(&Columns::of("transfers", row), keys)).await;
        }
    }
    Ok(None)
}

pub(super) async fn waiting(c: &Client, sender: &OdsCode, for_any: &[String]) -> Result<Vec<Waiting>, Failure> {
    let found = session::all(
        c,
        &format!(
            "SELECT h.id AS hold, t.id FROM transfers t JOIN holds h ON h.transfer = t.id
             WHERE t.sender = $1 AND t.awaits = ANY($2) AND h.closed IS NULL AND {WAITS} ORDER BY t.dated, t.received, t.id"
        ),
        &[&sender.as_str(), &for_any],
    )
    .await?;
    found.iter().map(|row| Ok(rows::waiting(&Columns::of("transfers", row))?)).collect()
}

pub(super) async fn waiting_in_vain(c: &Client) -> Result<Vec<Waiting>, Failure> {
    let found = session::all(c, &versions::waiting_in_vain(), &[]).await?;
    found.iter().map(|row| Ok(rows::waiting(&Columns::of("transfers", row))?)).collect()
}

pub(super) async fn come_since(c: &Keyed, transfer: TransferId) -> Result<Option<TransferId>, Failure> {
    let sql = "SELECT sender, awaits, dated FROM transfers WHERE id = $1 AND awaits IS NOT NULL AND replaces IS NULL";
    let Some(row) = session::first(c, sql, &[&transfer.0]).await? else { return Ok(None) };
    // The columns are not held across the next question.
    let (sender, named, dated) = {
        let columns = Columns::of("transfers", &row);
        let (sender, named): (OdsCode, String) = (columns.parsed("sender")?, columns.get("awaits")?);
        (sender, named, micros_opt(columns.moment_opt("dated")?))
    };
    let found = predecessor(c, &sender, &named, transfer).await?;
    Ok(found.filter(|found| versions::may_precede(found, transfer, dated)).map(|found| found.transfer))
}

pub(super) async fn successor(
    c: &Client,
    sender: &OdsCode,
    named: &[String],
    dated: Option<Timestamp>,
    except: &[TransferId],
) -> Result<Option<TransferId>, Failure> {
    let sql = numbered(&versions::successors());
    for named in named {
        for row in session::all(c, &sql, &[&sender.as_str(), named, &micros_opt(dated)]).await? {
            let id = Columns::of("transfers", &row).parsed("id")?;
            if !except.contains(&id) {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// Locks the transfers that came before what they replace, where that is among these, and the versions after them, which get other
/// numbers; whether there are any. So their holds are closed before this transaction, which is seen then, or after it, and whoever closes
/// them sees what it accepts.
pub(super) async fn lock_successors(c: &Client, accepted: &[&Acceptance]) -> Result<bool, Failure> {
    let (mut senders, mut named) = (Vec::new(), Vec::new());
    for transfer in accepted.iter().map(|acceptance| &acceptance.transfer) {
        for name in transfer.document_id.iter().chain(&transfer.document_set_id) {
            senders.push(transfer.sender.as_str());
            named.push(name.as_str());
        }
    }
    let sql = "SELECT t.id FROM unnest($1::text[], $2::text[]) AS u(sender, named)
         JOIN transfers t ON t.sender = u.sender AND t.awaits = u.named";
    let found = session::all(c, sql, &[&senders, &named]).await?;
    if found.is_empty() {
        return Ok(false);
    }
    let successors: Vec<Uuid> =
        found.iter().map(|row| Columns::of("transfers", row).parsed("id")).collect::<Result<_, _>>()?;
    // The newest first, as whoever takes back a version of a line does it.
    let sql = "WITH RECURSIVE line (id) AS (
             SELECT id FROM transfers WHERE id = ANY($1)
             UNION SELECT t.replaced_by FROM transfers t JOIN line ON t.id = line.id WHERE t.replaced_by IS NOT NULL
         ) SELECT t.id FROM transfers t WHERE t.id IN (SELECT id FROM line) ORDER BY t.version DESC, t.id FOR NO KEY UPDATE OF t";
    session::all(c, sql, &[&successors]).await?;
    Ok(true)
}

/// Locks a transfer, so that nothing that it waits for comes before this transaction has ended, and is not seen.
///
/// The order of locks, so that two who decide about one transfer never wait for each other: the transfer, then its hold, then copies; of
/// versions the later before the earlier, and the transfers of all of them before any copy. `log_head` is the last lock of all. Whoever
/// adds a copy or an alert, which names the transfer, need not wait for this lock. A transfer that comes after what replaces it gives
/// later versions their numbers, and holds them before ([`lock_successors`]); one that comes meanwhile is met against this order, as are
/// transfers and copies of several operations in one batch, and copies of two lists of one release: a deadlock is tried again.
pub(super) async fn lock(c: &Client, transfer: TransferId) -> Result<(), Failure> {
    session::execute(c, "SELECT 1 FROM transfers WHERE id = $1 FOR NO KEY UPDATE", &[&transfer.0]).await.map(drop)
}

/// Refuses what was prepared before its place among the versions was known: what it replaces has come meanwhile, or what replaces it,
/// which is locked where there is any, waits for it no longer.
pub(super) async fn in_order(c: &Keyed, acceptance: &Acceptance, any_successor: bool) -> Result<(), Failure> {
    let transfer = &acceptance.transfer;
    let mut by = None;
    if any_successor {
        let mut except = earlier_versions(c, transfer.id).await?;
        except.push(transfer.id);
        let named: Vec<String> = transfer.document_id.iter().chain(&transfer.document_set_id).cloned().collect();
        by = successor(c, &transfer.sender, &named, transfer.dated, &except).await?;
    }
    let has_come = transfer.awaits.is_some() && come_since(c, transfer.id).await?.is_some();
    if has_come || by != acceptance.late.as_ref().map(|late| late.by) {
        return Err(Failure::Overtaken);
    }
    Ok(())
}

/// Ends a transfer that came after what replaces it, and names the two to each other.
pub(super) async fn come_late<'j>(
    work: &mut Work<'j>,
    transfer: TransferId,
    late: &'j Late,
    endings: &'j [Ending],
    at: Timestamp,
) -> Result<(), Failure> {
    work.needs_every_copy()?;
    let sql = "UPDATE transfers SET replaced_by = $1 WHERE id = $2";
    session::execute(work.client(), sql, &[&late.by.0, &transfer.0]).await?;
    follow(work.client(), late.by, transfer, at).await?;
    end_transfer(work.client(), transfer, late.why, &late.reason, at).await?;
    if late.earlier_stay {
        return Ok(());
    }
    let earlier = earlier_versions(work.client(), transfer).await?;
    for id in &earlier {
        end_transfer(work.client(), *id, late.why, &late.reason, at).await?;
    }
    if !in_use(work.client(), &earlier).await?.live_ones_end(endings) {
        return Err(Failure::Overtaken);
    }
    end_copies(work, endings, at).await?;
    elsewhere::mark_heirs(work.client(), endings).await
}

/// Gives `transfer` its predecessor, which names it already, and all from there on their places among the versions.
async fn follow(c: &Client, transfer: TransferId, predecessor: TransferId, at: Timestamp) -> Result<(), Failure> {
    let sql = "UPDATE transfers SET replaces = $1, changed = $2 WHERE id = $3";
    session::execute(c, sql, &[&predecessor.0, &micros(at), &transfer.0]).await?;
    session::execute(
        c,
        "WITH RECURSIVE later (id, far) AS (
             SELECT replaced_by, 1 FROM transfers WHERE id = $1 AND replaced_by IS NOT NULL
             UNION ALL SELECT t.replaced_by, far + 1 FROM transfers t JOIN later ON t.id = later.id
                 WHERE t.replaced_by IS NOT NULL
         ) UPDATE transfers SET version = (SELECT p.version FROM transfers p WHERE p.id = $1)
                 + (SELECT far FROM later WHERE later.id = transfers.id)
             WHERE id IN (SELECT id FROM later)",
        &[&predecessor.0],
    )
    .await?;
    Ok(())
}

/// Joins a locked transfer that ends with what it replaces, where that came after it; refused when something else, or nothing, did.
async fn join_to_end(c: &Keyed, transfer: TransferId, joins: Option<TransferId>, at: Timestamp) -> Result<(), Failure> {
    if come_since(c, transfer).await? != joins {
        return Err(Failure::Overtaken);
    }
    if let Some(predecessor) = joins {
        let sql = "UPDATE transfers SET replaced_by = $1 WHERE id = $2";
        session::execute(c, sql, &[&transfer.0, &predecessor.0]).await?;
        follow(c, transfer, predecessor, at).await?;
    }
    Ok(())
}

/// Ends the versions before a replacement that is not sent, and is locked.
pub(super) async fn void<'j>(
    work: &mut Work<'j>,
    transfer: TransferId,
    voided: &'j Voided,
    at: Timestamp,
) -> Result<(), Failure> {
    work.needs_every_copy()?;
    join_to_end(work.client(), transfer, voided.joins, at).await?;
    let earlier = earlier_versions(work.client(), transfer).await?;
    for id in &earlier {
        end_transfer(work.client(), *id, EndReason::Void, &voided.reason, at).await?;
    }
    if !in_use(work.client(), &earlier).await?.all_end(&voided.endings) {
        return Err(Failure::Overtaken);
    }
    end_copies(work, &voided.endings, at).await?;
    Ok(())
}

/// Makes `transfer` the successor of `predecessor`, which has no other one.
pub(super) async fn succeed(
    c: &Keyed,
    transfer: TransferId,
    predecessor: TransferId,
    at: Timestamp,
) -> Result<(), Failure> {
    let taken = session::execute(
        c,
        "UPDATE transfers SET replaced_by = $1, changed = $2
         WHERE id = $3 AND (replaced_by IS NULL OR replaced_by = $1)",
        &[&transfer.0, &micros(at), &predecessor.0],
    )
    .await?;
    if taken == 0 {
        return Err(Failure::Overtaken);
    }
    // What waits for a person has been overtaken: nobody needs to decide about it any more.
    let sql = "UPDATE holds SET closed = $1 WHERE transfer = $2 AND closed IS NULL";
    let waited = session::execute(c, sql, &[&micros(at), &predecessor.0]).await? > 0;
    // Of one that is held after a recall others rightly have copies, which stay in use until its successor is sent.
    if waited && session::first(c, query::IN_USE, &[&predecessor.0]).await?.is_none() {
        let reason = "a later version came before it was released";
        end_transfer(c, predecessor, EndReason::Superseded, reason, at).await?;
    }
    Ok(())
}

/// The versions before this one, the nearest first.
async fn earlier_versions(c: &Client, transfer: TransferId) -> Result<Vec<TransferId>, Failure> {
    let found = session::all(
        c,
        "WITH RECURSIVE chain (id, replaces, far) AS (
             SELECT id, replaces, 0 FROM transfers WHERE id = $1
             UNION ALL SELECT t.id, t.replaces, far + 1 FROM transfers t JOIN chain ON t.id = chain.replaces
         ) SELECT id FROM chain WHERE far > 0 ORDER BY far",
        &[&transfer.0],
    )
    .await?;
    found.iter().map(|row| Ok(Columns::of("transfers", row).parsed("id")?)).collect()
}

/// Ends the copies of all earlier versions; `endings` must not leave one out that is live.
pub(super) async fn supersede<'j>(
    work: &mut Work<'j>,
    transfer: TransferId,
    endings: &'j [Ending],
    at: Timestamp,
) -> Result<(), Failure> {
    let earlier = earlier_versions(work.client(), transfer).await?;
    for id in &earlier {
        end_transfer(work.client(), *id, EndReason::Superseded, "a later version took its place", at).await?;
    }
    if !in_use(work.client(), &earlier).await?.live_ones_end(endings) {
        return Err(Failure::Overtaken);
    }
    end_copies(work, endings, at).await?;
    if earlier.len() > 1 {
        elsewhere::mark_line(work.client(), endings).await?;
    }
    Ok(())
}

/// Copies of these transfers that their recipients may still use, locked, always in one order.
async fn in_use(c: &Client, transfers: &[TransferId]) -> Result<InUse, Failure> {
    let transfers: Vec<Uuid> = transfers.iter().map(|id| id.0).collect();
    let found = session::all(
        c,
        "SELECT id, ended IS NULL AS live FROM deliveries
         WHERE transfer = ANY($1) AND kind <> 'sender' AND notice_of IS NULL AND (ended IS NULL OR ended = 'superseded')
         ORDER BY id FOR UPDATE",
        &[&transfers],
    )
    .await?;
    let mut in_use = InUse::default();
    for row in &found {
        let columns = Columns::of("deliveries", row);
        in_use.add(columns.parsed("id")?, columns.flag("live")?);
    }
    Ok(in_use)
}

/// Ends a transfer, with its hold, unless it has ended before.
async fn end_transfer(c: &Keyed, id: TransferId, why: EndReason, reason: &str, at: Timestamp) -> Result<bool, Failure> {
    let key = transfers::key(c, id).await?;
    let words = match c.keys().seal_text(key, rows::of_transfer("ended_words", &id.to_string()), reason) {
        Err(Unread::Erased) => None,
        sealed => Some(sealed?),
    };
    let sql = "UPDATE transfers SET ended = $1, ended_words = $2, changed = $3 WHERE id = $4 AND ended IS NULL";
    if session::execute(c, sql, &[&why.as_str(), &words, &micros(at), &id.0]).await? == 0 {
        return Ok(false);
    }
    let sql = "UPDATE holds SET closed = $1 WHERE transfer = $2 AND closed IS NULL";
    session::execute(c, sql, &[&micros(at), &id.0]).await?;
    Ok(true)
}

/// Ends copies and tells whoever may have one, of the first such copy in this order; whether one of them had not ended before. They are
/// locked by identifier, as [`in_use`] does it, in whichever order they are told.
pub(super) async fn end_copies<'j>(work: &mut Work<'j>, endings: &'j [Ending], at: Timestamp) -> Result<bool, Failure> {
    if endings.len() > 1 {
        let copies: Vec<Uuid> = endings.iter().map(|ending| ending.delivery.0).collect();
        let sql = "SELECT id FROM deliveries WHERE id = ANY($1) ORDER BY id FOR UPDATE";
        session::all(work.client(), sql, &[&copies]).await?;
    }
    let (mut told, mut ended) = (Told::default(), false);
    for ending in endings {
        ended |= end_copy(work, ending, &mut told, at).await?;
    }
    Ok(ended)
}

/// Ends one copy and queues its notice if it may have left. A lease stays, so that whoever is sending can still record the
/// attempt, and the lane waits for that. `false` when it has ended in this way, or in a stricter one, before.
///
/// Where it was sent before, and where only a version before went, nothing of the recipient's may go any more: nothing of theirs waits for such
/// a notice, which waits only for what is being sent there. The former addresses are not told about whom it was.
async fn end_copy<'j>(
    work: &mut Work<'j>,
    ending: &'j Ending,
    told: &mut Told,
    at: Timestamp,
) -> Result<bool, Failure> {
    let stricter = ending.why != EndReason::Superseded;
    let found = session::first(
        work.client(),
        &format!(
            "SELECT transfer, sender, patient, erased, lane, {WENT}, {ATTEMPTED} AS attempted, {IS_SENDING} AS sending,
                 coalesce(ended = 'superseded', FALSE) AS superseded,
                 opened IS NOT NULL OR (state NOT IN ('queued', 'withdrawn') OR {ATTEMPTED})
                 AND (transport <> 'inbox' OR state IN ('accepted', 'in-progress', 'rejected', 'completed')) AS may_have_left
             FROM deliveries d WHERE id = $1
                 AND (ended IS NULL OR $2::boolean AND ended = 'superseded' OR $3::boolean AND ended <> 'recalled') FOR UPDATE OF d"
        ),
        &[&ending.delivery.0, &stricter, &(ending.why == EndReason::Recalled)],
    )
    .await?;
    let Some(row) = found else { return Ok(false) };
    if has_gone_elsewhere(ending, &Columns::of("deliveries", &row))? {
        return Err(Failure::Overtaken);
    }
    session::execute(
        work.client(),
        "UPDATE deliveries SET ended = $1, ended_by = $2, reason = NULL, words = NULL, version = version + 1, changed = $3,
             next_attempt = NULL,
             state = CASE WHEN state IN ('completed', 'rejected') THEN state ELSE 'withdrawn' END
         WHERE id = $4",
        &[&ending.why.as_str(), &ending.by.map(|by| by.0), &micros(at), &ending.delivery.0],
    )
    .await?;
    deliveries::put_words(work.client(), "words", ending.delivery, &ending.reason).await?;
    deliveries::keep_versions(work.client(), &[ending.delivery.0], at).await?;
    let column = || Columns::of("deliveries", &row);
    let left = column().flag("may_have_left").unwrap_or(true) || ending.seen;
    let (lane, sending): (String, bool) = (column().get("lane")?, column().flag("sending")?);
    let superseded = column().flag("superseded")?;
    let own = |notice: &NewDelivery| notice.id.to_string();
    let behind_it = ending.notice.iter().filter(|_| left).map(|notice| {
        let lane = if superseded { own(notice) } else { lane.clone() };
        // Whoever should not have got it is not told about whom it was.
        (notice, lane, ending.why == EndReason::Recalled)
    });
    let elsewhere = ending.went.iter().flat_map(|went| &went.notices).map(|notice| {
        let is_there = ending.is_at(&notice.endpoint);
        let lane = if sending && is_there { lane.clone() } else { own(notice) };
        (notice, lane, ending.why == EndReason::Recalled || !is_there)
    });
    for (notice, lane, nameless) in behind_it.chain(elsewhere).filter(|(notice, ..)| told.is_first(notice)) {
        let mut origin = deliveries::origin(work.client(), &row, at).await?;
        origin.behind = Some(lane);
        if nameless {
            origin.patient = None;
        }
        work.queue(&Arc::new(origin), notice);
    }
    Ok(true)
}

pub(super) async fn take_back<'j>(work: &mut Work<'j>, back: &'j TakeBack) -> Result<bool, Failure> {
    work.needs_every_copy()?;
    if let Some(why) = back.whole {
        // First: what is on its way for this transfer is committed then, or finds it ended.
        if !end_transfer(work.client(), back.transfer, why, &back.reason, back.at).await? {
            return Ok(false);
        }
        join_to_end(work.client(), back.transfer, back.joins, back.at).await?;
        let earlier = earlier_versions(work.client(), back.transfer).await?;
        // They are used only while a later one stands in for them, or may yet; now none does.
        for id in &earlier {
            end_transfer(work.client(), *id, why, &back.reason, back.at).await?;
        }
        let line: Vec<_> = earlier.into_iter().chain([back.transfer]).collect();
        if !in_use(work.client(), &line).await?.all_end(&back.endings) {
            return Err(Failure::Overtaken);
        }
    }
    if back.whole.is_none() {
        lock(work.client(), back.transfer).await?;
        let newest = session::first(work.client(), NEWEST, &[&back.transfer.0, &back.hold.is_some()]).await?;
        if newest.is_none() {
            return Err(Failure::Overtaken);
        }
    }
    let ended = end_copies(work, &back.endings, back.at).await?;
    if back.whole.is_none() && !ended {
        return Ok(false);
    }
    transfers::origin(work.client(), back.transfer, back.at).await?;
    if let Some((hold, decided)) = &back.hold {
        transfers::insert_hold(work.client(), back.transfer, hold, decided, back.at).await?;
        work.count(0, 1);
    }
    work.audit(&back.audit);
    Ok(true)
}

pub(super) async fn pause<'j>(
    work: &mut Work<'j>,
    (pause, audit): &'j (Pause, Vec<AuditRow>),
) -> Result<bool, Failure> {
    let inserted = session::execute(
        work.client(),
        "INSERT INTO pauses (recipient, reason, by, since) VALUES ($1, $2, $3, $4) ON CONFLICT (recipient) DO NOTHING",
        &[&pause.recipient.as_ref().map_or(EVERYBODY, OdsCode::as_str), &pause.reason, &pause.by, &micros(pause.since)],
    )
    .await?;
    if inserted == 1 {
        work.audit(audit);
    }
    Ok(inserted == 1)
}

pub(super) async fn resume<'j>(
    work: &mut Work<'j>,
    (recipient, audit): &'j (Option<OdsCode>, Vec<AuditRow>),
) -> Result<bool, Failure> {
    let whom = recipient.as_ref().map_or(EVERYBODY, OdsCode::as_str);
    let ended = session::execute(work.client(), "DELETE FROM pauses WHERE recipient = $1", &[&whom]).await?;
    if ended == 1 {
        work.audit(audit);
    }
    Ok(ended == 1)
}

pub(super) async fn pauses(c: &Client) -> Result<Vec<Pause>, Failure> {
    let sql = "SELECT recipient, reason, by, since FROM pauses ORDER BY (recipient <> '*'), recipient";
    session::all(c, sql, &[]).await?.iter().map(|row| Ok(rows::pause(&Columns::of("pauses", row))?)).collect()
}
