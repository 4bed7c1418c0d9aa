//! Places of the operator's choice that checkpoints go to: a folder, an address.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::SignedDuration;
use onward_connect::http::HttpClient;
use onward_connect::witness::ship_checkpoint;
use onward_core::Timestamp;
use onward_gateway::Gateway;
use url::Url;

use super::newest_note;
use crate::config::Config;

/// The places.
pub(super) struct Places {
    http: HttpClient,
    folder: Option<PathBuf>,
    url: Option<Url>,
    every: SignedDuration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tried: Option<Timestamp>,
    in_folder: u64,
    at_url: u64,
    told: String,
}

impl Places {
    pub(super) fn new(config: &Config, http: HttpClient) -> Self {
        let audit = &config.audit;
        Self {
            http,
            folder: audit.checkpoint_folder.clone(),
            url: audit.checkpoint_url.clone(),
            every: SignedDuration::from_secs(i64::from(audit.ship_seconds)),
            state: Mutex::new(State::default()),
        }
    }

    /// Entries of the newest checkpoint taken by each place that is configured.
    pub(super) fn shipped(&self) -> Vec<(&'static str, u64)> {
        let state = self.state.lock().expect("nobody panics while holding it");
        let folder = self.folder.as_ref().map(|_| ("folder", state.in_folder));
        let url = self.url.as_ref().map(|_| ("url", state.at_url));
        folder.into_iter().chain(url).collect()
    }

    /// Ships the newest checkpoint where it is time, or this is the last chance.
    pub(super) async fn round(&self, gateway: &Gateway, last: bool) {
        if self.folder.is_none() && self.url.is_none() {
            return;
        }
        let now = gateway.clock().now();
        {
            let mut state = self.state.lock().expect("nobody panics while holding it");
            if !last && state.tried.is_some_and(|tried| now.duration_since(tried) < self.every) {
                return;
            }
            state.tried = Some(now);
        }
        match newest_note(gateway.store().as_ref()).await {
            Ok(Some((size, note))) => self.ship(size, &note).await,
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no checkpoint can be read"),
        }
    }

    async fn ship(&self, size: u64, note: &str) {
        let (in_folder, at_url) = {
            let state = self.state.lock().expect("nobody panics while holding it");
            (state.in_folder, state.at_url)
        };
        let mut faults = Vec::new();
        if let Some(folder) = self.folder.as_deref().filter(|_| in_folder < size) {
            match keep(folder, size, note) {
                Ok(()) => self.state.lock().expect("nobody panics while holding it").in_folder = size,
                Err(error) => faults.push(format!("{}: {error}", folder.display())),
            }
        }
        if let Some(url) = self.url.as_ref().filter(|_| at_url < size) {
            match ship_checkpoint(&self.http, url, note.to_owned()).await {
                Ok(true) => self.state.lock().expect("nobody panics while holding it").at_url = size,
                Ok(false) => faults.push("the address does not take it".to_owned()),
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        let told = faults.join("; ");
        let mut state = self.state.lock().expect("nobody panics while holding it");
        if !told.is_empty() && told != state.told {
            tracing::error!(fault = told, "a checkpoint did not reach the place where it should be kept");
        }
        state.told = told;
    }
}

/// Writes the file whole or not at all; one that is there stays as it is.
fn keep(folder: &Path, size: u64, note: &str) -> std::io::Result<()> {
    let path = folder.join(format!("checkpoint-{size:012}.txt"));
    if path.exists() {
        return Ok(());
    }
    let part = folder.join(format!("checkpoint-{size:012}.part"));
    let mut file = std::fs::File::create(&part)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, &path)?;
    std::fs::File::open(folder)?.sync_all()
}
