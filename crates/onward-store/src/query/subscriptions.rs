//! Subscriptions, as SQL that both engines read, with `$1`, `$2` … in the order of their first use.

/// The columns of a subscription.
const COLUMNS: &str = "id, client, criteria, endpoint, ends, status, error, version, created, changed, told, failures, next_call, \
     failing_since";
/// Those that are called.
const LIVE: &str = "status IN ('requested', 'active')";

/// A new one, unless its client (`$2`) has `$12` already. Its owner's reason is not kept: nobody could erase a person from it.
pub(crate) const ADD: &str =
    "INSERT INTO subscriptions (id, client, criteria, reason, endpoint, ends, status, version, \
         created, changed, told, taken, failures, next_call)
     SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), 'not kept', CAST($4 AS TEXT), CAST($5 AS BIGINT),
         CAST($6 AS TEXT), CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), 0, 0,
         CAST($11 AS BIGINT)
     WHERE (SELECT count(*) FROM subscriptions WHERE client = $2) < CAST($12 AS BIGINT)";
/// A change by its owner, or its being turned off.
pub(crate) const CHANGE: &str =
    "UPDATE subscriptions SET criteria = $1, reason = 'not kept', endpoint = $2, ends = $3, status = $4, \
         error = $5, version = version + 1, changed = $6, told = $7, taken = taken + 1, failures = 0, next_call = $8, \
         failing_since = NULL
     WHERE id = $9 AND version = $10";
/// The end of one.
pub(crate) const REMOVE: &str = "DELETE FROM subscriptions WHERE id = $1";
/// A call is begun.
pub(crate) const TAKE: &str = "UPDATE subscriptions SET taken = taken + 1, next_call = $1
     WHERE id = $2 AND status IN ('requested', 'active') AND told = $3 AND (next_call IS NULL OR next_call <= $4)
     RETURNING taken";
/// What nobody needs to be called for is passed over.
pub(crate) const PASS: &str = "UPDATE subscriptions SET told = $1
     WHERE id = $2 AND told = $3 AND next_call IS NULL AND status IN ('requested', 'active')";
/// A call was taken.
pub(crate) const TOLD: &str = "UPDATE subscriptions SET
         version = version + CASE WHEN status = 'requested' OR error IS NOT NULL THEN 1 ELSE 0 END,
         changed = CASE WHEN status = 'requested' OR error IS NOT NULL THEN $1 ELSE changed END,
         status = 'active', error = NULL, told = $2, failures = 0, next_call = NULL, failing_since = NULL
     WHERE id = $3 AND taken = $4 AND status IN ('requested', 'active')";
/// A call failed for now.
pub(crate) const AGAIN: &str =
    "UPDATE subscriptions SET version = version + 1, changed = $1, error = $2, failures = failures + 1, \
         next_call = $3, failing_since = coalesce(failing_since, $1)
     WHERE id = $4 AND taken = $5 AND status IN ('requested', 'active')";
/// A call failed for good.
pub(crate) const FAILED: &str =
    "UPDATE subscriptions SET version = version + 1, changed = $1, error = $2, status = 'error', \
         failures = failures + 1, next_call = NULL
     WHERE id = $3 AND taken = $4 AND status IN ('requested', 'active')";

/// One.
pub(crate) fn one() -> String {
    format!("SELECT {COLUMNS} FROM subscriptions WHERE id = $1")
}

/// All, the oldest first.
pub(crate) fn all() -> String {
    format!("SELECT {COLUMNS} FROM subscriptions ORDER BY created, id")
}

/// Those of one client, the oldest first.
pub(crate) fn of_client() -> String {
    format!("SELECT {COLUMNS} FROM subscriptions WHERE client = $1 ORDER BY created, id")
}

/// Those that are called.
pub(crate) fn live() -> String {
    format!("SELECT {COLUMNS} FROM subscriptions WHERE {LIVE} ORDER BY created, id")
}

/// What changed: entries of organisation `$3` from `$1` until `$2`, with the words of [`onward_core::store::subscriptions::CHANGING`].
pub(crate) const CHANGED_TASKS: &str = "SELECT DISTINCT a.transfer, a.delivery FROM audit_log a
     WHERE a.position >= $1 AND a.position < $2 AND a.transfer IS NOT NULL AND a.word IN
         ('accept', 'hold', 'release', 'withdraw', 'disclose', 'delivery-failed', 'read', 'acknowledge')
         AND EXISTS (SELECT 1 FROM audit_parties p
             WHERE p.organisation = $3 AND p.recorded = a.recorded AND p.position = a.position)";

#[cfg(test)]
mod tests {
    use onward_core::audit::AuditWord;
    use onward_core::store::subscriptions::CHANGING;

    use super::CHANGED_TASKS;

    #[test]
    fn the_words_of_the_statement_are_those_of_the_port() {
        let quoted = |word: &AuditWord| CHANGED_TASKS.split('\'').any(|part| part == word.as_str());
        for word in AuditWord::ALL {
            assert_eq!(quoted(word), CHANGING.contains(word), "{word}");
        }
    }
}
