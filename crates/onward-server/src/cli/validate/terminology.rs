//! A terminology server for what packages cannot tell, asked over HTTPS while a file is judged.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig};
use onward_connect::terminology::{Code, validate_code};
use onward_validate::terminology::{Asked, TerminologyService};
use tokio::runtime::Handle;
use url::Url;

use crate::cli::exit::Failure;

/// Failures in a row after which the server is not asked any more.
const FAILURES_MAX: u32 = 3;

/// The server, and what it has answered.
pub(super) struct Server {
    http: HttpClient,
    base: Url,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answers: HashMap<[Option<String>; 4], Option<bool>>,
    failures: u32,
    fault: Option<String>,
}

impl Server {
    /// The server at a base URL.
    ///
    /// # Errors
    /// When the URL names no host, or no root is trusted.
    pub(super) fn new(base: &Url) -> Result<Self, Failure> {
        let host = base.host_str().ok_or_else(|| Failure::usage("--terminology-server names no host"))?.to_owned();
        let config = HttpConfig {
            egress: vec![EgressHost { host, internal: true }],
            allow_plain_loopback: true,
            ..HttpConfig::default()
        };
        let http = HttpClient::new(&config).map_err(|error| Failure::fault(anyhow::Error::from(error)))?;
        Ok(Self { http, base: base.clone(), runtime: Handle::current(), state: Mutex::default() })
    }

    /// Why it was not asked for everything, if so.
    pub(super) fn fault(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fault.clone()
    }
}

impl TerminologyService for Server {
    fn is_member(&self, asked: &Asked<'_>) -> Option<bool> {
        let key = [asked.value_set, asked.system, Some(asked.code), asked.version].map(|part| part.map(str::to_owned));
        {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = state.answers.get(&key) {
                return *known;
            }
            if state.failures >= FAILURES_MAX {
                return None;
            }
        }
        let Asked { value_set, system, code, version } = *asked;
        let question = validate_code(&self.http, &self.base, Code { value_set, system, code, version });
        let answer = tokio::task::block_in_place(|| self.runtime.block_on(question));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) => {
                state.failures = 0;
                state.answers.insert(key, answer);
                answer
            }
            Err(fault) => {
                state.failures += 1;
                state.fault = Some(fault.to_string());
                None
            }
        }
    }
}
