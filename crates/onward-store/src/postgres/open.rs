//! Opening a database: what it must promise, and the migrations. Any number of nodes may open one at the same time.

use std::sync::Arc;

use deadpool_postgres::{Client, Pool};
use jiff::Timestamp;
use tokio_postgres::error::SqlState;

use super::failure::{Failure, told};
use super::keyed::Keyed;
use super::session::{self, Session};
use super::{keys, migrate};
use crate::columns::Columns;
use crate::sealing::{KeyEncryption, KeyFault, Vault};

/// The schema, one step a file; the first brings version 0 to version 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../schema/postgres/0001_initial.sql"),
    include_str!("../../schema/postgres/0002_people.sql"),
    include_str!("../../schema/postgres/0003_steps.sql"),
    include_str!("../../schema/postgres/0004_lifecycle.sql"),
    include_str!("../../schema/postgres/0005_evidence.sql"),
    include_str!("../../schema/postgres/0006_operations.sql"),
    include_str!("../../schema/postgres/0007_sealing.sql"),
    include_str!("../../schema/postgres/0008_retention.sql"),
    include_str!("../../schema/postgres/0009_alerts.sql"),
    include_str!("../../schema/postgres/0010_subscriptions.sql"),
    include_str!("../../schema/postgres/0011_words.sql"),
    include_str!("../../schema/postgres/0012_shown.sql"),
    include_str!("../../schema/postgres/0013_accounts.sql"),
    include_str!("../../schema/postgres/0014_lines.sql"),
    include_str!("../../schema/postgres/0015_subscription_alerts.sql"),
    include_str!("../../schema/postgres/0016_contents.sql"),
    include_str!("../../schema/postgres/0017_token_keys.sql"),
    include_str!("../../schema/postgres/0018_resending.sql"),
    include_str!("../../schema/postgres/0019_in_force.sql"),
    include_str!("../../schema/postgres/0020_rare_words.sql"),
    include_str!("../../schema/postgres/0021_far_ahead.sql"),
    include_str!("../../schema/postgres/0022_looks.sql"),
    include_str!("../../schema/postgres/0023_retraced.sql"),
    include_str!("../../schema/postgres/0024_retraceable.sql"),
];
/// The step whose statements the program follows by sealing what is there.
const SEALING: usize = 6;
/// The step that the program follows by sealing what people wrote.
const WORDS: usize = 10;

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address cannot be used.
    #[error("the address cannot be used: {0}")]
    Address(String),
    /// TLS cannot be spoken as configured.
    #[error("{0}")]
    Tls(String),
    /// What is committed there can be lost (trust.md §7, fault 18).
    #[error("the database runs with {setting} = {found}, expected {expected}: acknowledged messages could be lost")]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Nothing of Onward's is there.
    #[error("there is no store in this database: make one with `onward migrate`")]
    Absent,
    /// The database holds another program's tables.
    #[error("the database holds tables of these names that are not Onward's: give Onward a database of its own")]
    Foreign,
    /// A newer Onward wrote it.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}; use the newer program"
    )]
    Newer {
        /// The database's version.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// A key is missing or another one (trust.md §7, faults 33 and 34): nothing is opened, and nothing is stored unsealed.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// PostgreSQL refused or was not reached.
    #[error("the database cannot be opened: {0}")]
    Postgres(String),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Key(fault) => Self::Keys(fault),
            Failure::Sql(error) => Self::Postgres(told(&error)),
            other => Self::Postgres(onward_core::store::StoreError::from(&other).to_string()),
        }
    }
}

/// Refuses a database that acknowledges what it has not made durable.
pub(super) async fn check_durability(pool: &Pool, fsync_off_allowed: bool) -> Result<(), OpenError> {
    let session = Session::begin(pool, session::READ).await?;
    let commit = setting(&session, "synchronous_commit").await?;
    let fsync = setting(&session, "fsync").await?;
    session.commit().await?;
    if !matches!(commit.as_str(), "on" | "remote_apply") {
        return Err(OpenError::NotDurable { setting: "synchronous_commit", found: commit, expected: "on" });
    }
    if fsync != "on" && !fsync_off_allowed {
        return Err(OpenError::NotDurable { setting: "fsync", found: fsync, expected: "on" });
    }
    Ok(())
}

async fn setting(session: &Session, name: &'static str) -> Result<String, Failure> {
    let row = session::first(session.client(), "SELECT current_setting($1) AS value", &[&name]).await?;
    let row = row.ok_or_else(|| Failure::corrupt("settings", name))?;
    Ok(Columns::of("settings", &row).get("value")?)
}

/// Brings the schema forward, one transaction a step: an upgrade that is killed leaves whole steps and resumes (fault 37), and nodes
/// that start at once take turns at the version's row.
pub(super) async fn migrate(pool: &Pool, encryption: &Arc<dyn KeyEncryption>, now: Timestamp) -> Result<(), OpenError> {
    make_version(pool).await?;
    let mut sealed = Vec::new();
    loop {
        let session = Session::begin(pool, session::WRITE).await?;
        let c = session.client();
        let settings = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'";
        c.batch_execute(settings).await.map_err(Failure::Sql)?;
        let row = session::first(c, "SELECT version FROM onward_schema WHERE id = 1 FOR UPDATE", &[]).await?;
        let row = row.ok_or(OpenError::Foreign)?;
        let found: usize = Columns::of("onward_schema", &row).count("version").map_err(Failure::from)?;
        let known = MIGRATIONS.len();
        if found > known {
            return Err(OpenError::Newer { found, known });
        }
        let Some(step) = MIGRATIONS.get(found) else {
            session.rollback().await;
            break;
        };
        c.batch_execute(step).await.map_err(|error| match error.code() {
            Some(code) if *code == SqlState::DUPLICATE_TABLE => OpenError::Foreign,
            _ => Failure::Sql(error).into(),
        })?;
        session::execute(c, "UPDATE onward_schema SET version = version + 1 WHERE id = 1", &[]).await?;
        if found == SEALING {
            keys::begin(c, encryption.as_ref(), now).await?;
        }
        if found != SEALING && found != WORDS {
            session.commit().await?;
            continue;
        }
        let vault = Arc::new(keys::vault(c, Arc::clone(encryption)).await?);
        let keyed = Keyed::with(session, vault);
        if found == SEALING {
            sealed.extend(migrate::seal_everything(&keyed, now).await?.then_some(migrate::WRITTEN_ANEW));
        } else {
            let plain = migrate::seal_words(&keyed).await? | migrate::seal_orders(&keyed).await?;
            sealed.extend(plain.then_some(migrate::WORDS_WRITTEN_ANEW));
        }
        keyed.into_session().commit().await?;
    }
    for tables in sealed {
        // What was plain must not stay behind in the tables' files; it goes from the write-ahead log in the server's own time.
        let client = pool.get().await.map_err(Failure::from)?;
        client.batch_execute("SET statement_timeout = 0").await.map_err(Failure::Sql)?;
        client.batch_execute(tables).await.map_err(Failure::Sql)?;
        drop(Client::take(client));
    }
    Ok(())
}

/// Seals what nodes of the previous program have written plain since the schema was brought forward; as a rule nothing. Their old rows
/// stay in the tables' files until the server's own VACUUM.
pub(super) async fn seal_stragglers(pool: &Pool, vault: &Arc<Vault>) -> Result<(), OpenError> {
    let keyed = Keyed::begin(pool, session::WRITE, vault).await?;
    migrate::seal_words(&keyed).await?;
    Ok(keyed.into_session().commit().await?)
}

/// Whether there is a store.
pub(super) async fn is_there(pool: &Pool) -> Result<bool, OpenError> {
    let session = Session::begin(pool, session::READ).await?;
    let there = has_version(&session).await?;
    session.commit().await?;
    Ok(there)
}

async fn has_version(session: &Session) -> Result<bool, Failure> {
    const THERE: &str = "SELECT table_name FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_name = 'onward_schema'";
    Ok(session::first(session.client(), THERE, &[]).await?.is_some())
}

/// The table of the version. Two who create it at once collide in the catalogue; whoever loses finds it the next time.
async fn make_version(pool: &Pool) -> Result<(), OpenError> {
    const MAKE: &str = "CREATE TABLE IF NOT EXISTS onward_schema (id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL);
        INSERT INTO onward_schema (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING";
    for last in [false, false, true] {
        let session = Session::begin(pool, session::WRITE).await?;
        if has_version(&session).await? {
            session.rollback().await;
            return Ok(());
        }
        match session.client().batch_execute(MAKE).await {
            Ok(()) => return Ok(session.commit().await?),
            Err(error) if last || !collided(&error) => return Err(Failure::Sql(error).into()),
            Err(_) => session.rollback().await,
        }
    }
    Ok(())
}

/// In whichever of its catalogues the server noticed: a table is a type as well.
fn collided(error: &tokio_postgres::Error) -> bool {
    let states = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];
    error.code().is_some_and(|code| states.contains(code))
}
