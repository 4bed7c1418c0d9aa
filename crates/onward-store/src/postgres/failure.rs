//! Why PostgreSQL did not do it, and what must follow. No text here carries a stored value.

use deadpool_postgres::{HookError, PoolError};
use onward_core::store::StoreError;
use tokio_postgres::error::SqlState;

use crate::columns::Corrupt;
use crate::sealing::{KeyFault, Unread};

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// PostgreSQL refused, or the connection to it failed.
    Sql(tokio_postgres::Error),
    /// There is no connection to be had (trust.md §7, fault 16).
    Pool(String),
    /// What is stored is not what was written; names `table.column`.
    Corrupt(String),
    /// The connection was lost while the commit was under way: nobody knows whether it was done.
    CommitUnknown,
    /// These months have no partition yet.
    NoPartition(Vec<i64>),
    /// What the operation rests on has changed since the caller read it.
    Overtaken,
    /// A key is missing or nothing can be sealed.
    Key(KeyFault),
    /// What was asked for was sealed under a key that is destroyed.
    Erased,
    /// The operation rests on rows that others of its batch have still to write: it must be done alone.
    Alone,
    /// The operation panicked.
    Panicked,
}

impl Failure {
    pub(super) fn corrupt(table: &str, column: &str) -> Self {
        Corrupt::at(table, column).into()
    }

    /// Whether the same operation may succeed when it is done again (fault 17): nothing of it was committed.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Sql(error) if Self::passes(error))
    }

    /// The same of what PostgreSQL said.
    pub(super) fn passes(error: &tokio_postgres::Error) -> bool {
        let states =
            [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE];
        error.code().is_some_and(|code| states.contains(code))
    }

    /// Whether a partition that was there is not any more: retention dropped it.
    pub(super) fn lacks_partition(&self) -> bool {
        match self {
            Self::Sql(error) => error
                .as_db_error()
                .is_some_and(|refusal| *refusal.code() == SqlState::CHECK_VIOLATION && refusal.constraint().is_none()),
            _ => false,
        }
    }

    /// Whether the connection is gone and another one may be had (fault 15).
    pub(super) fn is_connection(&self) -> bool {
        match self {
            Self::Sql(error) => match error.code() {
                // An administrator's shutdown or restart, and the recovery after a crash.
                Some(code) => code.code().starts_with("57P0") || code.code().starts_with("08"),
                None => true,
            },
            _ => false,
        }
    }

    /// Whether one operation's fault can have spoilt the others of its batch.
    pub(super) fn is_own(&self) -> bool {
        match self {
            Self::Sql(_) => !self.is_connection(),
            Self::Corrupt(_) | Self::Erased | Self::Overtaken | Self::Alone | Self::Panicked => true,
            Self::Pool(_) | Self::Key(_) | Self::CommitUnknown | Self::NoPartition(_) => false,
        }
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

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Sql(error),
            PoolError::Timeout(_) => Self::Pool("every connection to PostgreSQL is busy".to_owned()),
            PoolError::PostCreateHook(HookError::Backend(error)) => Self::Sql(error),
            PoolError::PostCreateHook(_) => Self::Pool("PostgreSQL refused the settings of a connection".to_owned()),
            _ => Self::Pool("the pool of connections is closed".to_owned()),
        }
    }
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Sql(error) => match error.code() {
                Some(code) if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                    Self::Corrupt(format!("the database ({})", told(error)))
                }
                _ => Self::Unavailable(told(error)),
            },
            Failure::Pool(text) => Self::Unavailable(text.clone()),
            Failure::Corrupt(place) => Self::Corrupt(place.clone()),
            Failure::CommitUnknown => {
                Self::Unavailable("the connection to PostgreSQL was lost while a commit was under way".to_owned())
            }
            Failure::NoPartition(_) => Self::Unavailable("a month's partition could not be made".to_owned()),
            Failure::Key(fault) => Self::Unavailable(fault.to_string()),
            Failure::Erased => Self::Erased,
            Failure::Overtaken | Failure::Alone => Self::Overtaken,
            Failure::Panicked => Self::Unavailable("the operation panicked".to_owned()),
        }
    }
}

/// The error as text. Of what PostgreSQL says, its code and the names of table, column and constraint are told; its message and
/// details can quote values.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    let Some(refusal) = error.as_db_error() else {
        return if error.is_closed() {
            "the connection to PostgreSQL is closed".to_owned()
        } else {
            let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
            cause.map_or_else(
                || "PostgreSQL could not be talked to".to_owned(),
                |cause| format!("PostgreSQL could not be reached: {}", cause.kind()),
            )
        };
    };
    let place = [refusal.table(), refusal.column(), refusal.constraint()].into_iter().flatten().collect::<Vec<_>>();
    let code = refusal.code().code();
    if place.is_empty() {
        format!("PostgreSQL code {code}")
    } else {
        format!("PostgreSQL code {code} ({})", place.join(", "))
    }
}
