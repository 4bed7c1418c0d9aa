//! Searches as SQL that both engines read, with `?` for each parameter. Only fixed texts become SQL.

pub(crate) mod alerts;
pub(crate) mod closing;
pub(crate) mod resending;
pub(crate) mod retracing;
pub(crate) mod subscriptions;
pub(crate) mod words;

use onward_core::DeliveryId;
use onward_core::audit::{AuditQuery, AuditWord, ENTRIES, Lists, VERIFICATION, export_subject};
use onward_core::state::{DeliveryState, RecipientKind};
use onward_core::store::{ArrivalQuery, Changed, DeliveryQuery, StepKind, StuckQuery, TaskQuery};
use uuid::Uuid;

use crate::rows::{DELIVERY, FOUND_AUDIT};
use crate::sealing::Keychain;
use crate::stored::{micros, stored_count};

/// Takes out what is said of the copies of an erased person (`$1`) and is not sealed: by attempts, which the board counts, and by a
/// previous program that shares the store.
pub(crate) const WORDS: [&str; 5] = [
    "UPDATE delivery_history SET reason = 'erased' WHERE reason IS NOT NULL
         AND delivery IN (SELECT id FROM deliveries WHERE patient = $1)",
    "UPDATE attempts SET reason = 'erased' WHERE reason IS NOT NULL
         AND delivery IN (SELECT id FROM deliveries WHERE patient = $1)",
    "UPDATE deliveries SET reason = 'erased' WHERE patient = $1 AND reason IS NOT NULL",
    "UPDATE deliveries SET replay = 'erased' WHERE patient = $1 AND replay IS NOT NULL",
    "UPDATE transfers SET ended_reason = 'erased' WHERE patient = $1 AND ended_reason IS NOT NULL",
];

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    /// Of a transfer or delivery.
    Id(Uuid),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

/// To its recipient, a recalled copy is not there.
const NOT_RECALLED: &str = "(d.ended IS NULL OR d.ended <> 'recalled')";

/// [`onward_core::state::REFUSALS_OF_PEOPLE`] as SQL; a test compares them.
const REFUSALS_OF_PEOPLE: &str = "'20013', '30001', '30002', '30003', '30004', '30005', '30006', '30007', '30008', '30009', '30010', '30011', '30012', \
     '30013', '30014', '30015', '30016', '30017', '30018', '30019', '30020', '30021', '30022', '30023', '30024', '30025'";

/// [`onward_core::store::DeliveryRecord::is_unprocessed`] as SQL, of a row whose columns begin so.
pub(crate) fn unprocessed(row: &str) -> String {
    format!("({row}state = 'rejected' AND {row}ended IS NULL AND {row}code NOT IN ({REFUSALS_OF_PEOPLE}))")
}

/// A copy, of a row whose columns begin so, is not closed by a person ([`onward_core::store::DeliveryRecord::closed`]).
pub(crate) fn not_closed(row: &str) -> String {
    format!("({row}closed IS NULL OR {row}closed <> {row}version)")
}

/// When a queued copy `d` was last queued: attempts that are tried again leave it so.
pub(crate) const QUEUED_SINCE: &str =
    "(SELECT min(h.at) FROM delivery_history h WHERE h.delivery = d.id AND h.version > coalesce(
     (SELECT max(p.version) FROM delivery_history p WHERE p.delivery = d.id AND p.state <> 'queued'), 0))";

/// [`onward_core::store::Store::queued_since`]: the copy is `$1`.
pub(crate) fn queued_since() -> String {
    format!("SELECT {QUEUED_SINCE} AS since FROM deliveries d WHERE d.id = $1 AND d.state = 'queued'")
}

/// [`onward_core::store::Store::overdue`], by the index of transports and states: `$1` is the moment, `$2` what the endpoints are compared
/// with, `$3` the limit.
pub(crate) fn overdue(dialect: &Dialect, is_one_of_them: &str) -> String {
    let Dialect { any_transport, .. } = dialect;
    format!(
        "SELECT q.id, q.recipient, q.queued FROM (SELECT d.id, d.recipient, {QUEUED_SINCE} AS queued FROM deliveries d
             WHERE {any_transport} AND d.state = 'queued' AND d.created <= $1 AND d.endpoint {is_one_of_them}
                 AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.recipient = d.recipient OR p.recipient = '*')) q
         WHERE q.queued <= $1 ORDER BY q.queued, q.id LIMIT $3"
    )
}

/// Gives up, because of `$1`, at `$2` the copy `$3` of version `$4`, unless it is leased at `$5`.
pub(crate) const GIVE_UP: &str =
    "UPDATE deliveries SET state = 'failed', version = version + 1, next_attempt = NULL, lease_token = NULL,
         lease_until = NULL, reason = $1, words = NULL, changed = $2
     WHERE id = $3 AND version = $4 AND state = 'queued' AND (lease_until IS NULL OR lease_until <= $5)";

/// Checkpoints of more than `$1` entries, at most `$2`.
pub(crate) const CHECKPOINTS: &str = "SELECT size, note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT $2";
/// What witnesses have said of checkpoints of `$1` to `$2` entries.
pub(crate) const COSIGNATURES: &str =
    "SELECT size, witness, line, at FROM cosignatures WHERE size >= $1 AND size <= $2 ORDER BY size, witness";
/// The last word of each.
pub(crate) const LATEST_COSIGNATURES: &str = "SELECT size, witness, line, at FROM cosignatures c
     WHERE size = (SELECT max(size) FROM cosignatures later WHERE later.witness = c.witness) ORDER BY witness";

/// The policies that were in force.
pub(crate) const POLICIES: &str = "SELECT kind, since, text FROM policies ORDER BY since, kind";

/// What is counted of transfers that came in a time.
pub(crate) const REPORTED_TRANSFERS: &str = "SELECT t.id, t.received, t.sender, t.care_home, t.event,
         (SELECT h.reason FROM holds h WHERE h.transfer = t.id ORDER BY h.opened, h.id LIMIT 1) AS held
     FROM transfers t WHERE t.received >= ? AND t.received < ? ORDER BY t.received, t.id";
/// What is counted of their copies.
pub(crate) const REPORTED_COPIES: &str = "SELECT d.transfer, d.kind,
         (SELECT min(h.at) FROM delivery_history h WHERE h.delivery = d.id AND h.state NOT IN ('queued', 'failed', 'withdrawn'))
             AS delivered,
         (SELECT min(h.at) FROM delivery_history h WHERE h.delivery = d.id
             AND h.state IN ('received', 'accepted', 'in-progress', 'completed', 'rejected')) AS answered,
         d.opened,
         (SELECT min(s.at) FROM recipient_steps s WHERE s.delivery = d.id AND s.kind = 'arrived') AS arrived, t.expected
     FROM deliveries d JOIN transfers t ON t.id = d.transfer
     WHERE t.received >= ? AND t.received < ? AND d.kind <> 'sender' AND d.notice_of IS NULL ORDER BY d.transfer, d.sequence";

/// Everybody who had a key at a moment, with what of theirs had come until then; the moment six times.
pub(crate) const HELD_PEOPLE: &str = "SELECT k.patient,
         count(CASE WHEN k.destroyed IS NULL OR k.destroyed > ? THEN 1 END) AS readable,
         (SELECT count(*) FROM transfers t WHERE t.patient = k.patient AND t.received <= ?) AS messages,
         (SELECT count(*) FROM deliveries d WHERE d.patient = k.patient AND d.created <= ? AND d.kind <> 'sender') AS copies,
         (SELECT count(*) FROM audit_log a WHERE a.patient = k.patient AND a.recorded <= ?) AS entries,
         (SELECT count(*) FROM audit_log a WHERE a.patient = k.patient AND a.recorded <= ?
             AND a.word IN ('query', 'subject-access', 'export', 'configure', 'erase')) AS questions
     FROM data_keys k WHERE k.patient IS NOT NULL AND k.created <= ? GROUP BY k.patient ORDER BY k.patient";
/// Messages about nobody who is known that had a readable key at a moment; the moment twice.
pub(crate) const HELD_NAMELESS: &str = "SELECT count(*) AS n FROM data_keys
     WHERE kind = 'transfer' AND patient IS NULL AND created <= ? AND (destroyed IS NULL OR destroyed > ?)";

/// Entries that tell of more than that somebody looked.
const CHANGES: &str = "a.word NOT IN ('read', 'read-task', 'query')";

/// In what the engines differ.
pub(crate) struct Dialect {
    /// The scalar function that gives the greater of two.
    pub(crate) greatest: &'static str,
    /// A join that is walked from left to right, where the engine can be told so.
    pub(crate) ordered_join: &'static str,
    /// How a delivery `d` finds its content `b`.
    pub(crate) body_of_delivery: &'static str,
    /// The column by which a row belongs to an account.
    pub(crate) account: &'static str,
    /// What begins a numbered parameter.
    pub(crate) parameter: char,
    /// True of every whole copy `d`, as the index of transports and states wants it.
    pub(crate) any_transport: &'static str,
}

/// Conditions joined by AND, with their parameters.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, condition: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.texts.push(condition.into());
        self.values.extend(values);
    }

    fn equal(&mut self, column: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(format!("{column} = ?"), [value.into()]);
        }
    }

    fn one_of<'v>(&mut self, column: &str, values: impl Iterator<Item = &'v str>) {
        let values: Vec<Value> = values.map(Value::from).collect();
        if !values.is_empty() {
            self.add(format!("{column} IN ({})", vec!["?"; values.len()].join(", ")), values);
        }
    }

    fn sql(&self) -> String {
        if self.texts.is_empty() { "TRUE".to_owned() } else { self.texts.join(" AND ") }
    }
}

/// A list of deliveries. What a person must decide about is found by an index for either way to come to that.
pub(crate) fn deliveries(query: &DeliveryQuery, keys: &Keychain) -> (String, Vec<Value>) {
    let arms = match query.dead {
        true => {
            let open = not_closed("");
            vec![Some(format!("state = 'failed' AND {open}")), Some([unprocessed(""), open].join(" AND "))]
        }
        false => vec![None],
    };
    let (mut sql, mut values) = (Vec::new(), Vec::new());
    for arm in arms {
        let mut conditions = wanted(query, keys);
        if let Some(arm) = arm {
            conditions.add(arm, []);
        }
        sql.push(format!("SELECT {DELIVERY} FROM deliveries WHERE {}", conditions.sql()));
        values.extend(conditions.values);
    }
    values.push(query.limit.into());
    (format!("{} ORDER BY created, id LIMIT ?", sql.join(" UNION ALL ")), values)
}

fn wanted(query: &DeliveryQuery, keys: &Keychain) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.equal("recipient", query.recipient.as_ref().map(|ods| ods.as_str()));
    conditions.equal("sender", query.sender.as_ref().map(|ods| ods.as_str()));
    conditions.equal("transfer", query.transfer.map(|id| id.0));
    conditions.equal("patient", keys.index(query.patient.as_ref()));
    if !query.include_responses {
        conditions.add("kind <> ?", [RecipientKind::Sender.as_str().into()]);
    }
    if let Some(since) = query.changed_since {
        conditions.add("changed >= ?", [micros(since).into()]);
    }
    if let Some((created, id)) = query.after {
        conditions.add("(created, id) > (?, ?)", [micros(created).into(), id.0.into()]);
    }
    conditions.one_of("state", query.states.iter().map(|state| state.as_str()));
    conditions
}

/// The list that people at a recipient start from; none where no recipient is asked for.
pub(crate) fn arrivals(query: &ArrivalQuery, dialect: &Dialect) -> Option<(String, Vec<Value>)> {
    if query.recipients.is_empty() {
        return None;
    }
    let columns = DELIVERY.split(", ").map(|name| format!("d.{name}")).collect::<Vec<_>>().join(", ");
    let mut conditions = Conditions::default();
    conditions.one_of("d.recipient", query.recipients.iter().map(|ods| ods.as_str()));
    conditions.equal("d.kind", Some(query.kind.as_str()));
    conditions.add("d.created >= ?", [micros(query.since).into()]);
    conditions.add(NOT_RECALLED, []);
    if let Some(place) = query.logged_from {
        conditions.add(
            format!(
                "EXISTS (SELECT 1 FROM audit_log a
                     WHERE a.delivery = CAST(d.id AS TEXT) AND a.position >= ? AND {CHANGES})"
            ),
            [stored_count(place).into()],
        );
    }
    if let Some((created, id)) = query.after {
        let created = || Value::from(micros(created));
        conditions.add("(d.created < ? OR d.created = ? AND d.id > ?)", [created(), created(), id.0.into()]);
    }
    if query.open_only {
        // What needs nobody any more is left out.
        let (since, refusals) = &query.unprocessed;
        let mut values: Vec<Value> = vec![micros(*since).into()];
        values.extend(refusals.iter().map(|code| code.as_str().into()));
        let refusals = match refusals.len() {
            0 => String::new(),
            codes => format!(" AND d.code NOT IN ({})", vec!["?"; codes].join(", ")),
        };
        conditions.add(
            format!(
                "(d.state NOT IN ('completed', 'rejected', 'withdrawn')
                  OR d.state = 'rejected' AND d.ended IS NULL AND d.notice_of IS NULL AND d.code IS NOT NULL
                      AND d.changed >= ?{refusals})"
            ),
            values,
        );
        conditions
            .add("(gone.delivery IS NULL AND d.notice_of IS NULL OR d.state NOT IN ('accepted', 'in-progress'))", []);
    }
    let sql = format!(
        "SELECT {columns}, t.expected AS expected, b.card AS card,
             (SELECT count(*) FROM recipient_steps s
              WHERE s.delivery = d.id AND s.kind = 'checked' AND s.outcome <> 'problem'
                  AND NOT EXISTS (SELECT 1 FROM recipient_steps later
                      WHERE later.delivery = s.delivery AND later.kind = 'checked' AND later.item = s.item
                          AND later.step > s.step)) AS settled,
             EXISTS (SELECT 1 FROM deliveries e WHERE e.ended_by = d.id) AS continues,
             (SELECT min(a.position) FROM audit_log a WHERE a.delivery = CAST(d.id AS TEXT) AND {CHANGES}) AS logged_first,
             (SELECT max(a.position) FROM audit_log a WHERE a.delivery = CAST(d.id AS TEXT) AND {CHANGES}) AS logged_last,
             gone.at AS left_at, gone.{} AS left_user, gone.text AS left_text
         FROM deliveries d JOIN transfers t ON t.id = d.transfer LEFT JOIN rendition_bodies b ON {}
         LEFT JOIN recipient_steps gone ON gone.delivery = d.id AND gone.kind = 'left'
         WHERE {} ORDER BY d.created DESC, d.id LIMIT ?",
        dialect.account,
        dialect.body_of_delivery,
        conditions.sql()
    );
    conditions.values.push(query.limit.into());
    Some((sql, conditions.values))
}

/// What people did with a copy, and what they told of the person with the copies whose place it took, one after another.
pub(crate) fn steps(delivery: DeliveryId, dialect: &Dialect) -> (String, Vec<Value>) {
    let told: Vec<&StepKind> = StepKind::ALL.iter().filter(|kind| kind.is_about_the_person()).collect();
    let places = vec!["?"; told.len()].join(", ");
    let Dialect { account, ordered_join, .. } = dialect;
    let sql = format!(
        "WITH RECURSIVE line (id, far) AS (
             SELECT id, 0 FROM deliveries WHERE id = ?
             UNION ALL SELECT e.id, line.far + 1 FROM line {ordered_join} deliveries e ON e.ended_by = line.id)
         SELECT s.delivery AS delivery, s.kind AS kind, s.at AS at, s.{account} AS \"user\", s.name AS name, s.item AS item,
             s.outcome AS outcome, s.text AS text
         FROM line {ordered_join} recipient_steps s ON s.delivery = line.id
         WHERE line.far = 0 OR s.kind IN ({places}) ORDER BY line.far DESC, s.step"
    );
    let told = told.iter().map(|kind| kind.as_str().into());
    (sql, std::iter::once(delivery.0.into()).chain(told).collect())
}

/// [`onward_core::store::TransferRecord::task_status`] as SQL; the contract compares them.
const TRANSFER_STATUS: &str = "CASE
    WHEN t.ended IS NOT NULL THEN 'cancelled'
    WHEN EXISTS (SELECT 1 FROM holds h WHERE h.transfer = t.id AND h.closed IS NULL) THEN 'on-hold'
    WHEN t.not_sent IS NOT NULL OR EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.notice_of IS NULL
        AND (c.state = 'failed' OR c.state = 'rejected' AND c.ended IS NULL)) THEN 'failed'
    WHEN NOT EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.notice_of IS NULL) THEN 'in-progress'
    WHEN NOT EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.notice_of IS NULL
        AND c.state <> 'withdrawn' AND (c.state <> 'rejected' OR c.ended IS NULL)) THEN 'cancelled'
    WHEN NOT EXISTS (SELECT 1 FROM deliveries c WHERE c.transfer = t.id AND c.kind <> 'sender'
        AND c.notice_of IS NULL
        AND c.state NOT IN ('accepted', 'in-progress', 'completed')
        AND (c.ended IS NULL OR NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.transfer = t.id AND o.kind = c.kind
            AND o.notice_of IS NULL AND o.ended IS NULL))) THEN 'completed'
    ELSE 'in-progress' END";

/// A list of Tasks as the parts of a UNION ALL: rows of `whole` (a transfer, else a copy), `id` and `created`.
pub(crate) fn tasks(query: &TaskQuery, keys: &Keychain, dialect: &Dialect) -> (Vec<String>, Vec<Value>) {
    let (mut arms, mut values) = (Vec::new(), Vec::new());
    if query.transfers && query.recipient.is_none() && query.transfer.is_none() && query.kinds.is_empty() {
        // Latest change of a transfer or of one of its copies.
        let changed = format!(
            "{}(t.changed, coalesce((SELECT max(c.changed) FROM deliveries c WHERE c.transfer = t.id), t.changed))",
            dialect.greatest
        );
        let mut arm = Conditions::default();
        shared(&mut arm, query, keys, ["t.sender", "t.patient", "t.received", "t.id"], &changed);
        arm.one_of(TRANSFER_STATUS, query.statuses.iter().map(String::as_str));
        let select = "SELECT TRUE AS whole, t.id AS id, t.received AS created FROM transfers t";
        arms.push(format!("{select} WHERE {}", arm.sql()));
        values.extend(arm.values);
    }
    let asked_for = |state: &&DeliveryState| query.statuses.iter().any(|status| status == state.task_status());
    let wanted: Vec<&str> = DeliveryState::ALL.iter().filter(asked_for).map(|state| state.as_str()).collect();
    // A status that no copy can have finds none.
    if query.copies && (query.statuses.is_empty() || !wanted.is_empty()) {
        let mut arm = Conditions::default();
        shared(&mut arm, query, keys, ["d.sender", "d.patient", "d.created", "d.id"], "d.changed");
        arm.equal("d.recipient", query.recipient.as_ref().map(|ods| ods.as_str()));
        arm.equal("d.transfer", query.transfer.map(|id| id.0));
        arm.add("d.kind <> ?", [RecipientKind::Sender.as_str().into()]);
        arm.one_of("d.kind", query.kinds.iter().map(|kind| kind.as_str()));
        arm.one_of("d.state", wanted.into_iter());
        if query.without_recalled {
            arm.add(NOT_RECALLED, []);
        }
        let select = "SELECT FALSE AS whole, d.id AS id, d.created AS created FROM deliveries d";
        arms.push(format!("{select} WHERE {}", arm.sql()));
        values.extend(arm.values);
    }
    (arms, values)
}

fn shared(
    arm: &mut Conditions,
    query: &TaskQuery,
    keys: &Keychain,
    [sender, patient, created, id]: [&str; 4],
    changed: &str,
) {
    arm.equal(sender, query.sender.as_ref().map(|ods| ods.as_str()));
    arm.equal(patient, keys.index(query.patient.as_ref()));
    if let Some((at, after)) = query.after {
        arm.add(format!("({created}, {id}) > (?, ?)"), [micros(at).into(), after.into()]);
    }
    for when in &query.changed {
        match *when {
            Changed::Within { from, until } => {
                if let Some(from) = from {
                    arm.add(format!("{changed} >= ?"), [micros(from).into()]);
                }
                if let Some(until) = until {
                    arm.add(format!("{changed} < ?"), [micros(until).into()]);
                }
            }
            Changed::Outside { from, until } => {
                arm.add(format!("({changed} < ? OR {changed} >= ?)"), [micros(from).into(), micros(until).into()]);
            }
        }
    }
}

/// The first entry of the log that is filed under other organisations than those it belongs to. What a purge has taken can
/// no longer tell whose an entry is: then only the agent's organisation is asked for.
pub(crate) fn misfiled_audit(dialect: &Dialect) -> String {
    let join = dialect.ordered_join;
    format!(
        "SELECT position FROM (
             SELECT e.position FROM (
                 SELECT organisation, recorded, position FROM audit_log WHERE organisation IS NOT NULL
                 UNION ALL SELECT t.sender, a.recorded, a.position
                     FROM transfers t {join} audit_log a ON a.transfer = CAST(t.id AS TEXT)
                 UNION ALL SELECT d.recipient, a.recorded, a.position
                     FROM deliveries d {join} audit_log a ON a.delivery = CAST(d.id AS TEXT)
             ) e WHERE NOT EXISTS (SELECT 1 FROM audit_parties p WHERE p.organisation = e.organisation
                                   AND p.recorded = e.recorded AND p.position = e.position)
             UNION ALL SELECT p.position FROM audit_parties p
                 LEFT JOIN audit_log a ON a.position = p.position
                 LEFT JOIN transfers t ON CAST(t.id AS TEXT) = a.transfer
                 LEFT JOIN deliveries d ON CAST(d.id AS TEXT) = a.delivery
                 WHERE a.position IS NULL OR a.recorded <> p.recorded
                    OR (p.organisation NOT IN (coalesce(a.organisation, ''), coalesce(t.sender, ''), coalesce(d.recipient, ''))
                        AND (a.transfer IS NULL OR t.id IS NOT NULL) AND (a.delivery IS NULL OR d.id IS NOT NULL))
         ) misfiled ORDER BY position LIMIT 1"
    )
}

/// A search of the audit log. Whoever asks about a person or a transfer is led by their few entries and not by the many of an
/// organisation; else the organisation's entries are walked in order.
pub(crate) fn audit(query: &AuditQuery, keys: &Keychain, dialect: &Dialect) -> (String, Vec<Value>) {
    let mut conditions = Conditions::default();
    let led_by_entry = query.patient.is_some() || query.entity.is_some() || query.lists.is_some();
    let (from, order) = match &query.organisation {
        Some(organisation) if led_by_entry => {
            conditions.add(
                "EXISTS (SELECT 1 FROM audit_parties p WHERE p.organisation = ? AND p.recorded = a.recorded
                 AND p.position = a.position)",
                [organisation.as_str().into()],
            );
            ("audit_log a".to_owned(), "a")
        }
        Some(organisation) => {
            conditions.equal("p.organisation", Some(organisation.as_str()));
            (format!("audit_parties p {} audit_log a ON a.position = p.position", dialect.ordered_join), "p")
        }
        None => ("audit_log a".to_owned(), "a"),
    };
    conditions.equal("a.patient", keys.index(query.patient.as_ref()));
    if let Some(entity) = query.entity.as_deref() {
        conditions.add("(a.transfer = ? OR a.delivery = ?)", [entity.into(), entity.into()]);
    }
    match &query.lists {
        None => {}
        Some(Lists::Of(patient)) => {
            let index = keys.index(Some(patient)).unwrap_or_default();
            conditions.add(
                "a.position IN (SELECT s.position FROM audit_shown s WHERE s.subject IN
                     (SELECT CAST(id AS TEXT) FROM deliveries WHERE patient = ?
                      UNION ALL SELECT CAST(id AS TEXT) FROM transfers WHERE patient = ?))",
                [index.clone().into(), index.into()],
            );
        }
        Some(lists @ (Lists::With(_) | Lists::Exports | Lists::Export(_) | Lists::Verifications)) => {
            let subject = match lists {
                Lists::With(copy) => copy.to_string(),
                Lists::Exports => ENTRIES.to_owned(),
                Lists::Export(id) => export_subject(*id),
                _ => VERIFICATION.to_owned(),
            };
            conditions
                .add("a.position IN (SELECT s.position FROM audit_shown s WHERE s.subject = ?)", [subject.into()]);
        }
        // As the index says it.
        Some(Lists::Unkept) => conditions.add("a.shown IS NULL AND a.word = 'query' AND a.patient IS NULL", []),
    }
    if let Some(agent) = query.agent.as_deref() {
        conditions.add("(a.agent = ? OR a.organisation = ?)", [agent.into(), agent.into()]);
    }
    if let Some(from) = query.from {
        conditions.add(format!("{order}.recorded >= ?"), [micros(from).into()]);
    }
    if let Some(until) = query.until {
        conditions.add(format!("{order}.recorded < ?"), [micros(until).into()]);
    }
    match query.words.as_slice() {
        // As the index of this word says it: of a parameter neither engine knows that it is this one.
        [AuditWord::Configure] => conditions.add("a.word = 'configure'", []),
        [AuditWord::Alarm] => conditions.add("a.word = 'alarm'", []),
        words => conditions.one_of("a.word", words.iter().map(|word| word.as_str())),
    }
    if let Some((recorded, index)) = query.after {
        let place = [micros(recorded).into(), stored_count(index).into()];
        conditions.add(format!("({order}.recorded, {order}.position) < (?, ?)"), place);
    }
    let sql = format!(
        "SELECT {FOUND_AUDIT} FROM {from} WHERE {}
         ORDER BY {order}.recorded DESC, {order}.position DESC LIMIT ?",
        conditions.sql()
    );
    conditions.values.push(query.limit.into());
    (sql, conditions.values)
}

/// Where a copy `d` waits that has not left, or that was not processed ([`onward_core::store::Queue`]).
const QUEUE: &str = "CASE
    WHEN d.state IN ('failed', 'rejected') THEN 'dead'
    WHEN EXISTS (SELECT 1 FROM pauses p WHERE p.recipient IN (d.recipient, '*')) THEN 'paused'
    WHEN d.attempts = 0 OR d.reason IS NULL THEN 'waiting'
    WHEN d.attempts < 5 THEN 'retrying'
    ELSE 'failing' END";

/// [`onward_core::cause::NOT_PROCESSED`] as SQL; the contract compares them.
const NOT_PROCESSED: &str = "CAST('the recipient refused the message itself' AS TEXT)";

/// What stands on the operator's board: what has not left, and what was not processed, led by the few alerts that are open about it. From
/// where, which, and the reason that is counted.
fn board() -> [(&'static str, String, String); 3] {
    let alerted = "alerts a JOIN deliveries d ON d.id = a.delivery";
    let open = not_closed("d.");
    let unprocessed = format!("a.kind = 'not-processed' AND a.cleared IS NULL AND {} AND {open}", unprocessed("d."));
    [
        ("deliveries d", "d.state = 'queued'".to_owned(), "d.reason".to_owned()),
        ("deliveries d", format!("d.state = 'failed' AND {open}"), "d.reason".to_owned()),
        (alerted, unprocessed, NOT_PROCESSED.to_owned()),
    ]
}

/// What stands on the board, counted; rows of [`crate::rows::operations::backlog`].
pub(crate) fn backlog() -> String {
    let arms = board().map(|(from, which, reason)| {
        format!(
            "SELECT {QUEUE} AS queue, d.recipient, d.recipient_name, {reason} AS reason, d.created FROM {from} WHERE {which}"
        )
    });
    format!(
        "SELECT q.queue, q.recipient, min(q.recipient_name) AS recipient_name, q.reason, count(*) AS n, min(q.created) AS oldest
         FROM ({}) q GROUP BY q.queue, q.recipient, q.reason ORDER BY min(q.created), q.queue, q.recipient",
        arms.join(" UNION ALL ")
    )
}

/// Of a transfer (`$1`) with a copy that its recipient may still use.
pub(crate) const IN_USE: &str = "SELECT id FROM deliveries
     WHERE transfer = $1 AND kind <> 'sender' AND notice_of IS NULL AND ended IS NULL LIMIT 1";

/// What stands on the board; rows of [`crate::rows::operations::stuck`].
pub(crate) fn stuck(query: &StuckQuery) -> (String, Vec<Value>) {
    let columns = DELIVERY.split(", ").map(|name| format!("d.{name} AS {name}")).collect::<Vec<_>>().join(", ");
    let mut values = Vec::new();
    let arms = board().map(|(from, which, reason)| {
        let mut conditions = Conditions::default();
        conditions.add(which, []);
        conditions.equal("d.recipient", query.recipient.as_ref().map(|ods| ods.as_str()));
        conditions.one_of(QUEUE, query.queues.iter().map(|queue| queue.as_str()));
        match query.reasons.as_deref() {
            Some([]) => conditions.add("FALSE", []),
            Some(reasons) => conditions.one_of(&reason, reasons.iter().map(String::as_str)),
            None => {}
        }
        let sql = conditions.sql();
        values.extend(conditions.values);
        format!(
            "SELECT {columns}, {QUEUE} AS queue,
                 (SELECT min(t.finished) FROM attempts t WHERE t.delivery = d.id AND t.outcome <> 'sent') AS first_failed
             FROM {from} WHERE {sql}"
        )
    });
    values.push(query.limit.into());
    (format!("{} ORDER BY created, id LIMIT ?", arms.join(" UNION ALL ")), values)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_codes_that_refuse_people_are_those_of_the_core() {
        let codes: Vec<&str> = super::REFUSALS_OF_PEOPLE.split(", ").map(|code| code.trim_matches('\'')).collect();
        assert_eq!(codes, onward_core::state::REFUSALS_OF_PEOPLE);
    }
}
