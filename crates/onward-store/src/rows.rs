//! Rows as records of the core, the same for every engine: one function a row type, over the columns that it names.

pub(crate) mod addresses;
pub(crate) mod alerts;
mod clients;
pub(crate) mod copies;
mod erasing;
mod log;
pub(crate) mod operations;
pub(crate) mod people;
mod reporting;
pub(crate) mod resending;
pub(crate) mod subscriptions;

use jiff::Timestamp;
use onward_core::directory::DirectoryEntry;
use onward_core::state::DeliveryState;
use onward_core::store::{
    Accepted, Arrival, CopyChange, Damaged, DeliveryRecord, Ended, HeldTransfer, HoldSeen, NewHold, Notice,
    OriginalMessage, Outgoing, Overdue, Parked, Pause, Predecessor, ReplyWanted, Step, StoredRendition, SubjectHold,
    TransferRecord, Waiting,
};
use onward_core::{DeliveryId, NhsNumber, OdsCode, TransferId, WorkflowId};
use uuid::Uuid;

pub(crate) use clients::{CLIENT, client, token, tokens_survive};
pub(crate) use erasing::{data_key, key_usage, legal_hold, of_order, pending_erasure};
pub(crate) use log::{
    AUDIT, FOUND_AUDIT, audit, checkpoint, contents, cosignature, forwarding, found_audit, of_event, policy_in_force,
};
pub(crate) use reporting::{add_figure, held_person, reported, reported_copy, reported_transfer};

use crate::columns::{Columns, Corrupt};
use crate::sealing::{Digest, Keychain, Place, Unread};
use crate::stored::micros;

/// In place of a text that was erased.
pub(crate) const ERASED: &str = "erased";

/// The person of a row with `patient` and `erased`, and whether it is erased: then it names nobody, though the same person may have
/// come again.
pub(crate) fn person(columns: &Columns<'_>, keys: &Keychain) -> Result<(Option<NhsNumber>, bool), Unread> {
    let erased = columns.moment_opt("erased")?.is_some();
    match columns.get::<Option<String>>("patient")?.filter(|_| !erased) {
        Some(index) => Ok((keys.person(columns.table(), &index)?, erased)),
        None => Ok((None, erased)),
    }
}

/// What was erased as nothing, with whatever else is wrong told.
fn unless_erased<T>(read: Result<T, Unread>) -> Result<Option<T>, Unread> {
    match read {
        Err(Unread::Erased) => Ok(None),
        read => read.map(Some),
    }
}

/// A sealed column that may be NULL.
fn opened(columns: &Columns<'_>, keys: &Keychain, place: Place<'_>) -> Result<Option<Vec<u8>>, Unread> {
    columns.get::<Option<Vec<u8>>>(place.column)?.map(|sealed| keys.open(place, &sealed)).transpose()
}

/// Of a row of [`crate::query::overdue`].
pub(crate) fn overdue(columns: &Columns<'_>) -> Result<Overdue, Corrupt> {
    Ok(Overdue {
        delivery: columns.parsed("id")?,
        recipient: columns.parsed("recipient")?,
        queued: columns.moment("queued")?,
    })
}

/// Where a copy comes from.
pub(crate) struct Origin {
    pub(crate) transfer: TransferId,
    pub(crate) sender: OdsCode,
    pub(crate) patient: Option<NhsNumber>,
    pub(crate) created: Timestamp,
    /// The lane of another copy, behind which it goes; none: its own.
    pub(crate) behind: Option<String>,
}

impl Origin {
    /// The lane's first part: the patient's index, else the transfer.
    pub(crate) fn lane(&self, keys: &Keychain) -> String {
        let own = || keys.index(self.patient.as_ref()).unwrap_or_else(|| self.transfer.to_string());
        self.behind.clone().unwrap_or_else(own)
    }

    /// Of a row with `sender`, `patient` and `erased`.
    pub(crate) fn of(
        columns: &Columns<'_>,
        keys: &Keychain,
        transfer: TransferId,
        created: Timestamp,
    ) -> Result<Self, Unread> {
        let (sender, patient) = (columns.parsed("sender")?, person(columns, keys)?.0);
        Ok(Self { transfer, sender, patient, created, behind: None })
    }
}

/// The columns of [`delivery`].
pub(crate) const DELIVERY: &str = "id, transfer, sender, patient, kind, recipient, recipient_name, endpoint, state, version, \
    attempts, next_attempt, reason, code, reference, correlation_id, workflow, body_bytes, acknowledgement_awaited, \
    basis, created, changed, opened, ended, ended_by, notice_of, notice_why, replay, erased, words, replay_words, \
    closed";

pub(crate) fn delivery(columns: &Columns<'_>, keys: &Keychain) -> Result<DeliveryRecord, Unread> {
    let (patient, erased) = person(columns, keys)?;
    let id = columns.get::<String>("id")?;
    let version = columns.count("version")?;
    Ok(DeliveryRecord {
        id: columns.parsed("id")?,
        transfer: columns.parsed("transfer")?,
        sender: columns.parsed("sender")?,
        patient,
        kind: columns.parsed("kind")?,
        recipient: columns.parsed("recipient")?,
        recipient_name: columns.get("recipient_name")?,
        endpoint: columns.json("endpoint")?,
        state: columns.parsed::<DeliveryState>("state")?,
        version,
        attempts: columns.count("attempts")?,
        next_attempt: columns.moment_opt("next_attempt")?,
        reason: worded(columns, keys, of_copy("words", &id), "reason")?,
        code: columns.get("code")?,
        reference: columns.get("reference")?,
        correlation_id: columns.get("correlation_id")?,
        body_bytes: columns.count("body_bytes")?,
        acknowledgement_awaited: columns.flag("acknowledgement_awaited")?,
        basis: columns.get("basis")?,
        created: columns.moment("created")?,
        changed: columns.moment("changed")?,
        opened: columns.moment_opt("opened")?,
        erased,
        ended: match columns.parsed_opt("ended")? {
            Some(why) => Some(Ended { why, by: columns.parsed_opt("ended_by")? }),
            None => None,
        },
        notice: match columns.parsed_opt("notice_of")? {
            Some(of) => Some(Notice { of, why: columns.parsed("notice_why")? }),
            None => None,
        },
        replay: worded(columns, keys, of_copy("replay_words", &id), "replay")?,
        closed: columns.count_opt("closed")? == Some(version),
    })
}

/// A copy that is to be leased, with its MESH workflow.
pub(crate) fn leased(columns: &Columns<'_>, keys: &Keychain) -> Result<(DeliveryRecord, Option<WorkflowId>), Unread> {
    Ok((delivery(columns, keys)?, columns.parsed_opt("workflow")?))
}

/// A row of a list that cannot be read, with its identifier in this column: told in the log of the process too.
pub(crate) fn damaged(columns: &Columns<'_>, id: &'static str, place: String) -> Damaged {
    let id: Option<Uuid> = columns.parsed(id).ok();
    let told = id.map_or_else(|| "unreadable too".to_owned(), |id| id.to_string());
    tracing::error!(table = columns.table(), id = told, place, "a row of a list is unreadable, and left out");
    Damaged { id, place }
}

/// What is told of a copy that cannot be read there.
pub(crate) fn unreadable(place: &str) -> String {
    format!("unreadable in the store: {place}")
}

/// What can be read of a copy that cannot, of a row with `transfer` and `recipient`.
pub(crate) fn parked(columns: &Columns<'_>, delivery: Option<DeliveryId>, reason: &str) -> Parked {
    let (transfer, recipient) = (columns.parsed("transfer").ok(), columns.parsed("recipient").ok());
    Parked { delivery, transfer, recipient, reason: reason.to_owned() }
}

/// Of a row with `media_type`, `body` and `html`.
pub(crate) fn rendition(
    columns: &Columns<'_>,
    keys: &Keychain,
    delivery: DeliveryId,
) -> Result<StoredRendition, Unread> {
    let id = delivery.to_string();
    Ok(StoredRendition {
        delivery,
        media_type: columns.get("media_type")?,
        body: keys.open(of_rendition("body", &id), &columns.get::<Vec<u8>>("body")?)?,
        html: opened(columns, keys, of_rendition("html", &id))?,
    })
}

/// What leaves of a copy, of a row with `media_type` and `body`.
pub(crate) fn outgoing(columns: &Columns<'_>, keys: &Keychain, delivery: DeliveryId) -> Result<Outgoing, Unread> {
    let body = keys.open(of_rendition("body", &delivery.to_string()), &columns.get::<Vec<u8>>("body")?)?;
    Ok(Outgoing { media_type: columns.get("media_type")?, body: body.into() })
}

/// Of a row with `digest` and `body`.
pub(crate) fn part(columns: &Columns<'_>) -> Result<(Digest, Vec<u8>), Corrupt> {
    Ok((columns.get("digest")?, columns.get("body")?))
}

/// Where content of a copy is sealed.
pub(crate) fn of_rendition<'r>(column: &'static str, delivery: &'r str) -> Place<'r> {
    Place::new("rendition_bodies", column, delivery)
}

/// Of a row with `card`.
pub(crate) fn card(columns: &Columns<'_>, keys: &Keychain, delivery: DeliveryId) -> Result<Option<Vec<u8>>, Unread> {
    opened(columns, keys, of_rendition("card", &delivery.to_string()))
}

/// Where a transfer's own columns are sealed.
pub(crate) fn of_transfer<'r>(column: &'static str, transfer: &'r str) -> Place<'r> {
    Place::new("transfers", column, transfer)
}

/// What took the place of a message that comes again, of a row with `id`, `body_sha256` (keyed) and `response`.
pub(crate) fn earlier(columns: &Columns<'_>, keys: &Keychain, sha256: &[u8; 32]) -> Result<Accepted, Unread> {
    if columns.get::<[u8; 32]>("body_sha256")? != *sha256 {
        return Ok(Accepted::MessageIdReused);
    }
    let transfer: TransferId = columns.parsed("id")?;
    let response = keys.open(of_transfer("response", &transfer.to_string()), &columns.get::<Vec<u8>>("response")?);
    Ok(match unless_erased(response)? {
        Some(response) => Accepted::Repeat { transfer, response },
        None => Accepted::Erased { transfer },
    })
}

/// The columns of [`transfer`].
pub(crate) const TRANSFER: &str = "id, sender, client_id, message_id, event, received, expected, patient, care_home, reply, not_sent, changed, \
     version, replaces, replaced_by, awaits, ended, ended_reason, ended_words, erased";

/// Without its hold and copies.
pub(crate) fn transfer(columns: &Columns<'_>, keys: &Keychain) -> Result<TransferRecord, Unread> {
    let (patient, erased) = person(columns, keys)?;
    let id = columns.get::<String>("id")?;
    let reply = unless_erased(keys.open_text(of_transfer("reply", &id), &columns.get::<String>("reply")?))?;
    let not_sent = columns.get::<Option<String>>("not_sent")?;
    let not_sent = not_sent.map(|sealed| unless_erased(keys.open_text(of_transfer("not_sent", &id), &sealed)));
    Ok(TransferRecord {
        id: columns.parsed("id")?,
        sender: columns.parsed("sender")?,
        client_id: columns.get("client_id")?,
        message_id: columns.get("message_id")?,
        event: columns.get("event")?,
        received: columns.moment("received")?,
        expected: columns.moment_opt("expected")?,
        patient,
        care_home: columns.parsed_opt("care_home")?,
        reply: match reply {
            Some(reply) => serde_json::from_str(&reply).map_err(|_| columns.corrupt("reply"))?,
            None => nothing_wanted(),
        },
        hold: None,
        not_sent: not_sent.transpose()?.map(|reason| reason.unwrap_or_else(|| ERASED.to_owned())),
        version: columns.count("version")?,
        replaces: columns.parsed_opt("replaces")?,
        replaced_by: columns.parsed_opt("replaced_by")?,
        awaits: columns.get("awaits")?,
        ended: match columns.parsed_opt("ended")? {
            Some(why) => {
                let told = worded(columns, keys, of_transfer("ended_words", &id), "ended_reason")?;
                Some((why, told.unwrap_or_default()))
            }
            None => None,
        },
        changed: columns.moment("changed")?,
        erased,
        deliveries: Vec::new(),
    })
}

/// What a sender wants to hear about a person who was erased.
fn nothing_wanted() -> ReplyWanted {
    ReplyWanted {
        infrastructure: false,
        business: false,
        mailbox: None,
        header_id: String::new(),
        sender_reference: None,
        workflow: None,
    }
}

/// A transfer with its open hold and its copies.
pub(crate) fn whole(
    mut transfer: TransferRecord,
    hold: Option<NewHold>,
    deliveries: Vec<DeliveryRecord>,
) -> TransferRecord {
    let latest = deliveries.iter().map(|delivery| delivery.changed).max();
    transfer.changed = latest.map_or(transfer.changed, |latest| latest.max(transfer.changed));
    transfer.hold = hold;
    transfer.deliveries = deliveries;
    transfer
}

/// The columns of [`predecessor`].
pub(crate) const PREDECESSOR: &str = "id, version, dated, patient, replaced_by, erased";

pub(crate) fn predecessor(columns: &Columns<'_>, keys: &Keychain) -> Result<Predecessor, Unread> {
    Ok(Predecessor {
        transfer: columns.parsed("id")?,
        version: columns.count("version")?,
        dated: columns.moment_opt("dated")?,
        patient: person(columns, keys)?.0,
        replaced_by: columns.parsed_opt("replaced_by")?,
    })
}

/// Of a row whose `hold` is a hold's identifier and `id` its transfer's.
pub(crate) fn waiting(columns: &Columns<'_>) -> Result<Waiting, Corrupt> {
    Ok(Waiting { hold: columns.parsed("hold")?, transfer: columns.parsed("id")? })
}

/// The pause of everybody, as stored.
pub(crate) const EVERYBODY: &str = "*";

/// Of a row with `recipient`, `reason`, `by` and `since`.
pub(crate) fn pause(columns: &Columns<'_>) -> Result<Pause, Corrupt> {
    let recipient = match columns.get::<String>("recipient")?.as_str() {
        EVERYBODY => None,
        _ => Some(columns.parsed("recipient")?),
    };
    Ok(Pause { recipient, reason: columns.get("reason")?, by: columns.get("by")?, since: columns.moment("since")? })
}

/// Of a row with `media_type` and `body`.
pub(crate) fn original(
    columns: &Columns<'_>,
    keys: &Keychain,
    transfer: TransferId,
) -> Result<OriginalMessage, Unread> {
    let body = keys.open(of_message(&transfer.to_string()), &columns.get::<Vec<u8>>("body")?)?;
    Ok(OriginalMessage { media_type: columns.get("media_type")?, body })
}

/// Where a message's bytes are sealed.
pub(crate) fn of_message(transfer: &str) -> Place<'_> {
    Place::new("message_bodies", "body", transfer)
}

/// Of a row whose `hold` is the identifier, with `reason`, `detail`, `owner` and `due`.
pub(crate) fn hold(columns: &Columns<'_>, keys: &Keychain) -> Result<NewHold, Unread> {
    let id = columns.get::<String>("hold")?;
    Ok(NewHold {
        id: columns.parsed("hold")?,
        reason: columns.parsed("reason")?,
        detail: keys.open_text(of_hold("detail", &id), &columns.get::<String>("detail")?)?,
        owner: columns.get("owner")?,
        due: columns.moment("due")?,
    })
}

/// Where a hold's texts are sealed.
pub(crate) fn of_hold<'r>(column: &'static str, hold: &'r str) -> Place<'r> {
    Place::new("holds", column, hold)
}

/// The open holds with their transfers, the most urgent first; a row is [`held`].
pub(crate) const HELD: &str =
    "SELECT h.id AS hold, h.reason, h.detail, h.owner, h.due, h.decided, t.id, t.sender, t.received, t.expected
     FROM holds h JOIN transfers t ON t.id = h.transfer WHERE h.closed IS NULL";

/// Every hold of a transfer (`?`), the oldest first; a row is [`subject_hold`].
pub(crate) const EVERY_HOLD: &str =
    "SELECT h.id AS hold, h.reason, h.detail, h.owner, h.due, h.decided, h.opened, h.closed
     FROM holds h WHERE h.transfer = ? ORDER BY h.opened, h.id";

pub(crate) fn subject_hold(columns: &Columns<'_>, keys: &Keychain) -> Result<SubjectHold, Unread> {
    let id = columns.get::<String>("hold")?;
    Ok(SubjectHold {
        hold: hold(columns, keys)?,
        opened: columns.moment("opened")?,
        closed: columns.moment_opt("closed")?,
        decided: keys.open_text(of_hold("decided", &id), &columns.get::<String>("decided")?)?,
    })
}

/// How the states of a transfer's (`?`) copies changed, by copy, the oldest first; a row is [`copy_change`].
pub(crate) const CHANGES: &str = "SELECT h.delivery, h.version, h.state, h.at, h.code, h.reason, h.words
     FROM delivery_history h JOIN deliveries d ON d.id = h.delivery
     WHERE d.transfer = ? AND d.kind <> 'sender' ORDER BY d.created, d.id, h.version";

pub(crate) fn copy_change(columns: &Columns<'_>, keys: &Keychain) -> Result<CopyChange, Unread> {
    let delivery = columns.get::<String>("delivery")?;
    Ok(CopyChange {
        delivery: columns.parsed("delivery")?,
        version: columns.count("version")?,
        state: columns.parsed("state")?,
        at: columns.moment("at")?,
        code: columns.get("code")?,
        reason: worded(columns, keys, of_copy("words", &delivery), "reason")?,
    })
}

pub(crate) fn held(columns: &Columns<'_>, keys: &Keychain) -> Result<HeldTransfer, Unread> {
    let id = columns.get::<String>("hold")?;
    let sealed: String = columns.get("decided")?;
    Ok(HeldTransfer {
        hold: hold(columns, keys)?,
        transfer: columns.parsed("id")?,
        sender: columns.parsed("sender")?,
        received: columns.moment("received")?,
        expected: columns.moment_opt("expected")?,
        decided: keys.open_text(of_hold("decided", &id), &sealed)?,
        // Sealed anew with each change, so it is another one each time, whichever version of the program wrote it.
        seen: HoldSeen::new(sealed),
    })
}

/// Of a row with `delivery`, `kind`, `at`, `user`, `name`, `item`, `outcome` and `text`.
pub(crate) fn step(columns: &Columns<'_>, keys: &Keychain) -> Result<Step, Unread> {
    let (delivery, at): (DeliveryId, _) = (columns.parsed("delivery")?, columns.moment("at")?);
    let user = columns.get::<String>("user")?;
    Ok(Step {
        text: step_text(columns, keys, &step_row(&delivery.to_string(), micros(at), &user), "text")?,
        delivery,
        kind: columns.parsed("kind")?,
        at,
        user,
        name: columns.get("name")?,
        item: columns.get("item")?,
        outcome: columns.parsed_opt("outcome")?,
    })
}

/// What people wrote in the step of this [`step_row`]; none too where it was erased.
fn step_text(
    columns: &Columns<'_>,
    keys: &Keychain,
    row: &str,
    column: &'static str,
) -> Result<Option<String>, Unread> {
    let text = columns.get::<Option<String>>(column)?;
    let text = text.map(|sealed| unless_erased(keys.open_text(of_step(row), &sealed))).transpose()?;
    Ok(text.flatten())
}

/// What names a step before it has a number.
pub(crate) fn step_row(delivery: &str, at: i64, user: &str) -> String {
    format!("{delivery} {at} {user}")
}

/// Where what people wrote is sealed, by [`step_row`].
pub(crate) fn of_step(row: &str) -> Place<'_> {
    Place::new("recipient_steps", "text", row)
}

/// What a copy withheld and disclosed.
pub(crate) fn disclosure(columns: &Columns<'_>, keys: &Keychain, delivery: DeliveryId) -> Result<String, Unread> {
    keys.open_text(of_disclosure(&delivery.to_string()), &columns.get::<String>("disclosure")?)
}

/// Where what a copy withheld and disclosed is sealed.
pub(crate) fn of_disclosure(delivery: &str) -> Place<'_> {
    of_copy("disclosure", delivery)
}

/// Where a copy's own columns are sealed; its history has the same value as the copy.
pub(crate) fn of_copy<'r>(column: &'static str, delivery: &'r str) -> Place<'r> {
    Place::new("deliveries", column, delivery)
}

/// In `replay`, of a copy whose `replay_words` say why.
pub(crate) const REPLAYED: &str = "replay";

/// Whether what is said of a copy in this state comes from people, or from the systems of others. What attempts say of themselves is our
/// own text, and counted as it is.
pub(crate) fn is_worded(state: DeliveryState) -> bool {
    !matches!(state, DeliveryState::Queued | DeliveryState::Failed)
}

/// What is sealed there, else the text of the plain column: an attempt's own, or what the previous program wrote.
fn worded(
    columns: &Columns<'_>,
    keys: &Keychain,
    place: Place<'_>,
    plain: &'static str,
) -> Result<Option<String>, Unread> {
    match columns.get::<Option<String>>(place.column)? {
        Some(sealed) => Ok(Some(unless_erased(keys.open_text(place, &sealed))?.unwrap_or_else(|| ERASED.to_owned()))),
        None => Ok(columns.get(plain)?),
    }
}

/// Of a row of [`crate::query::arrivals`].
pub(crate) fn arrival(columns: &Columns<'_>, keys: &Keychain) -> Result<Arrival, Unread> {
    let copy = delivery(columns, keys)?;
    Ok(Arrival {
        expected: columns.moment_opt("expected")?,
        card: if copy.erased { None } else { card(columns, keys, copy.id)? },
        settled: columns.count("settled")?,
        arrived: matches!(copy.state, DeliveryState::InProgress | DeliveryState::Completed),
        left: left(columns, keys, copy.id)?,
        continues: columns.flag("continues")?,
        logged: columns.count_opt("logged_first")?.zip(columns.count_opt("logged_last")?),
        copy,
    })
}

/// What was told when the person left the home, if they did.
fn left(columns: &Columns<'_>, keys: &Keychain, delivery: DeliveryId) -> Result<Option<String>, Unread> {
    let Some(at) = columns.moment_opt("left_at")? else { return Ok(None) };
    let row = step_row(&delivery.to_string(), micros(at), &columns.get::<String>("left_user")?);
    Ok(Some(step_text(columns, keys, &row, "left_text")?.unwrap_or_default()))
}

/// Of a row with `entry`.
pub(crate) fn directory_entry(columns: &Columns<'_>) -> Result<DirectoryEntry, Corrupt> {
    columns.json("entry")
}
