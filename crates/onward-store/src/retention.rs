//! What is due for removal, as SQL that both engines read. Only fixed texts become SQL.

use onward_core::store::retention::{BodyClass, DueMonth, DuePerson, DueRows, RetentionPlan, RowClass};

use crate::columns::{Columns, Corrupt};

/// The table of a class.
pub(crate) fn table(class: BodyClass) -> &'static str {
    match class {
        BodyClass::Messages => "message_bodies",
        BodyClass::Renditions => "rendition_bodies",
    }
}

/// Whether a row `b` of a class must stay: a legal hold, or somebody still has to do something with it.
pub(crate) fn must_stay(class: BodyClass) -> &'static str {
    match class {
        BodyClass::Messages => {
            "EXISTS (SELECT 1 FROM transfers t WHERE t.id = b.transfer AND (
                 t.patient IN (SELECT patient FROM legal_holds WHERE lifted IS NULL)
                 OR EXISTS (SELECT 1 FROM holds h WHERE h.transfer = t.id AND h.closed IS NULL)))"
        }
        BodyClass::Renditions => {
            "EXISTS (SELECT 1 FROM deliveries d WHERE d.id = b.delivery AND (
                 d.patient IN (SELECT patient FROM legal_holds WHERE lifted IS NULL)
                 OR d.state IN ('queued', 'awaiting-collection')
                 OR d.state = 'failed' AND (d.closed IS NULL OR d.closed <> d.version)
                 OR EXISTS (SELECT 1 FROM alerts a WHERE a.delivery = d.id AND a.kind = 'not-processed' AND a.cleared IS NULL)))"
        }
    }
}

/// The months of a class before `?`; rows of [`due_month`]. PostgreSQL looks from the side of what stays.
pub(crate) fn months(class: BodyClass) -> String {
    let (table, stays) = (table(class), must_stay(class));
    format!(
        "SELECT b.month, count(*) AS n, count(CASE WHEN {stays} THEN 1 END) AS kept FROM {table} b WHERE b.month < ?
         GROUP BY b.month ORDER BY b.month"
    )
}

pub(crate) fn due_month(class: BodyClass, columns: &Columns<'_>) -> Result<DueMonth, Corrupt> {
    let (all, kept): (u64, u64) = (columns.count("n")?, columns.count("kept")?);
    Ok(DueMonth { class, month: columns.count("month")?, due: all.saturating_sub(kept), kept })
}

/// Whether the transfer of an alert `a` is about somebody under a legal hold.
const ALERT_STAYS: &str = "EXISTS (SELECT 1 FROM transfers t WHERE t.id = a.transfer
    AND t.patient IN (SELECT patient FROM legal_holds WHERE lifted IS NULL))";
/// Whether a later version took the place of a row `e` of the directory before `?`.
const SUPERSEDED: &str = "EXISTS (SELECT 1 FROM directory_entries l JOIN directory_versions v ON v.version = l.version
    WHERE l.ods = e.ods AND l.version > e.version AND v.at < ?)";
/// Accounts that were disabled before `?`.
const DISABLED: &str = "SELECT id FROM users WHERE disabled AND disabled_at < ?";

/// Decisions that were over before `?`. A request to erase that nobody confirmed lapses after so many microseconds
/// (`ErasureRequest::OPEN`).
const DECIDED: [&str; 3] = [
    "erasures WHERE coalesce(confirmed, requested + 1209600000000) < ?",
    "legal_holds WHERE lifted < ?",
    "approvals WHERE expires < ?",
];

/// Subscriptions that nobody was called for since `?`.
const UNCALLED: &str = "subscriptions WHERE status IN ('off', 'error') AND changed < ?";

/// What is over of a class before `?`, one statement for each kind of row; each gives `n` and, of these, `kept`.
pub(crate) fn counted_rows(class: RowClass) -> Vec<String> {
    let counted = |rows: &str| format!("SELECT count(*) AS n, CAST(0 AS BIGINT) AS kept FROM {rows}");
    match class {
        RowClass::Alerts => vec![format!(
            "SELECT count(*) AS n, count(CASE WHEN {ALERT_STAYS} THEN 1 END) AS kept FROM alerts a WHERE a.cleared < ?"
        )],
        RowClass::Directory => vec![counted(&format!("directory_entries e WHERE {SUPERSEDED}"))],
        RowClass::Accounts => vec![counted(&format!("({DISABLED}) d"))],
        RowClass::Decisions => DECIDED.iter().map(|rows| counted(rows)).collect(),
        RowClass::Subscriptions => vec![counted(UNCALLED)],
    }
}

/// Removes what is over of a class before `?`, in this order; `account` is the column by which rows belong to an account.
pub(crate) fn removed_rows(class: RowClass, account: &str) -> Vec<String> {
    match class {
        RowClass::Alerts => vec![
            format!(
                "DELETE FROM notifications WHERE alert IN (SELECT a.id FROM alerts a WHERE a.cleared < ? AND NOT {ALERT_STAYS})"
            ),
            format!("DELETE FROM alerts AS a WHERE a.cleared < ? AND NOT {ALERT_STAYS}"),
        ],
        RowClass::Directory => vec![
            format!("DELETE FROM directory_codes AS e WHERE {SUPERSEDED}"),
            format!("DELETE FROM directory_entries AS e WHERE {SUPERSEDED}"),
            // The newest stays, so that no number is given twice.
            "DELETE FROM directory_versions WHERE at < ? AND version < (SELECT max(version) FROM directory_versions)
                 AND version NOT IN (SELECT version FROM directory_entries)"
                .to_owned(),
        ],
        RowClass::Accounts => ["invitations", "passwords", "passkeys", "sessions", "devices", "ceremonies"]
            .iter()
            .map(|table| format!("DELETE FROM {table} WHERE {account} IN ({DISABLED})"))
            .chain(["DELETE FROM users WHERE disabled AND disabled_at < ?".to_owned()])
            .collect(),
        RowClass::Decisions => DECIDED.iter().map(|rows| format!("DELETE FROM {rows}")).collect(),
        RowClass::Subscriptions => vec![format!("DELETE FROM {UNCALLED}")],
    }
}

/// Adds a row of [`counted_rows`].
pub(crate) fn add_rows(due: &mut DueRows, columns: &Columns<'_>) -> Result<(), Corrupt> {
    let (all, kept): (u64, u64) = (columns.count("n")?, columns.count("kept")?);
    due.due += all.saturating_sub(kept);
    due.kept += kept;
    Ok(())
}

/// The keys of people about whom nothing was recorded since `?` (four times), whom nobody waits for; rows of `patient`, `id` and
/// `held`.
pub(crate) const PEOPLE: &str = "SELECT k.patient, k.id,
         k.patient IN (SELECT patient FROM legal_holds WHERE lifted IS NULL) AS held
     FROM data_keys k WHERE k.patient IS NOT NULL AND k.wrapped IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM data_keys later
             WHERE later.patient = k.patient AND later.wrapped IS NOT NULL AND later.created >= ?)
         AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.patient = k.patient AND t.erased IS NULL AND (t.changed >= ?
             OR EXISTS (SELECT 1 FROM holds h WHERE h.transfer = t.id AND h.closed IS NULL)))
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.patient = k.patient AND d.erased IS NULL
             AND (d.changed >= ? OR d.state IN ('queued', 'awaiting-collection')
                 OR d.state = 'failed' AND (d.closed IS NULL OR d.closed <> d.version)
                 OR EXISTS (SELECT 1 FROM alerts a WHERE a.delivery = d.id AND a.kind = 'not-processed' AND a.cleared IS NULL)))
         AND NOT EXISTS (SELECT 1 FROM audit_log a WHERE a.patient = k.patient AND a.recorded >= ?)
     ORDER BY k.patient, k.created, k.id";

/// Adds a row of [`PEOPLE`]: to those who are due, or to those whom a hold keeps.
pub(crate) fn add_key(
    people: &mut Vec<DuePerson>,
    held: &mut Vec<DuePerson>,
    columns: &Columns<'_>,
) -> Result<(), Corrupt> {
    let list = if columns.flag("held")? { held } else { people };
    let (pseudonym, key): (String, String) = (columns.get("patient")?, columns.get("id")?);
    match list.last_mut().filter(|person| person.pseudonym == pseudonym) {
        Some(person) => person.keys.push(key),
        None => list.push(DuePerson { pseudonym, keys: vec![key] }),
    }
    Ok(())
}

/// Of a row with `id`, `made`, `due` and `certificate`.
pub(crate) fn plan(columns: &Columns<'_>) -> Result<RetentionPlan, Corrupt> {
    Ok(RetentionPlan {
        id: columns.parsed("id")?,
        made: columns.moment("made")?,
        due: columns.get("due")?,
        certificate: columns.get("certificate")?,
    })
}
