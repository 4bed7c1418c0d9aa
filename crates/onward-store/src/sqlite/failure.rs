//! Why SQLite did not do it, and what must follow. No text here carries a stored value.

use onward_core::store::StoreError;
use rusqlite::{ErrorCode, ffi};

use crate::columns::Corrupt;
use crate::sealing::{KeyFault, Unread};

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite refused.
    Sql(rusqlite::Error),
    /// What is stored is not what was written; names `table.column`.
    Corrupt(String),
    /// A key is missing or nothing can be sealed.
    Key(KeyFault),
    /// What was asked for was sealed under a key that is destroyed.
    Erased,
    /// What the operation rests on has changed since the caller read it.
    Overtaken,
    /// The operation panicked.
    Panicked,
}

impl Failure {
    pub(super) fn corrupt(table: &str, column: &str) -> Self {
        Corrupt::at(table, column).into()
    }
}

impl From<Corrupt> for Failure {
    fn from(Corrupt(place): Corrupt) -> Self {
        Self::Corrupt(place)
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Corrupt(place) => Self::Corrupt(place),
            Unread::Erased => Self::Erased,
            Unread::Key(fault) => Self::Key(fault),
            Unread::Wanted(_) => Self::corrupt("data_keys", "id"),
        }
    }
}

impl From<KeyFault> for Failure {
    fn from(fault: KeyFault) -> Self {
        Unread::from(fault).into()
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Sql(error) if consequence(error) == Consequence::Quarantine => {
                Self::Corrupt(format!("the database file ({})", told(error)))
            }
            Failure::Sql(error) => Self::Unavailable(told(error)),
            Failure::Corrupt(place) => Self::Corrupt(place.clone()),
            Failure::Key(fault) => Self::Unavailable(fault.to_string()),
            Failure::Erased => Self::Erased,
            Failure::Overtaken => Self::Overtaken,
            Failure::Panicked => Self::Unavailable("the operation panicked".to_owned()),
        }
    }
}

/// What an error of SQLite demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The disk did not do what it was told. Which pages reached it is unknown, and another sync would lie
    /// (trust.md §3, §7 faults 5 and 6): the process must end, and recovery reads what is really there.
    Abort,
    /// The file is damaged: told, never repaired in passing (faults 9 and 10).
    Quarantine,
    /// This time only: full disk (fault 7), lock, constraint.
    Refuse,
}

/// Sorts an error of SQLite.
pub(super) fn consequence(error: &rusqlite::Error) -> Consequence {
    let Some(code) = error.sqlite_error() else { return Consequence::Refuse };
    match code.code {
        // Room for the wal-index could not be had. It is shared memory that is rebuilt from the log, holds
        // nothing durable, and a full disk shows itself here too.
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Consequence::Refuse,
        ErrorCode::SystemIoFailure => Consequence::Abort,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Consequence::Quarantine,
        _ => Consequence::Refuse,
    }
}

/// Ends the process when the disk failed; nothing in memory can be trusted to be on it.
pub(super) fn abort_if_the_disk_failed(error: &rusqlite::Error) {
    if consequence(error) == Consequence::Abort {
        abort(&told(error));
    }
}

/// Ends the process, for the disk failed so.
pub(super) fn abort(error: &str) -> ! {
    tracing::error!(error, "the disk failed under the store; aborting so that recovery reads it anew");
    std::process::abort();
}

/// The error as text. SQLite's own message is told only for constraints, where it names tables and
/// columns; conversions of rusqlite can quote values and are told by kind.
pub(super) fn told(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => match (code.code, message) {
            (ErrorCode::ConstraintViolation, Some(message)) => message.clone(),
            _ => format!("SQLite code {}: {}", code.extended_code, ffi::code_to_str(code.extended_code)),
        },
        rusqlite::Error::QueryReturnedNoRows => "a row that must exist is missing".to_owned(),
        rusqlite::Error::SqlInputError { error, .. } => format!("SQLite code {} in a statement", error.extended_code),
        _ => "a value does not fit its column or parameter".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(extended_code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), Some("secret 9000000009".to_owned()))
    }

    #[test]
    fn only_a_failing_disk_aborts() {
        for code in [ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_READ] {
            assert_eq!(consequence(&sqlite(code)), Consequence::Abort, "{code}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_CONSTRAINT_UNIQUE] {
            assert_eq!(consequence(&sqlite(code)), Consequence::Refuse, "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB] {
            assert_eq!(consequence(&sqlite(code)), Consequence::Quarantine, "{code}");
        }
    }

    #[test]
    fn texts_carry_no_values() {
        for error in [sqlite(ffi::SQLITE_FULL), rusqlite::Error::IntegralValueOutOfRange(0, 9_000_000_009)] {
            assert!(!StoreError::from(&Failure::Sql(error)).to_string().contains("9000000009"));
        }
    }
}
