//! Opening a database: what it must promise, and the migrations. Any number of nodes may open one at the same time.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use jiff::Timestamp;
use onward_core::audit::AuditRow;
use onward_core::store::{Finish, Schema};
use tokio_postgres::error::SqlState;

use super::failure::{Failure, told};
use super::keyed::Keyed;
use super::session::{self, Session};
use super::work::Work;
use super::writers::before_another;
use super::{keys, migrate};
use crate::columns::Columns;
use crate::schema::{self, Migration};
use crate::sealing::{KeyEncryption, KeyFault, Vault};

/// The schema, one step a file; the first brings version 0 to version 1. Each has the oldest program that can serve on what it leaves: up
/// to the step that records this its own, as earlier programs do not look.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration::new(include_str!("../../schema/postgres/0001_initial.sql"), 1),
    Migration::new(include_str!("../../schema/postgres/0002_people.sql"), 2),
    Migration::new(include_str!("../../schema/postgres/0003_steps.sql"), 3),
    Migration::new(include_str!("../../schema/postgres/0004_lifecycle.sql"), 4),
    Migration::new(include_str!("../../schema/postgres/0005_evidence.sql"), 5),
    Migration::new(include_str!("../../schema/postgres/0006_operations.sql"), 6),
    Migration::new(include_str!("../../schema/postgres/0007_sealing.sql"), 7),
    Migration::new(include_str!("../../schema/postgres/0008_retention.sql"), 8),
    Migration::new(include_str!("../../schema/postgres/0009_alerts.sql"), 9),
    Migration::new(include_str!("../../schema/postgres/0010_subscriptions.sql"), 10),
    Migration::new(include_str!("../../schema/postgres/0011_words.sql"), 11),
    Migration::new(include_str!("../../schema/postgres/0012_shown.sql"), 12),
    Migration::new(include_str!("../../schema/postgres/0013_accounts.sql"), 13),
    Migration::new(include_str!("../../schema/postgres/0014_lines.sql"), 14),
    Migration::new(include_str!("../../schema/postgres/0015_subscription_alerts.sql"), 15),
    Migration::new(include_str!("../../schema/postgres/0016_contents.sql"), 16),
    Migration::new(include_str!("../../schema/postgres/0017_token_keys.sql"), 17),
    Migration::new(include_str!("../../schema/postgres/0018_resending.sql"), 18),
    Migration::new(include_str!("../../schema/postgres/0019_in_force.sql"), 19),
    Migration::new(include_str!("../../schema/postgres/0020_rare_words.sql"), 20),
    Migration::new(include_str!("../../schema/postgres/0021_far_ahead.sql"), 21),
    Migration::new(include_str!("../../schema/postgres/0022_looks.sql"), 22),
    Migration::new(include_str!("../../schema/postgres/0023_programs.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0024_waiting.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0025_unused.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0026_work.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0027_retraced.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0028_retraceable.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0029_parts.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0030_parted.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0031_closed.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0032_standing.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0033_addresses.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0034_placing.sql"), 23),
    Migration::new(include_str!("../../schema/postgres/0035_readdressed.sql"), 23),
];
/// The version from which on programs can put copies together from parts: none is written while an older one may serve.
pub(super) const PARTS_SINCE: usize = 30;
/// The version from which on programs let copies be that a person has closed: none is closed while an older one may serve, which would raise
/// the alerts about it anew at every look. Finishing an upgrade asks for this one.
pub(super) const CLOSED_SINCE: usize = 31;
/// The table of the version.
const VERSION: &str = "onward_schema";
/// The step whose statements the program follows by sealing what is there.
const SEALING: usize = 6;
/// The step that the program follows by sealing what people wrote.
const WORDS: usize = 10;
/// The step from which on the oldest program is recorded.
pub(super) const RECORDED: usize = 22;

/// How a schema is brought forward beside nodes that serve.
#[derive(Clone, Copy)]
pub(super) struct Upgrade<'a> {
    /// Its steps.
    pub(super) steps: &'a [Migration],
    /// How long a step waits for each lock, in PostgreSQL's words. Meanwhile whoever wants the same table waits behind it.
    pub(super) lock_timeout: &'static str,
    /// How often a step is tried in all, where what others do is in its way.
    pub(super) tries: u32,
    /// How long the others are left alone in between.
    pub(super) pause: Duration,
}

/// A step gives up a lock before the statements of the nodes behind it do, which wait for five seconds.
pub(super) const UPGRADE: Upgrade<'static> =
    Upgrade { steps: MIGRATIONS, lock_timeout: "3s", tries: 12, pause: Duration::from_secs(5) };

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
    /// A newer Onward wrote it, and this one cannot serve on it.
    #[error(
        "the database has schema version {found}, on which a program can serve that knows version {oldest} at least; this one knows \
         versions up to {known}: use the newer program, or go back with the backup of before the upgrade"
    )]
    Newer {
        /// The database's version.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
        /// That which the oldest program knows that can serve on it.
        oldest: usize,
    },
    /// What others do was in the way of a step of the schema each time that it was tried (fault 17).
    #[error(
        "the schema was not brought forward: other transactions were in the way each of {tries} times ({why}). Nothing of the step is done, \
         and what serves goes on; run `onward migrate` again at a quiet hour, when no backup, report or `onward fsck` reads the database \
         (pg_stat_activity tells what does)"
    )]
    Hindered {
        /// How often it was tried.
        tries: u32,
        /// What PostgreSQL said the last time.
        why: String,
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

/// What came of trying to take a step.
enum Tried {
    /// It is taken. What is to be run because it sealed what was plain.
    Taken(Option<&'static str>),
    /// There is none to be taken.
    UpToDate(Schema),
    /// The database is not one to take steps in.
    Refused(OpenError),
}

/// Brings the schema forward, one transaction a step: an upgrade that is killed leaves whole steps and resumes (fault 37), and nodes
/// that start at once take turns at the version's row. A step that nodes that serve are in the way of is tried again (fault 17).
pub(super) async fn migrate(
    pool: &Pool,
    upgrade: Upgrade<'_>,
    encryption: &Arc<dyn KeyEncryption>,
    now: Timestamp,
) -> Result<(), OpenError> {
    make_version(pool).await?;
    let (mut sealed, mut tries) = (Vec::new(), 1);
    loop {
        match step(pool, upgrade, encryption, now).await {
            Ok(Tried::Taken(anew)) => {
                sealed.extend(anew);
                tries = 1;
            }
            Ok(Tried::UpToDate(schema)) => {
                schema::tell_newer(&schema);
                break;
            }
            Ok(Tried::Refused(error)) => return Err(error),
            Err(Failure::Sql(error)) if Failure::passes(&error) => {
                let why = told(&error);
                if tries == upgrade.tries {
                    return Err(OpenError::Hindered { tries, why });
                }
                tracing::warn!(
                    error = why,
                    tries,
                    "a step of the schema is tried again: other transactions are in its way"
                );
                tokio::time::sleep(upgrade.pause).await;
                tries += 1;
            }
            Err(failure) => return Err(failure.into()),
        }
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

async fn step(
    pool: &Pool,
    upgrade: Upgrade<'_>,
    encryption: &Arc<dyn KeyEncryption>,
    now: Timestamp,
) -> Result<Tried, Failure> {
    let session = Session::begin(pool, session::WRITE).await?;
    let c = session.client();
    // Another node may be at a long step.
    c.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'").await?;
    let row = session::first(c, "SELECT version FROM onward_schema WHERE id = 1 FOR UPDATE", &[]).await?;
    let Some(row) = row else { return Ok(Tried::Refused(OpenError::Foreign)) };
    let found: usize = Columns::of("onward_schema", &row).count("version")?;
    let Some(step) = upgrade.steps.get(found) else {
        let schema = schema(c, upgrade.steps.len()).await?;
        session.rollback().await;
        let oldest = schema.oldest_program.unwrap_or(found);
        let refused = OpenError::Newer { found, known: schema.known, oldest };
        return Ok(if schema.lets_serve() { Tried::UpToDate(schema) } else { Tried::Refused(refused) });
    };
    session::execute(c, "SELECT set_config('lock_timeout', $1, true)", &[&upgrade.lock_timeout]).await?;
    if let Err(error) = c.batch_execute(step.sql).await {
        return match error.code() {
            Some(code) if *code == SqlState::DUPLICATE_TABLE => Ok(Tried::Refused(OpenError::Foreign)),
            _ => Err(error.into()),
        };
    }
    if found >= RECORDED {
        let oldest = stored_version(step.oldest_program);
        let record = "INSERT INTO onward_programs AS p (id, oldest) VALUES (1, $1)
             ON CONFLICT (id) DO UPDATE SET oldest = greatest(p.oldest, excluded.oldest)";
        session::execute(c, record, &[&oldest]).await?;
    }
    session::execute(c, "UPDATE onward_schema SET version = version + 1 WHERE id = 1", &[]).await?;
    if found == SEALING {
        keys::begin(c, encryption.as_ref(), now).await?;
    }
    if found != SEALING && found != WORDS {
        session.commit().await?;
        return Ok(Tried::Taken(None));
    }
    let vault = Arc::new(keys::vault(c, Arc::clone(encryption)).await?);
    let keyed = Keyed::with(session, vault);
    let anew = if found == SEALING {
        migrate::seal_everything(&keyed, now).await?.then_some(migrate::WRITTEN_ANEW)
    } else {
        (migrate::seal_words(&keyed).await? | migrate::seal_orders(&keyed).await?)
            .then_some(migrate::WORDS_WRITTEN_ANEW)
    };
    keyed.into_session().commit().await?;
    Ok(Tried::Taken(anew))
}

/// The schema that there is, for a program that knows so many versions.
pub(super) async fn schema(c: &Client, known: usize) -> Result<Schema, Failure> {
    let row = session::first(c, "SELECT version FROM onward_schema WHERE id = 1", &[]).await?;
    let row = row.ok_or_else(|| Failure::corrupt("onward_schema", "id"))?;
    let stored = Columns::of("onward_schema", &row).count("version")?;
    let mut oldest_program = None;
    if has_table(c, "onward_programs").await?
        && let Some(row) = session::first(c, "SELECT oldest FROM onward_programs WHERE id = 1", &[]).await?
    {
        oldest_program = Some(Columns::of("onward_programs", &row).count("oldest")?);
    }
    Ok(Schema { stored, known, oldest_program, waits_for: CLOSED_SINCE })
}

/// Shuts out the programs that cannot read what waits for that.
pub(super) async fn finish<'j>(work: &mut Work<'j>, audit: &'j [AuditRow]) -> Result<Finish, Failure> {
    let schema = schema(work.client(), MIGRATIONS.len()).await?;
    if schema.is_newer() {
        return Ok(Finish::Newer);
    }
    // By the name that they give themselves, where nobody gave them another.
    let earlier = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND (application_name = 'onward'
             OR CASE WHEN application_name ~ '^onward/[0-9]{1,9}$' THEN CAST(substr(application_name, 8) AS BIGINT) < $1 END) LIMIT 1";
    let knows = stored_version(CLOSED_SINCE);
    if !schema.is_finished() && session::first(work.client(), earlier, &[&knows]).await?.is_some() {
        return Ok(Finish::Served);
    }
    if !shut_out(work.client(), CLOSED_SINCE).await? {
        return Ok(Finish::Already);
    }
    work.audit(audit);
    Ok(Finish::Done)
}

/// Shuts out the programs that do not know this version; `false` where they are. Whoever writes parts does so, too, by [`PARTS_SINCE`]: a node
/// may remember what a failover has lost.
pub(super) async fn shut_out(c: &Client, since: usize) -> Result<bool, Failure> {
    let sql = "UPDATE onward_programs SET oldest = $1 WHERE id = 1 AND oldest < $1";
    Ok(session::execute(c, sql, &[&stored_version(since)]).await? == 1)
}

/// Whether no program may serve that could not put copies together.
pub(super) async fn may_part(c: &Client) -> Result<bool, Failure> {
    let sql = "SELECT oldest FROM onward_programs WHERE id = 1 AND oldest >= $1";
    Ok(session::first(c, sql, &[&stored_version(PARTS_SINCE)]).await?.is_some())
}

fn stored_version(version: usize) -> i64 {
    i64::try_from(version).expect("few steps")
}

/// Seals what nodes of the previous program have written plain since the schema was brought forward; as a rule nothing. Their old rows
/// stay in the tables' files until the server's own VACUUM.
pub(super) async fn seal_stragglers(pool: &Pool, vault: &Arc<Vault>) -> Result<(), OpenError> {
    let mut tries = 1;
    while let Err(failure) = seal_once(pool, vault).await {
        // Beside nodes that serve; what is sealed already is passed over.
        before_another(failure, tries).await?;
        tries += 1;
    }
    Ok(())
}

async fn seal_once(pool: &Pool, vault: &Arc<Vault>) -> Result<(), Failure> {
    let keyed = Keyed::begin(pool, session::WRITE, vault).await?;
    migrate::seal_words(&keyed).await?;
    keyed.into_session().commit().await
}

/// Whether there is a store.
pub(super) async fn is_there(pool: &Pool) -> Result<bool, OpenError> {
    let session = Session::begin(pool, session::READ).await?;
    let there = has_table(session.client(), VERSION).await?;
    session.commit().await?;
    Ok(there)
}

pub(super) async fn has_table(c: &Client, name: &str) -> Result<bool, Failure> {
    const THERE: &str = "SELECT table_name FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_name = $1::text";
    Ok(session::first(c, THERE, &[&name]).await?.is_some())
}

/// The table of the version. Two who create it at once collide in the catalogue; whoever loses finds it the next time.
async fn make_version(pool: &Pool) -> Result<(), OpenError> {
    const MAKE: &str = "CREATE TABLE IF NOT EXISTS onward_schema (id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL);
        INSERT INTO onward_schema (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING";
    for last in [false, false, true] {
        let session = Session::begin(pool, session::WRITE).await?;
        if has_table(session.client(), VERSION).await? {
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
