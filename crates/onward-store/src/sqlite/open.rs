//! Opening a database file: the version of SQLite, the lock of the sole server, the settings of a
//! connection and the migrations. Refuses what it does not know for certain to be its own.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use onward_core::store::{Finish, Schema};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};

use super::failure::{Consequence, Failure, consequence, told};
use super::{keys, migrate};
use crate::schema::{self, Migration};
use crate::sealing::{KeyEncryption, KeyFault};

/// Before this, a race at the reset of the log could lose committed transactions (3.7.0 to 3.51.2).
const SQLITE_FLOOR: i32 = 3_051_003;
/// `application_id` in the file's header: "ONWD".
const APPLICATION_ID: i32 = 0x4F4E_5744;
/// Bytes that the file of the log keeps when it is begun anew.
const LOG_BYTES_KEPT: i64 = 64 << 20;
/// How long a statement waits for another process.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The schema, one step a file; the first brings version 0 to version 1. Each has the oldest program that can serve on what it leaves: up
/// to the step that records this its own, as earlier programs do not look.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration::new(include_str!("../../schema/sqlite/0001_initial.sql"), 1),
    Migration::new(include_str!("../../schema/sqlite/0002_audit_search.sql"), 2),
    Migration::new(include_str!("../../schema/sqlite/0003_people.sql"), 3),
    Migration::new(include_str!("../../schema/sqlite/0004_steps.sql"), 4),
    Migration::new(include_str!("../../schema/sqlite/0005_lifecycle.sql"), 5),
    Migration::new(include_str!("../../schema/sqlite/0006_evidence.sql"), 6),
    Migration::new(include_str!("../../schema/sqlite/0007_operations.sql"), 7),
    Migration::new(include_str!("../../schema/sqlite/0008_sealing.sql"), 8),
    Migration::new(include_str!("../../schema/sqlite/0009_erasure.sql"), 9),
    Migration::new(include_str!("../../schema/sqlite/0010_retention.sql"), 10),
    Migration::new(include_str!("../../schema/sqlite/0011_alerts.sql"), 11),
    Migration::new(include_str!("../../schema/sqlite/0012_subscriptions.sql"), 12),
    Migration::new(include_str!("../../schema/sqlite/0013_words.sql"), 13),
    Migration::new(include_str!("../../schema/sqlite/0014_shown.sql"), 14),
    Migration::new(include_str!("../../schema/sqlite/0015_accounts.sql"), 15),
    Migration::new(include_str!("../../schema/sqlite/0016_lines.sql"), 16),
    Migration::new(include_str!("../../schema/sqlite/0017_checkup.sql"), 17),
    Migration::new(include_str!("../../schema/sqlite/0018_subscription_alerts.sql"), 18),
    Migration::new(include_str!("../../schema/sqlite/0019_contents.sql"), 19),
    Migration::new(include_str!("../../schema/sqlite/0020_token_keys.sql"), 20),
    Migration::new(include_str!("../../schema/sqlite/0021_resending.sql"), 21),
    Migration::new(include_str!("../../schema/sqlite/0022_in_force.sql"), 22),
    Migration::new(include_str!("../../schema/sqlite/0023_rare_words.sql"), 23),
    Migration::new(include_str!("../../schema/sqlite/0024_looks.sql"), 24),
    Migration::new(include_str!("../../schema/sqlite/0025_programs.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0026_waiting.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0027_work.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0028_retraced.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0029_parts.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0030_closed.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0031_disclosures.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0032_standing.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0033_addresses.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0034_placing.sql"), 25),
    Migration::new(include_str!("../../schema/sqlite/0035_readdressed.sql"), 25),
];
/// The version from which on programs can put copies together from parts: none is written while an older one may serve.
pub(super) const PARTS_SINCE: usize = 29;
/// The version from which on programs let copies be that a person has closed: none is closed while an older one may serve, which would raise
/// the alerts about it anew at every look. Finishing an upgrade asks for this one.
pub(super) const CLOSED_SINCE: usize = 30;
/// The step whose statements the program follows by sealing what is there.
const SEALING: usize = 7;
/// The step that the program follows by sealing what people wrote.
const WORDS: usize = 12;
/// The step from which on the oldest program is recorded.
pub(super) const RECORDED: usize = 24;

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The linked SQLite has a known way to lose committed data.
    #[error("the linked SQLite is {found}; at least 3.51.3 is needed, older ones can lose committed data")]
    SqliteTooOld {
        /// Its version.
        found: &'static str,
    },
    /// Another process serves this database (trust.md §7, fault 14).
    #[error("another process uses this database: it holds the lock {}", lock.display())]
    InUse {
        /// The lock file.
        lock: PathBuf,
    },
    /// The files cannot be created or locked.
    #[error("{} cannot be opened", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is another program's database.
    #[error("the file is a database, but not one of Onward")]
    Foreign,
    /// A newer Onward wrote it, and this one cannot serve on it.
    #[error(
        "the database has schema version {found}, on which a program can serve that knows version {oldest} at least; this one knows \
         versions up to {known}: use the newer program, or go back with the backup of before the upgrade"
    )]
    Newer {
        /// The file's version.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
        /// That which the oldest program knows that can serve on it.
        oldest: usize,
    },
    /// The file system cannot do write-ahead logging (network file systems cannot).
    #[error("the file system does not support write-ahead logging")]
    NoWriteAheadLog,
    /// SQLite refused.
    #[error("the database cannot be opened: {0}")]
    Sqlite(String),
    /// The disk did not do what it was told. Where the database is served already, nothing must be tried again.
    #[error("the disk under the database failed: {0}")]
    Disk(String),
    /// A key is missing or another one (trust.md §7, faults 33 and 34): nothing is opened, and nothing is stored unsealed.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// What is stored in a row is not what was written; names `table.column`.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// The writer thread could not be started.
    #[error("the store's writer cannot be started")]
    Thread(#[source] std::io::Error),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sql(error) => error.into(),
            Failure::Key(fault) => fault.into(),
            Failure::Corrupt(place) => Self::Corrupt(place),
            Failure::Erased | Failure::Overtaken | Failure::Panicked => Self::Corrupt("data_keys".to_owned()),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match consequence(&error) {
            Consequence::Abort => Self::Disk(told(&error)),
            Consequence::Quarantine | Consequence::Refuse => Self::Sqlite(told(&error)),
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
}

/// Refuses a SQLite that loses data.
pub(super) fn check_sqlite() -> Result<(), OpenError> {
    if rusqlite::version_number() < SQLITE_FLOOR {
        return Err(OpenError::SqliteTooOld { found: rusqlite::version() });
    }
    Ok(())
}

/// The advisory lock beside the database; it ends when it is dropped, and with the process.
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing alone would not do: a child that was forked and has not replaced its program yet holds the file, too.
    fn drop(&mut self) {
        // A file that cannot be unlocked is closed in any case.
        let _ = self.0.unlock();
    }
}

/// Takes the lock.
pub(super) fn lock(database: &Path) -> Result<Lock, OpenError> {
    let mut name = OsString::from(database);
    name.push(".lock");
    let path = PathBuf::from(name);
    let fault = |source| OpenError::File { path: path.clone(), source };
    let file = private(OpenOptions::new().create(true).truncate(false).write(true)).open(&path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { lock: path }),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

/// Creates the file when it is missing, readable by its owner only: it holds patient data. SQLite gives
/// the log the same permissions.
pub(super) fn create(database: &Path) -> Result<(), OpenError> {
    private(OpenOptions::new().create(true).truncate(false).write(true))
        .open(database)
        .map(drop)
        .map_err(|source| OpenError::File { path: database.to_owned(), source })
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// A connection with the settings that durability rests on.
pub(super) fn connect(database: &Path, purpose: Purpose) -> Result<Connection, OpenError> {
    // Readers open the file for writing too: a read-only connection cannot always map the wal-index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    // What fails on the way may be a sync, and closing would carry the log over and sync again, with success: see `opened`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Before anything is changed: another program's file is left as it is.
    version(&connection, MIGRATIONS)?;
    if !write_ahead(&connection)?.eq_ignore_ascii_case("wal") {
        return Err(OpenError::NoWriteAheadLog);
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The test of power cuts must be able to show that it would find a store that does not sync.
    #[cfg(test)]
    if let Some(weaker) = std::env::var_os("ONWARD_TEST_SYNCHRONOUS") {
        connection.pragma_update(None, "synchronous", weaker.to_str())?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // What is deleted or overwritten is zeroed in the file: a destroyed key is gone.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // Sorting spills would put patient data into files that nobody guards.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // KiB when negative. The default of 2 MB makes a backlog of copies read the same pages again with every look; all connections together
    // have a bound, since each fills its own in time, and what they have not the system's cache has.
    let kibibytes = if purpose == Purpose::Write { 8_192 } else { 3_072 };
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.set_prepared_statement_cache_capacity(96);
    match purpose {
        // The writer carries the log over itself, because the automatic way ignores errors.
        Purpose::Write => {
            connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
            // What somebody's long reading made of it is given back.
            connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
            // A statement is planned once. Else SQLite plans most of them anew whenever they are run, in case that a plan fits the new
            // values better. What the writer looks for by an index of some states or kinds alone names them itself.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        }
        Purpose::Read => connection.pragma_update(None, "query_only", true)?,
    }
    Ok(connection)
}

/// Asks for write-ahead logging; gives the mode that there is now. Of a new file this is a transaction that commits at the last step,
/// after its row: who takes the row alone does not hear that the sync has failed.
fn write_ahead(connection: &Connection) -> rusqlite::Result<String> {
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mode = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?.get(0)?;
    while rows.next()?.is_some() {}
    Ok(mode)
}

/// Whether migrations are due; refuses a file that is too new or not ours.
pub(super) fn is_outdated(connection: &Connection) -> Result<bool, OpenError> {
    Ok(version(connection, MIGRATIONS)? < MIGRATIONS.len())
}

fn version(connection: &Connection, steps: &[Migration]) -> Result<usize, OpenError> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let stored: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let empty = stored == 0 && application == 0 && tables == 0;
    if application != APPLICATION_ID && !empty {
        return Err(OpenError::Foreign);
    }
    let schema = schema(connection, steps.len())?;
    let (found, known) = (schema.stored, schema.known);
    if schema.lets_serve() {
        return Ok(found);
    }
    Err(OpenError::Newer { found, known, oldest: schema.oldest_program.unwrap_or(found) })
}

/// The schema that there is, for a program that knows so many versions.
pub(super) fn schema(connection: &Connection, known: usize) -> Result<Schema, Failure> {
    let number = |number: i64| usize::try_from(number).map_err(|_| Failure::corrupt("the schema", "version"));
    let stored = number(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)?;
    let there = "SELECT 1 FROM sqlite_schema WHERE name = 'onward_programs'";
    let mut oldest_program = None;
    if connection.query_row(there, [], |_| Ok(())).optional()?.is_some() {
        let oldest = "SELECT oldest FROM onward_programs WHERE id = 1";
        oldest_program = connection.query_row(oldest, [], |row| row.get(0)).optional()?.map(number).transpose()?;
    }
    Ok(Schema { stored, known, oldest_program, waits_for: CLOSED_SINCE })
}

/// Shuts out the programs that cannot read what waits for that.
pub(super) fn finish(connection: &Connection, known: usize) -> Result<Finish, Failure> {
    let schema = schema(connection, known)?;
    if schema.is_newer() {
        return Ok(Finish::Newer);
    }
    Ok(if shut_out(connection, CLOSED_SINCE)? { Finish::Done } else { Finish::Already })
}

/// Shuts out the programs that do not know this version; `false` where they are. Whoever writes parts does so, too, by [`PARTS_SINCE`]: a node
/// may remember what the store has lost.
pub(super) fn shut_out(connection: &Connection, since: usize) -> Result<bool, Failure> {
    let sql = "UPDATE onward_programs SET oldest = ?1 WHERE id = 1 AND oldest < ?1";
    Ok(connection.prepare_cached(sql)?.execute([stored_version(since)])? == 1)
}

/// Whether no program may serve that could not put copies together.
pub(super) fn may_part(connection: &Connection) -> Result<bool, Failure> {
    let sql = "SELECT 1 FROM onward_programs WHERE id = 1 AND oldest >= ?";
    Ok(connection.prepare_cached(sql)?.exists([stored_version(PARTS_SINCE)])?)
}

/// The store is open: whichever connection closes last carries the log over, as after every orderly end.
pub(super) fn opened(connection: &Connection) -> Result<(), OpenError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Brings the schema forward, one transaction a step, so that an upgrade that is killed resumes (fault 37).
pub(super) fn migrate(
    connection: &mut Connection,
    steps: &[Migration],
    encryption: &Arc<dyn KeyEncryption>,
    now: Timestamp,
) -> Result<(), OpenError> {
    let mut sealed = false;
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let current = version(&transaction, steps)?;
        let Some(step) = steps.get(current) else { break };
        transaction.execute_batch(step.sql)?;
        if current == SEALING {
            keys::begin(&transaction, encryption.as_ref(), now)?;
            sealed = migrate::seal_everything(&transaction, encryption, now)?;
        }
        if current == WORDS {
            sealed |= migrate::seal_words(&transaction, encryption, now)?;
        }
        if current >= RECORDED {
            let record = "INSERT INTO onward_programs (id, oldest) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET oldest = max(oldest, excluded.oldest)";
            transaction.execute(record, [stored_version(step.oldest_program)])?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", stored_version(current + 1))?;
        transaction.commit()?;
    }
    if sealed {
        // What was plain must not stay behind in free pages or in the log.
        connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?;
    }
    schema::tell_newer(&schema(connection, steps.len())?);
    Ok(())
}

pub(super) fn stored_version(version: usize) -> i64 {
    i64::try_from(version).expect("few migrations")
}
