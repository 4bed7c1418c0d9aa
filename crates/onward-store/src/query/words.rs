//! What people wrote and stands plain, from before it was sealed or by a previous program that shares the store. Both engines read these.

/// Copies with plain words: as a rule none, and three indexes that are empty say so.
pub(crate) const COPIES: &str = "SELECT id FROM deliveries
         WHERE reason IS NOT NULL AND erased IS NULL AND (state NOT IN ('queued', 'failed') OR ended IS NOT NULL)
     UNION SELECT id FROM deliveries WHERE replay IS NOT NULL AND replay_words IS NULL AND erased IS NULL
     UNION SELECT h.delivery AS id FROM delivery_history h JOIN deliveries d ON d.id = h.delivery
         WHERE h.reason IS NOT NULL AND h.state NOT IN ('queued', 'failed') AND d.erased IS NULL
     ORDER BY id";

/// Where a copy has plain words: the column that seals them, how they are read (with the version that they are of), and written. Of
/// its history everything is sealed, for nobody counts it.
pub(crate) const OF_COPY: [(&str, &str, &str); 3] = [
    (
        "words",
        "SELECT reason AS plain, version FROM deliveries
         WHERE id = ? AND reason IS NOT NULL AND (state NOT IN ('queued', 'failed') OR ended IS NOT NULL)",
        "UPDATE deliveries SET words = ?, reason = NULL WHERE id = ? AND version = ?",
    ),
    (
        "replay_words",
        "SELECT replay AS plain, version FROM deliveries WHERE id = ? AND replay IS NOT NULL AND replay_words IS NULL",
        "UPDATE deliveries SET replay_words = ?, replay = 'replay' WHERE id = ? AND version = ?",
    ),
    (
        "words",
        "SELECT reason AS plain, version FROM delivery_history WHERE delivery = ? AND reason IS NOT NULL",
        "UPDATE delivery_history SET words = ?, reason = NULL WHERE delivery = ? AND version = ?",
    ),
];

/// Transfers with plain words.
pub(crate) const TRANSFERS: &str =
    "SELECT id FROM transfers WHERE ended_reason IS NOT NULL AND erased IS NULL ORDER BY id";

/// Approvals with plain words.
pub(crate) const APPROVALS: &str = "SELECT id FROM approvals WHERE reason <> '' ORDER BY id";
