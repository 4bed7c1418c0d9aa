//! The neighbourhood of `config/examples`, for a machine that has no gateway yet.

use anyhow::Context as _;
use tempfile::TempDir;

use crate::app::{self, App, Tenure};
use crate::cli::exit::Failure;
use crate::cli::open::{self, Desk};
use crate::config::{Config, Keys, PdsMode, StoreUrl};
use crate::directory_import::{self, Format};
use crate::store_keys;
use onward_core::audit::AuditWord;

const DIRECTORY: &str = include_str!("../../../../../config/examples/directory.toml");
const PEOPLE: &str = include_str!("../../../../../config/examples/pds-stand-in.toml");
/// The hospital of the neighbourhood runs the gateway.
const OWN_ODS: &str = "R9Z";
const OWN_NAME: &str = "Northmoor Teaching Hospitals NHS Trust";

/// A temporary store; gone with this value.
pub(super) struct StandIn {
    _folder: TempDir,
}

impl StandIn {
    /// A gateway over a temporary store with the example directory and people.
    pub(super) async fn build(mut config: Config) -> Result<(App, Self), Failure> {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        let people = folder.path().join("people.toml");
        std::fs::write(&people, PEOPLE).context("writing the people of the stand-in")?;
        config.store.url = StoreUrl::Sqlite(folder.path().join("onward.db"));
        config.keys = Keys { file: folder.path().join("store.key"), command: Vec::new(), environment: None };
        store_keys::add_key(&config.keys.file, open::now())?;
        config.pds.mode = PdsMode::StandIn;
        config.pds.stand_in_file = Some(people);
        config.mesh.enabled = false;
        if config.identity.ods.is_none() {
            config.identity.ods = Some(OWN_ODS.parse().expect("an ODS code"));
            config.identity.name = OWN_NAME.to_owned();
        }
        let store = app::open_store(&config, Tenure::Command).await?;
        let import = directory_import::read(DIRECTORY, Format::Toml, &Default::default(), open::now())
            .context("config/examples/directory.toml")?;
        let desk = Desk::new(&config)?;
        let row = desk.row(AuditWord::Configure, "example directory");
        store.import_directory(import.entries, "config/examples/directory.toml", open::now(), vec![row].into()).await?;
        let app = open::build(&config, store)?;
        Ok((app, Self { _folder: folder }))
    }
}
