//! Rows as records of the core, the same for every engine: one function a row type, over the columns that it names.

pub(crate) mod operations;
pub(crate) mod people;

use jiff::Timestamp;
use onward_core::audit::{FoundAudit, StoredCheckpoint};
use onward_core::client::{Client, Token};
use onward_core::directory::DirectoryEntry;
use onward_core::state::DeliveryState;
use onward_core::store::evidence::StoredCosignature;
use onward_core::store::{
    Arrival, AuditColumns, DeliveryFigure, DeliveryRecord, Ended, Figures, HeldTransfer, NewHold, Notice,
    OriginalMessage, Pause, Predecessor, Step, StoredAudit, StoredRendition, TransferRecord, Waiting,
};
use onward_core::{DeliveryId, NhsNumber, OdsCode, TransferId};

use crate::columns::{Columns, Corrupt};

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
    /// The lane's first part: the patient, else the transfer.
    pub(crate) fn lane(&self) -> String {
        if let Some(lane) = &self.behind {
            return lane.clone();
        }
        self.patient.as_ref().map_or_else(|| self.transfer.to_string(), |patient| patient.expose().to_owned())
    }

    /// Of a row with `sender` and `patient`.
    pub(crate) fn of(columns: &Columns<'_>, transfer: TransferId, created: Timestamp) -> Result<Self, Corrupt> {
        let (sender, patient) = (columns.parsed("sender")?, columns.parsed_opt("patient")?);
        Ok(Self { transfer, sender, patient, created, behind: None })
    }
}

/// The columns of [`delivery`].
pub(crate) const DELIVERY: &str = "id, transfer, sender, patient, kind, recipient, recipient_name, endpoint, state, version, \
    attempts, next_attempt, reason, code, reference, correlation_id, workflow, body_bytes, acknowledgement_awaited, \
    basis, created, changed, opened, ended, ended_by, notice_of, notice_why, replay";

pub(crate) fn delivery(columns: &Columns<'_>) -> Result<DeliveryRecord, Corrupt> {
    Ok(DeliveryRecord {
        id: columns.parsed("id")?,
        transfer: columns.parsed("transfer")?,
        sender: columns.parsed("sender")?,
        patient: columns.parsed_opt("patient")?,
        kind: columns.parsed("kind")?,
        recipient: columns.parsed("recipient")?,
        recipient_name: columns.get("recipient_name")?,
        endpoint: columns.json("endpoint")?,
        state: columns.parsed::<DeliveryState>("state")?,
        version: columns.count("version")?,
        attempts: columns.count("attempts")?,
        next_attempt: columns.moment_opt("next_attempt")?,
        reason: columns.get("reason")?,
        code: columns.get("code")?,
        reference: columns.get("reference")?,
        correlation_id: columns.get("correlation_id")?,
        body_bytes: columns.count("body_bytes")?,
        acknowledgement_awaited: columns.flag("acknowledgement_awaited")?,
        basis: columns.get("basis")?,
        created: columns.moment("created")?,
        changed: columns.moment("changed")?,
        opened: columns.moment_opt("opened")?,
        ended: match columns.parsed_opt("ended")? {
            Some(why) => Some(Ended { why, by: columns.parsed_opt("ended_by")? }),
            None => None,
        },
        notice: match columns.parsed_opt("notice_of")? {
            Some(of) => Some(Notice { of, why: columns.parsed("notice_why")? }),
            None => None,
        },
        replay: columns.get("replay")?,
    })
}

/// Of a row with `media_type`, `body` and `html`.
pub(crate) fn rendition(columns: &Columns<'_>, delivery: DeliveryId) -> Result<StoredRendition, Corrupt> {
    Ok(StoredRendition {
        delivery,
        media_type: columns.get("media_type")?,
        body: columns.get("body")?,
        html: columns.get("html")?,
    })
}

/// The columns of [`transfer`].
pub(crate) const TRANSFER: &str = "id, sender, client_id, message_id, event, received, expected, patient, care_home, reply, not_sent, changed, \
     version, replaces, replaced_by, awaits, ended, ended_reason";

/// Without its hold and copies.
pub(crate) fn transfer(columns: &Columns<'_>) -> Result<TransferRecord, Corrupt> {
    Ok(TransferRecord {
        id: columns.parsed("id")?,
        sender: columns.parsed("sender")?,
        client_id: columns.get("client_id")?,
        message_id: columns.get("message_id")?,
        event: columns.get("event")?,
        received: columns.moment("received")?,
        expected: columns.moment_opt("expected")?,
        patient: columns.parsed_opt("patient")?,
        care_home: columns.parsed_opt("care_home")?,
        reply: columns.json("reply")?,
        hold: None,
        not_sent: columns.get("not_sent")?,
        version: columns.count("version")?,
        replaces: columns.parsed_opt("replaces")?,
        replaced_by: columns.parsed_opt("replaced_by")?,
        awaits: columns.get("awaits")?,
        ended: match columns.parsed_opt("ended")? {
            Some(why) => Some((why, columns.get::<Option<String>>("ended_reason")?.unwrap_or_default())),
            None => None,
        },
        changed: columns.moment("changed")?,
        deliveries: Vec::new(),
    })
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
pub(crate) const PREDECESSOR: &str = "id, version, dated, patient, replaced_by";

pub(crate) fn predecessor(columns: &Columns<'_>) -> Result<Predecessor, Corrupt> {
    Ok(Predecessor {
        transfer: columns.parsed("id")?,
        version: columns.count("version")?,
        dated: columns.moment_opt("dated")?,
        patient: columns.parsed_opt("patient")?,
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
pub(crate) fn original(columns: &Columns<'_>) -> Result<OriginalMessage, Corrupt> {
    Ok(OriginalMessage { media_type: columns.get("media_type")?, body: columns.get("body")? })
}

/// Of a row whose `hold` is the identifier, with `reason`, `detail`, `owner` and `due`.
pub(crate) fn hold(columns: &Columns<'_>) -> Result<NewHold, Corrupt> {
    Ok(NewHold {
        id: columns.parsed("hold")?,
        reason: columns.parsed("reason")?,
        detail: columns.get("detail")?,
        owner: columns.get("owner")?,
        due: columns.moment("due")?,
    })
}

/// The open holds with their transfers, the most urgent first; a row is [`held`].
pub(crate) const HELD: &str =
    "SELECT h.id AS hold, h.reason, h.detail, h.owner, h.due, h.decided, t.id, t.sender, t.received
     FROM holds h JOIN transfers t ON t.id = h.transfer WHERE h.closed IS NULL ORDER BY h.due, h.id";

pub(crate) fn held(columns: &Columns<'_>) -> Result<HeldTransfer, Corrupt> {
    Ok(HeldTransfer {
        hold: hold(columns)?,
        transfer: columns.parsed("id")?,
        sender: columns.parsed("sender")?,
        received: columns.moment("received")?,
        decided: columns.get("decided")?,
    })
}

/// Of a row with `kind`, `at`, `user`, `name`, `item`, `outcome` and `text`.
pub(crate) fn step(columns: &Columns<'_>, delivery: DeliveryId) -> Result<Step, Corrupt> {
    Ok(Step {
        delivery,
        kind: columns.parsed("kind")?,
        at: columns.moment("at")?,
        user: columns.get("user")?,
        name: columns.get("name")?,
        item: columns.get("item")?,
        outcome: columns.parsed_opt("outcome")?,
        text: columns.get("text")?,
    })
}

/// Of a row of [`crate::query::arrivals`].
pub(crate) fn arrival(columns: &Columns<'_>) -> Result<Arrival, Corrupt> {
    Ok(Arrival {
        copy: delivery(columns)?,
        expected: columns.moment_opt("expected")?,
        card: columns.get("card")?,
        settled: columns.count("settled")?,
    })
}

/// The columns of [`client`].
pub(crate) const CLIENT: &str = "id, ods, role, jwks, certificate_sha256, mesh_mailbox, nhs_number_policy, disabled";

pub(crate) fn client(columns: &Columns<'_>) -> Result<Client, Corrupt> {
    Ok(Client {
        id: columns.get("id")?,
        ods: columns.parsed("ods")?,
        role: columns.parsed("role")?,
        jwks: columns.get("jwks")?,
        certificate_sha256: columns.get("certificate_sha256")?,
        mesh_mailbox: columns.get("mesh_mailbox")?,
        nhs_number_policy: columns.parsed("nhs_number_policy")?,
        disabled: columns.flag("disabled")?,
    })
}

/// Whether tokens live on after a client is replaced: they rest on the keys, certificate, organisation and role that it had
/// (trust.md §1, goal I3).
pub(crate) fn tokens_survive(before: &Client, after: &Client) -> bool {
    !after.disabled
        && before.jwks == after.jwks
        && before.certificate_sha256 == after.certificate_sha256
        && before.ods == after.ods
        && before.role == after.role
}

/// Of a row with `client_id`, `expires` and `certificate_sha256`.
pub(crate) fn token(columns: &Columns<'_>, hash: &[u8; 32]) -> Result<Token, Corrupt> {
    Ok(Token {
        hash: *hash,
        client_id: columns.get("client_id")?,
        expires: columns.moment("expires")?,
        certificate_sha256: columns.get("certificate_sha256")?,
    })
}

/// Of a row with `entry`.
pub(crate) fn directory_entry(columns: &Columns<'_>) -> Result<DirectoryEntry, Corrupt> {
    columns.json("entry")
}

/// The columns of [`audit`].
pub(crate) const AUDIT: &str =
    "position, id, recorded, word, transfer, delivery, agent, organisation, patient, leaf, event";

pub(crate) fn audit(columns: &Columns<'_>) -> Result<StoredAudit, Corrupt> {
    Ok(StoredAudit {
        index: columns.count("position")?,
        event: columns.get("event")?,
        leaf: columns.get("leaf")?,
        columns: AuditColumns {
            id: columns.get("id")?,
            recorded: columns.moment("recorded")?,
            word: columns.get("word")?,
            transfer: columns.get("transfer")?,
            delivery: columns.get("delivery")?,
            agent: columns.get("agent")?,
            organisation: columns.get("organisation")?,
            patient: columns.get("patient")?,
        },
    })
}

/// Of a row with `position`, `recorded`, `word`, `patient` and `event`.
pub(crate) fn found_audit(columns: &Columns<'_>) -> Result<FoundAudit, Corrupt> {
    Ok(FoundAudit {
        index: columns.count("position")?,
        recorded: columns.moment("recorded")?,
        word: columns.parsed("word")?,
        patient: columns.parsed_opt("patient")?,
        event: columns.get("event")?,
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

pub(crate) fn forwarding(columns: &Columns<'_>) -> Result<(String, u64), Corrupt> {
    Ok((columns.get("sink")?, columns.count("position")?))
}

/// Adds a row of `what`, `state`, `transport`, `n` and `oldest` to the figures.
pub(crate) fn add_figure(figures: &mut Figures, columns: &Columns<'_>) -> Result<(), Corrupt> {
    let count = columns.count("n")?;
    match columns.get::<String>("what")?.as_str() {
        "accepted" => figures.accepted = count,
        "refused" => figures.refused = count,
        "held" => figures.held = count,
        "open" => figures.holds_open = count,
        "overdue" => figures.holds_overdue = count,
        // A copy whose endpoint is damaged waits for a person, and the log names it.
        _ if columns.get::<Option<String>>("transport")?.is_none() => {}
        _ => figures.deliveries.push(DeliveryFigure {
            state: columns.parsed("state")?,
            transport: columns.parsed("transport")?,
            count,
            oldest: columns.moment("oldest")?,
        }),
    }
    Ok(())
}
