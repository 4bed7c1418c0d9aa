//! What commands open: the configuration, the store beside a running server, the gateway, the journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord};
use onward_core::store::Store;
use onward_core::{Clock, DeliveryId, NhsNumber, OdsCode, SystemClock, Timestamp, TransferId};
use onward_gateway::journal::Journal;
use onward_gateway::shown::Shown;
use onward_store::postgres::OpenError;

use super::account::Account;
use super::exit::Failure;
use crate::app::{self, App, Tenure};
use crate::config::{Config, Loaded, StoreUrl};

/// The file that is looked for where none is named.
const DEFAULT_FILE: &str = "gateway.toml";

/// `--config`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigArgs {
    /// The gateway's configuration [default: ./gateway.toml if there is one, else the compiled-in defaults]
    #[arg(long, value_name = "FILE", env = "ONWARD_CONFIG")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file in force, if any.
    #[must_use]
    pub(super) fn file(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        self.config.clone().or_else(default)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Wrong configuration, every problem listed.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        Ok(Config::load(self.file().as_deref())?)
    }

    /// The store of a gateway that has run before. Looking never makes a store.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub(super) async fn existing_store(&self) -> Result<(Config, Arc<dyn Store>), Failure> {
        let config = self.load()?.config;
        if let Some(path) = missing_store(&config) {
            return Err(Failure::usage(format!(
                "there is no store at {}: name the gateway's configuration with --config, or make one with `onward migrate`",
                path.display()
            )));
        }
        let store = open_store(&config, Tenure::CommandOnExisting).await?;
        Ok((config, store))
    }

    /// The store, made where there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) async fn store(&self) -> Result<(Config, Arc<dyn Store>), Failure> {
        let config = self.load()?.config;
        let store = open_store(&config, Tenure::Command).await?;
        Ok((config, store))
    }

    /// Everything wired over an existing store, without background work.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub(super) async fn app(&self) -> Result<App, Failure> {
        let (config, store) = self.existing_store().await?;
        build(&config, store)
    }
}

/// Everything wired over a store.
///
/// # Errors
/// Wrong configuration.
pub(super) fn build(config: &Config, store: Arc<dyn Store>) -> Result<App, Failure> {
    app::build(config, store).map_err(Failure::configuration)
}

/// The path of an embedded store that is not there yet.
#[must_use]
pub(super) fn missing_store(config: &Config) -> Option<&Path> {
    match &config.store.url {
        StoreUrl::Sqlite(path) if !path.exists() => Some(path),
        _ => None,
    }
}

/// The store of a gateway that has run before; none where there is none.
///
/// # Errors
/// When it is there and cannot be opened.
pub(super) async fn store_if_any(config: &Config) -> Result<Option<Arc<dyn Store>>, Failure> {
    if missing_store(config).is_some() {
        return Ok(None);
    }
    match app::open_store(config, Tenure::CommandOnExisting).await {
        Err(error) if matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Absent)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

async fn open_store(config: &Config, tenure: Tenure) -> Result<Arc<dyn Store>, Failure> {
    app::open_store(config, tenure).await.map_err(|error| match error.downcast_ref::<OpenError>() {
        Some(OpenError::Address(_) | OpenError::Tls(_) | OpenError::Absent) => Failure::configuration(error),
        _ => error.into(),
    })
}

/// Writes what an operator did as audit rows.
#[derive(Clone)]
pub(super) struct Desk {
    journal: Journal,
    own_ods: OdsCode,
}

impl Desk {
    /// The desk of this gateway. It needs the configured organisation, but no partner, key or listener: clients and
    /// directory can be prepared before those exist.
    ///
    /// # Errors
    /// When the configuration names no organisation.
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let own_ods = config.own_ods()?.clone();
        Ok(Self { journal: Journal::new(&own_ods, &config.server.public_url.at("")), own_ods })
    }

    /// Who acts on the command line.
    #[must_use]
    pub(super) fn operator(&self) -> Agent {
        operator(&self.own_ods)
    }

    /// The row of something that the operator did to the gateway itself.
    #[must_use]
    pub(super) fn row(&self, word: AuditWord, detail: impl Into<String>) -> AuditRow {
        self.row_about(word, detail, None)
    }

    /// The row of something that the operator did, about a person.
    #[must_use]
    pub(super) fn row_about(&self, word: AuditWord, detail: impl Into<String>, patient: Option<NhsNumber>) -> AuditRow {
        self.row_of(&AuditEntry { patient, ..self.entry(word, detail) })
    }

    /// An entry of something that the operator did, to be filled in.
    #[must_use]
    pub(super) fn entry(&self, word: AuditWord, detail: impl Into<String>) -> AuditEntry {
        AuditEntry::new(word, now(), self.operator(), detail)
    }

    /// The rows of a list that the operator looks at, which keep what it shows.
    #[must_use]
    pub(super) fn rows_listed(&self, asked: &str, shown: &Shown) -> Vec<AuditRow> {
        let entry = |query| AuditEntry { query: Some(query), ..self.entry(AuditWord::Query, asked) };
        shown.queries(asked).into_iter().map(|query| self.row_of(&entry(query))).collect()
    }

    /// The row of a look at one transfer, or at one copy of it.
    #[must_use]
    pub(super) fn row_seen(
        &self,
        what: &str,
        transfer: TransferId,
        delivery: Option<DeliveryId>,
        patient: Option<NhsNumber>,
    ) -> AuditRow {
        self.row_of(&AuditEntry {
            transfer: Some(transfer),
            delivery,
            patient,
            ..self.entry(AuditWord::ReadTask, what)
        })
    }

    /// Its row.
    #[must_use]
    pub(super) fn row_of(&self, entry: &AuditEntry) -> AuditRow {
        self.journal.row(entry)
    }
}

/// The command line as audit names it, with the account that it runs under.
#[must_use]
pub(super) fn operator(own_ods: &OdsCode) -> Agent {
    Agent::operator(own_ods, Account::own().map(ToString::to_string))
}

/// The present moment.
#[must_use]
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// So much of a person's keyed hash as tells people apart.
#[must_use]
pub(super) fn short(pseudonym: &str) -> String {
    pseudonym.chars().take(12).collect()
}

/// A moment as tables show it: UTC, to the minute.
#[must_use]
pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}
