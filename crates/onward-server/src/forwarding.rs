//! The audit log by syslog to a receiver of the operator's choice (RFC 5424 over TLS): every entry once or more, in order, from
//! where the store says that it got to. Nothing waits for the receiver.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use onward_connect::http::HttpConfig;
use onward_connect::syslog::{SyslogClient, SyslogConnection, SyslogFault};
use onward_core::audit::AuditWord;
use onward_core::store::{Store, StoreError, StoredAudit};
use onward_core::{Clock, Timestamp};
use onward_gateway::Gateway;
use serde_json::Value;
use tokio::sync::watch;

use crate::app::client_certificate;
use crate::config::{Config, SyslogContent};

/// Entries sent at once.
const BATCH: u32 = 500;
/// How long an idle forwarder waits before it looks again.
const IDLE: Duration = Duration::from_secs(1);
/// How long a forwarder that cannot send waits.
const PAUSE: Duration = Duration::from_secs(5);
/// One process at a time forwards; another takes over after this.
const HELD: SignedDuration = SignedDuration::from_secs(30);
/// RFC 5424: facility 13, log audit.
const FACILITY: u8 = 13;
/// The number that RFC 5612 keeps for examples: Onward has none of its own.
const ENTERPRISE: u32 = 32_473;

/// The forwarder.
pub struct Forwarding {
    client: SyslogClient,
    content: SyslogContent,
    /// Its name in the store: another address begins anew.
    sink: String,
    host: String,
    holder: u64,
    fault: Mutex<Option<String>>,
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum NotForwarded {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Syslog(#[from] SyslogFault),
}

impl Forwarding {
    /// As configured; none where nothing is. `http` has the rules, timeouts and roots that hold for every connection of ours.
    ///
    /// # Errors
    /// When a certificate or key cannot be used.
    pub fn new(config: &Config, http: HttpConfig) -> anyhow::Result<Option<Self>> {
        let audit = &config.audit;
        let Some(address) = &audit.syslog_address else { return Ok(None) };
        let client_certificate =
            client_certificate(audit.syslog_certificate_file.as_deref(), audit.syslog_key_file.as_deref())?;
        let client = SyslogClient::new(&address.host, address.port, &HttpConfig { client_certificate, ..http })?;
        let mut holder = [0; 8];
        getrandom::fill(&mut holder).map_err(|_| anyhow::anyhow!("no randomness"))?;
        Ok(Some(Self {
            client,
            content: audit.syslog_content,
            sink: format!("syslog:{}:{}", address.host, address.port),
            host: config.server.public_url.url().host_str().unwrap_or("-").to_owned(),
            holder: u64::from_ne_bytes(holder),
            fault: Mutex::new(None),
        }))
    }

    /// Entries that the receiver has not taken yet, and whether it takes none at present.
    ///
    /// # Errors
    /// When the store cannot be read.
    ///
    /// # Panics
    /// Never: nobody panics while holding the lock.
    pub async fn standing(&self, store: &dyn Store) -> Result<(u64, bool), StoreError> {
        let taken =
            store.forwarding().await?.into_iter().find(|(sink, _)| *sink == self.sink).map_or(0, |(_, next)| next);
        let behind = store.audit_size().await?.saturating_sub(taken);
        Ok((behind, self.fault.lock().expect("nobody panics while holding it").is_some()))
    }

    /// Forwards until `stop` turns true.
    pub async fn until(self: Arc<Self>, gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
        let mut connection = None;
        loop {
            if *stop.borrow() {
                // Whoever comes next need not wait until our time is over.
                let now = gateway.clock().now();
                let _ = gateway.store().take_forwarding(&self.sink, self.holder, now, now, 0).await;
                return;
            }
            let wait = match self.round(gateway.store().as_ref(), gateway.clock().as_ref(), &mut connection).await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => {
                    connection = None;
                    let told = error.to_string();
                    let mut fault = self.fault.lock().expect("nobody panics while holding it");
                    if fault.as_ref() != Some(&told) {
                        tracing::error!(fault = told, "audit entries are not forwarded; they wait in the store");
                    }
                    *fault = Some(told);
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Sends what comes next; false when there is nothing, or another process forwards.
    async fn round(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        connection: &mut Option<SyslogConnection>,
    ) -> Result<bool, NotForwarded> {
        let now = clock.now();
        let Some(next) = store.take_forwarding(&self.sink, self.holder, now, now + HELD, 0).await? else {
            return Ok(false);
        };
        let entries = store.audit_entries(next, BATCH).await?;
        let Some(last) = entries.last() else { return Ok(false) };
        let messages: Vec<String> = entries.iter().map(|entry| message(entry, &self.host, self.content)).collect();
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.client.connect().await?),
        };
        open.send(&messages).await?;
        store.forwarded(&self.sink, self.holder, last.index + 1).await?;
        if self.fault.lock().expect("nobody panics while holding it").take().is_some() {
            tracing::info!("audit entries are forwarded again");
        }
        Ok(true)
    }
}

/// One entry as an RFC 5424 message.
fn message(entry: &StoredAudit, host: &str, content: SyslogContent) -> String {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let columns = &entry.columns;
    let outcome = match (entry.event(), entry.entry.as_deref()) {
        (Some(event), _) => read(event)["outcome"].as_str().unwrap_or("-").to_owned(),
        // Of a person who was erased: the header stays.
        (None, Some(header)) => if read(header)["success"] == true { "0" } else { "8" }.to_owned(),
        (None, None) => "-".to_owned(),
    };
    // Alert, warning, notice.
    let severity = match (columns.word.as_str(), outcome.as_str()) {
        // What an alarm told, and is over, is a notice.
        (_, "0") => 5,
        (word, _) if word == AuditWord::Alarm.as_str() => 1,
        _ => 4,
    };
    let facts = [
        ("entry", Some(entry.index.to_string())),
        ("event", Some(columns.id.clone())),
        ("what", Some(columns.word.clone())),
        ("outcome", Some(outcome.clone())),
        ("agent", columns.agent.clone()),
        ("organisation", columns.organisation.clone()),
        ("transfer", columns.transfer.clone()),
        ("delivery", columns.delivery.clone()),
    ];
    let facts: String =
        facts.into_iter().filter_map(|(name, value)| Some(format!(" {name}=\"{}\"", escaped(&value?)))).collect();
    let body = match (content, entry.event()) {
        // RFC 5424 section 6.4: UTF-8 is announced.
        (SyslogContent::Event, Some(event)) => format!(" \u{feff}{}", String::from_utf8_lossy(event)),
        (SyslogContent::Minimal, _) | (_, None) => String::new(),
    };
    let at = moment(columns.recorded);
    format!("<{}>1 {at} {host} onward - {} [onward@{ENTERPRISE}{facts}]{body}", FACILITY * 8 + severity, columns.word)
}

/// RFC 5424 section 6.2.3: no more than microseconds.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// RFC 5424 section 6.3.3; control characters are nobody's name.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '"' | '\\' | ']' => text.extend(['\\', letter]),
            letter if letter.is_control() => text.push(' '),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use onward_core::store::{AuditColumns, AuditContent};

    use super::*;

    fn entry(word: AuditWord, outcome: &str) -> StoredAudit {
        let event = format!("{{\"outcome\":\"{outcome}\",\"entity\":[{{\"what\":\"9990000018\"}}]}}").into_bytes();
        StoredAudit {
            index: 7,
            leaf: [0; 32],
            entry: Some(b"{\"success\":false}".to_vec()),
            content: AuditContent::Open { event, opening: None },
            columns: AuditColumns {
                id: "an-id".to_owned(),
                recorded: Timestamp::from_second(1_795_000_000).expect("in range"),
                word: word.as_str().to_owned(),
                transfer: None,
                delivery: None,
                agent: Some("Ada \"the\" \\ E]xample\n".to_owned()),
                organisation: Some("VMH01".to_owned()),
                patient: Some("9990000018".to_owned()),
                shown: None,
            },
        }
    }

    #[test]
    fn an_entry_is_a_message_that_names_no_patient() {
        let told = message(&entry(AuditWord::Read, "0"), "gateway.example", SyslogContent::Minimal);
        assert_eq!(
            told,
            "<109>1 2026-11-18T11:06:40.000000Z gateway.example onward - read [onward@32473 entry=\"7\" event=\"an-id\" \
             what=\"read\" outcome=\"0\" agent=\"Ada \\\"the\\\" \\\\ E\\]xample \" organisation=\"VMH01\"]"
        );
        assert!(message(&entry(AuditWord::Deny, "8"), "h", SyslogContent::Minimal).starts_with("<108>1 "));
        assert!(message(&entry(AuditWord::Alarm, "8"), "h", SyslogContent::Minimal).starts_with("<105>1 "));
        assert!(message(&entry(AuditWord::Alarm, "0"), "h", SyslogContent::Minimal).starts_with("<109>1 "), "over");
        let erased = StoredAudit { content: AuditContent::Erased, ..entry(AuditWord::Read, "0") };
        let told = message(&erased, "h", SyslogContent::Event);
        assert!(told.starts_with("<108>1 ") && told.ends_with(']'), "{told}");
        let whole = message(&entry(AuditWord::Read, "0"), "h", SyslogContent::Event);
        assert!(whole.ends_with("}]}") && whole.contains("] \u{feff}{\"outcome\"") && whole.contains("9990000018"));
    }
}
