//! Audit entries become FHIR AuditEvents (IHE BALP) with their leaf hash, and the log gets its checkpoints.

use std::sync::Arc;
use std::time::Duration;

use onward_core::OdsCode;
use onward_core::audit::{AuditEntry, AuditRow, AuditWord, StoredCheckpoint};
use onward_core::store::StoreError;
use onward_fhir::authored::{AgentPart, AuditAgent, AuditContent, AuditData, AuditOutcome, AuditPattern, audit_event};
use onward_ledger::{Checkpoint, SigningKey, Tree, leaf_hash};
use tokio::sync::watch;

use crate::Gateway;

/// Entries read at once when a checkpoint is made.
const PAGE: u32 = 1_000;

/// Writes audit entries as rows.
#[derive(Debug, Clone)]
pub struct Journal {
    own_ods: String,
    observer: String,
}

impl Journal {
    /// The journal of the gateway of this organisation, which observes as `base_url`.
    #[must_use]
    pub fn new(own_ods: &OdsCode, base_url: &str) -> Self {
        Self { own_ods: own_ods.to_string(), observer: base_url.to_owned() }
    }

    /// The row of an entry: its AuditEvent, hashed as it will be stored.
    #[must_use]
    pub fn row(&self, entry: &AuditEntry) -> AuditRow {
        let id = uuid::Uuid::new_v4().to_string();
        let event = audit_event(&self.content(entry, &id))
            .expect("every time in it is a Timestamp and every code is one of ours")
            .into_bytes();
        let leaf = leaf_hash(&event);
        AuditRow {
            id,
            recorded: entry.recorded,
            word: entry.word,
            transfer: entry.transfer,
            delivery: entry.delivery,
            organisation: entry.agent.organisation.clone(),
            patient: entry.patient.clone(),
            event,
            leaf,
        }
    }

    fn content(&self, entry: &AuditEntry, id: &str) -> AuditContent {
        let mut agents = vec![AuditAgent {
            part: AgentPart::Client,
            name: entry.agent.name.clone(),
            organisation: entry.agent.organisation.as_ref().map(ToString::to_string),
            requestor: true,
            policy: Vec::new(),
        }];
        let server = entry.recipient.as_ref().filter(|_| entry.word == AuditWord::Disclose);
        agents.push(AuditAgent {
            part: AgentPart::Server,
            name: server.map_or_else(|| self.observer.clone(), ToString::to_string),
            organisation: Some(server.map_or_else(|| self.own_ods.clone(), ToString::to_string)),
            requestor: false,
            policy: Vec::new(),
        });
        let mut data = Vec::new();
        if let Some(delivery) = entry.delivery {
            let hash = entry.content_sha256.iter().map(|hash| ("sha256".to_owned(), hash.clone()));
            data.push(AuditData { reference: format!("Bundle/{delivery}"), details: hash.collect() });
        }
        if let Some(transfer) = entry.transfer {
            let own_hash = entry.content_sha256.iter().filter(|_| entry.delivery.is_none());
            let details = own_hash.map(|hash| ("sha256".to_owned(), hash.clone())).collect();
            data.push(AuditData { reference: format!("Task/{transfer}"), details });
        }
        if let (true, Some(hash)) = (data.is_empty(), &entry.content_sha256) {
            // Bytes that became nothing of ours: a refused or explained message.
            let details = vec![("sha256".to_owned(), hash.clone())];
            data.push(AuditData { reference: format!("urn:sha256:{hash}"), details });
        }
        AuditContent {
            id: id.to_owned(),
            pattern: pattern(entry.word),
            recorded: entry.recorded.to_string(),
            period: None,
            outcome: match (entry.success, entry.word) {
                (true, _) => AuditOutcome::Success,
                (false, AuditWord::AttemptFailed) => AuditOutcome::MinorFailure,
                (false, _) => AuditOutcome::SeriousFailure,
            },
            outcome_description: Some(format!("{}: {}", entry.word, entry.detail)),
            agents,
            observer: self.observer.clone(),
            observer_ods: Some(self.own_ods.clone()),
            nhs_number: entry.patient.as_ref().map(|number| number.expose().to_owned()),
            data,
            request_id: entry.request_id.clone(),
            query: (entry.word == AuditWord::Query).then(|| entry.detail.clone()),
            basis: entry.basis.clone(),
        }
    }
}

fn pattern(word: AuditWord) -> AuditPattern {
    match word {
        AuditWord::Accept | AuditWord::Duplicate | AuditWord::Hold => AuditPattern::Create,
        AuditWord::Release | AuditWord::Acknowledge | AuditWord::AttemptFailed | AuditWord::DeliveryFailed => {
            AuditPattern::Update
        }
        AuditWord::Disclose => AuditPattern::Disclosure,
        AuditWord::Read | AuditWord::DirectoryLookup => AuditPattern::Read,
        AuditWord::Query => AuditPattern::Query,
        AuditWord::SignIn => AuditPattern::Authentication,
        AuditWord::Refuse | AuditWord::Deny => AuditPattern::Denial,
        AuditWord::Configure | AuditWord::DryRun => AuditPattern::Activity,
    }
}

impl Gateway {
    /// Signs a checkpoint whenever entries have arrived, at most once in `every`, until `stop` turns true.
    pub async fn checkpoint_until(self: Arc<Self>, key: SigningKey, every: Duration, mut stop: watch::Receiver<bool>) {
        let mut tree = Tree::new();
        loop {
            if let Err(error) = self.checkpoint(&key, &mut tree).await {
                tracing::error!(%error, "no checkpoint of the audit log could be made");
            }
            if *stop.borrow() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Brings `tree` up to date with the log and signs its head if it has grown.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn checkpoint(&self, key: &SigningKey, tree: &mut Tree) -> Result<(), StoreError> {
        loop {
            let entries = self.store.audit_entries(tree.size(), PAGE).await?;
            for entry in &entries {
                tree.push(entry.leaf);
            }
            if entries.len() < PAGE as usize {
                break;
            }
        }
        if self.store.latest_checkpoint().await?.is_some_and(|checkpoint| checkpoint.size >= tree.size()) {
            return Ok(());
        }
        let checkpoint = Checkpoint::of_tree(key.verifying_key().name(), tree)
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let note = key.sign(&checkpoint).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.store.put_checkpoint(StoredCheckpoint { size: tree.size(), note }).await?;
        Ok(())
    }
}
