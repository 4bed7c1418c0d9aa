//! Copies that a person took care of in another way, as SQL that both engines read, with `$1`, `$2` … in the order of their first use. Such a
//! copy is closed while the version of its closure is its own, so whatever changes a copy ends that, in whatever program; what asks for
//! nothing, as opening it, carries the closure along.

/// In the statement that gives a copy its next version: closed stays closed.
pub(crate) const STAYS: &str = "closed = CASE WHEN closed = version THEN version + 1 ELSE closed END";

/// The closure that the copy `$1` had in the version before its present one, and which it keeps.
pub(crate) const KEPT: &str =
    "SELECT c.delivery, c.version, c.at, c.name, c.words FROM closures c JOIN deliveries d ON d.id = c.delivery
     WHERE c.delivery = $1 AND d.closed = d.version AND c.version = d.version - 1";

/// It becomes one of the version `$1`, with the reason `$2`: that of the copy `$3` and the version `$4`.
pub(crate) const CARRY: &str = "UPDATE closures SET version = $1, words = $2 WHERE delivery = $3 AND version = $4";
