//! Audit entries become FHIR AuditEvents (IHE BALP) with their leaf hash, and the log gets its checkpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use onward_core::audit::{Agent, AuditEntry, AuditRow, AuditWord, Basis, Purpose, StoredCheckpoint, export_subject};
use onward_core::client::Role;
use onward_core::store::{AuditColumns, AuditHeader, StoreError, StoredAudit};
use onward_core::{OdsCode, Timestamp, UserId};
use onward_fhir::authored::{
    AgentPart, AuditAgent, AuditContent, AuditData, AuditOutcome, AuditPattern, AuditPurpose, Network, Touched,
    audit_event, type_codes,
};
use onward_ledger::{Checkpoint, SigningKeys, Tree};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::made::Half;
use crate::{Gateway, contents, made, sightings};

/// Entries read at once when a checkpoint is made.
const PAGE: u32 = 1_000;

tokio::task_local! {
    /// Where the request came from whose handling writes entries.
    static ASKED_FROM: IpAddr;
}

/// Handles a request that came from this address: the entries that it writes say so of whoever asked. What it spawns does not.
pub async fn asked_from<F: Future>(address: IpAddr, handling: F) -> F::Output {
    ASKED_FROM.scope(address.to_canonical(), handling).await
}

/// A person's account among the names of an agent.
fn user_urn(user: UserId) -> String {
    format!("{USER_URN}{user}")
}

/// The detail of an event that names the organisation that an alarm concerns.
const CONCERNS: &str = "organisation";

/// The detail of an event that names the export that it is of.
const EXPORT: &str = "export";

/// How the name of a person's account begins.
pub const USER_URN: &str = "urn:uuid:";

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

    /// The row of an entry, with its AuditEvent.
    #[must_use]
    pub fn row(&self, entry: &AuditEntry) -> AuditRow {
        // Beside those of the same time in the indexes of the log.
        let id = Uuid::now_v7().to_string();
        let event = audit_event(&self.content(entry, &id))
            .expect("every time in it is a Timestamp and every code is one of ours")
            .into_bytes();
        AuditRow {
            id,
            recorded: entry.recorded,
            word: entry.word,
            transfer: entry.transfer,
            delivery: entry.delivery,
            agent: entry.agent.name.clone(),
            organisation: entry.agent.organisation.clone().or_else(|| entry.concerns.clone()),
            patient: entry.patient.clone(),
            success: entry.success,
            shown: match (entry.word, &entry.patient) {
                (AuditWord::Query, None) => sightings::kept(raw_query(entry)),
                _ => export_of(entry).into_iter().map(export_subject).collect(),
            },
            contents: entry.contents.clone(),
            event,
        }
    }

    fn content(&self, entry: &AuditEntry, id: &str) -> AuditContent {
        let (data, transfer) = touched(entry);
        AuditContent {
            id: id.to_owned(),
            pattern: pattern(entry.word),
            recorded: entry.recorded.to_string(),
            period: None,
            outcome: match (entry.success, entry.word) {
                (true, _) => AuditOutcome::Success,
                (false, AuditWord::AttemptFailed | AuditWord::Respond) => AuditOutcome::MinorFailure,
                (false, _) => AuditOutcome::SeriousFailure,
            },
            outcome_description: Some(format!("{}: {}", entry.word, entry.detail)),
            agents: self.agents(entry).into(),
            observer: self.observer.clone(),
            observer_ods: Some(self.own_ods.clone()),
            nhs_number: entry.patient.as_ref().map(|number| number.expose().to_owned()),
            data,
            transfer,
            request_id: entry.request_id.clone(),
            query: (entry.word == AuditWord::Query).then(|| raw_query(entry).to_owned()),
            basis: ground(entry).map(|basis| (purpose(basis.purpose), basis.text)),
        }
    }

    /// The two systems, in BALP's order: client and server; source and recipient of a disclosure.
    fn agents(&self, entry: &AuditEntry) -> [AuditAgent; 2] {
        let caller = match entry.agent.name.as_str() {
            Agent::GATEWAY => self.own(AgentPart::Client),
            name => AuditAgent {
                part: AgentPart::Client,
                name: name.to_owned(),
                organisation: entry.agent.organisation.as_ref().map(ToString::to_string),
                account: entry.agent.user.map(user_urn).or_else(|| entry.agent.account.clone()),
                requestor: true,
                role: entry.agent.role.map(str::to_owned),
                network: match (ASKED_FROM.try_with(|address| *address), entry.agent.user) {
                    (Ok(address), _) => Network::Address(address),
                    (Err(_), Some(user)) => Network::Uri(user_urn(user)),
                    (Err(_), None) if name.starts_with("mesh:") => Network::Uri(name.to_owned()),
                    (Err(_), None) => Network::Machine(name.to_owned()),
                },
                policy: entry.agent.under.clone(),
            },
        };
        match (entry.word, &entry.recipient) {
            // The source of a disclosure is who observes it (BALP val-audit-source): ourselves.
            (AuditWord::SubjectAccess | AuditWord::Export | AuditWord::Reveal, _) => [
                AuditAgent { requestor: false, ..self.own(AgentPart::Client) },
                AuditAgent { part: AgentPart::Server, ..caller },
            ],
            (
                AuditWord::Intend
                | AuditWord::Disclose
                | AuditWord::AttemptFailed
                | AuditWord::DeliveryFailed
                | AuditWord::Respond,
                Some(recipient),
            ) => [
                caller,
                AuditAgent {
                    part: AgentPart::Server,
                    name: recipient.to_string(),
                    organisation: Some(recipient.to_string()),
                    account: None,
                    requestor: false,
                    role: None,
                    network: Network::Uri(format!("urn:nhs-uk:addressing:ods:{recipient}")),
                    policy: Vec::new(),
                },
            ],
            (AuditWord::DirectoryLookup, _) => [
                caller,
                AuditAgent {
                    part: AgentPart::Server,
                    name: "Personal Demographics Service".to_owned(),
                    organisation: None,
                    account: None,
                    requestor: false,
                    role: None,
                    network: Network::Machine("PDS".to_owned()),
                    policy: Vec::new(),
                },
            ],
            _ => [caller, AuditAgent { requestor: false, ..self.own(AgentPart::Server) }],
        }
    }

    /// The gateway, as the source of its events names it.
    fn own(&self, part: AgentPart) -> AuditAgent {
        AuditAgent {
            part,
            name: self.observer.clone(),
            organisation: Some(self.own_ods.clone()),
            account: None,
            requestor: true,
            role: None,
            network: Network::Uri(self.observer.clone()),
            policy: Vec::new(),
        }
    }
}

fn raw_query(entry: &AuditEntry) -> &str {
    entry.query.as_deref().unwrap_or(&entry.detail)
}

/// The ground on which somebody got to know something about a person: the one that is given, else that of what was done and by whom.
fn ground(entry: &AuditEntry) -> Option<Basis> {
    let by_default = || match entry.word {
        AuditWord::DirectoryLookup => Some(Basis::tracing()),
        AuditWord::Acknowledge => Some(Basis::following()),
        AuditWord::ReadTask | AuditWord::Query => Some(match entry.agent.role {
            Some(role) if role == Role::InformationGovernance.as_str() => Basis::accountability(),
            Some(role) if role == Role::Operator.as_str() => Basis::operation(),
            Some(_) => Basis::following(),
            // The command line: searches are of whoever answers for the log, looks of whoever runs the gateway.
            None if entry.word == AuditWord::Query => Basis::accountability(),
            None => Basis::operation(),
        }),
        _ => None,
    };
    entry.basis.clone().or_else(|| by_default().filter(|_| entry.patient.is_some()))
}

fn purpose(purpose: Purpose) -> AuditPurpose {
    match purpose {
        Purpose::Treatment => AuditPurpose::Treatment,
        Purpose::PatientRequest => AuditPurpose::PatientRequest,
        Purpose::HealthcareOperations => AuditPurpose::HealthcareOperations,
    }
}

/// Of which export an entry is that is no list: an end, or a beginning about one person.
fn export_of(entry: &AuditEntry) -> Option<Uuid> {
    let may_be = matches!(entry.word, AuditWord::SubjectAccess | AuditWord::Export);
    match Half::read(&entry.detail).filter(|_| may_be)? {
        Half::Beginning(id) | Half::End(id) => Some(id),
    }
}

/// The one thing that was touched, and the transfer that it belongs to.
fn touched(entry: &AuditEntry) -> (Option<AuditData>, Option<String>) {
    let transfer = entry.transfer.map(|transfer| format!("Task/{transfer}"));
    let (what, transfer) = match (entry.word, entry.delivery) {
        (AuditWord::Query, _) => return (None, transfer),
        (AuditWord::DirectoryLookup, _) => (Some(Touched::Named("PDS demographics")), transfer),
        (AuditWord::Alarm, None) if entry.concerns.is_some() => (Some(Touched::Named("log or database")), transfer),
        (AuditWord::SubjectAccess, _) if made::is_of_entries(&entry.detail) => {
            (Some(Touched::Named("audit entries about one person")), transfer)
        }
        (AuditWord::SubjectAccess, _) => (Some(Touched::Named("subject access archive")), transfer),
        (AuditWord::Export, _) => (Some(Touched::Named("exported file")), transfer),
        (AuditWord::Reveal, None) if transfer.is_none() && entry.content_sha256.is_none() => {
            (Some(Touched::Named("audit entry")), None)
        }
        (
            AuditWord::Read
            | AuditWord::Intend
            | AuditWord::Disclose
            | AuditWord::AttemptFailed
            | AuditWord::DeliveryFailed
            | AuditWord::Respond,
            Some(delivery),
        ) => (Some(Touched::Reference(format!("Bundle/{delivery}"))), transfer),
        (_, Some(delivery)) => (Some(Touched::Reference(format!("Task/{delivery}"))), transfer),
        (_, None) => {
            // Bytes that became nothing of ours: a refused, repeated or explained message.
            let bytes = || entry.content_sha256.as_ref().map(|hash| format!("urn:sha256:{hash}"));
            (transfer.or_else(bytes).map(Touched::Reference), None)
        }
    };
    let mut details: Vec<_> = entry.content_sha256.iter().map(|hash| ("sha256".to_owned(), hash.clone())).collect();
    details.extend(entry.contents.iter().map(|of| (contents::DETAIL.to_owned(), hex::encode(of.sha256))));
    details.extend(entry.concerns.iter().map(|ods| (CONCERNS.to_owned(), ods.to_string())));
    details.extend(export_of(entry).map(|id| (EXPORT.to_owned(), id.to_string())));
    (what.map(|what| AuditData { what, details }), transfer)
}

fn pattern(word: AuditWord) -> AuditPattern {
    match word {
        AuditWord::Accept | AuditWord::Duplicate | AuditWord::Hold | AuditWord::Respond => AuditPattern::Create,
        AuditWord::Release | AuditWord::Acknowledge | AuditWord::Withdraw => AuditPattern::Update,
        // An attempt that failed may still have reached the recipient.
        AuditWord::Disclose
        | AuditWord::AttemptFailed
        | AuditWord::DeliveryFailed
        | AuditWord::SubjectAccess
        | AuditWord::Export
        | AuditWord::Reveal => AuditPattern::Disclosure,
        AuditWord::Read | AuditWord::ReadTask | AuditWord::DirectoryLookup => AuditPattern::Read,
        AuditWord::Query => AuditPattern::Query,
        AuditWord::SignIn => AuditPattern::Authentication,
        AuditWord::SignOut => AuditPattern::Logout,
        AuditWord::Refuse | AuditWord::Deny => AuditPattern::Denial,
        // An intent becomes a disclosure by the attempt, and is told again as one when that ends.
        AuditWord::Configure
        | AuditWord::Erase
        | AuditWord::DryRun
        | AuditWord::Alarm
        | AuditWord::Intend
        | AuditWord::Notify => AuditPattern::Activity,
    }
}

/// Whether the columns that an entry is found by say what its header and its event say. They are outside the hash, so that
/// whoever can write the store could hide an entry from a search by them. Of an erased entry the header is left.
#[must_use]
pub fn columns_fit(stored: &StoredAudit) -> bool {
    let header = stored.entry.as_deref().filter(|entry| Some(*entry) != stored.event());
    let header = header.map(serde_json::from_slice::<AuditHeader>);
    let header_fits = header.is_none_or(|header| header.is_ok_and(|header| header_fits(&header, &stored.columns)));
    header_fits && stored.event().is_none_or(|event| event_fits(event, &stored.columns))
}

fn header_fits(header: &AuditHeader, columns: &AuditColumns) -> bool {
    header.id == columns.id
        && header.recorded.as_microsecond() == columns.recorded.as_microsecond()
        && header.word == columns.word
        && Some(&header.agent) == columns.agent.as_ref()
        && header.organisation == columns.organisation
        && header.transfer == columns.transfer
        && header.delivery == columns.delivery
}

fn event_fits(event: &[u8], columns: &AuditColumns) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(event) else { return false };
    let entities = || event["entity"].as_array().into_iter().flatten();
    let recorded = event["recorded"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let word = event["outcomeDesc"].as_str().and_then(|text| text.split_once(": ")).map(|(word, _)| word);
    let patient = entities().find(|entity| entity["role"]["code"] == "1");
    let patient = patient.and_then(|patient| patient["what"]["identifier"]["value"].as_str());
    // In the source of a disclosure to a person of ours, that person is the recipient.
    let to_a_person = [AuditWord::SubjectAccess, AuditWord::Export, AuditWord::Reveal]
        .iter()
        .any(|word| columns.word == word.as_str());
    let actor = &event["agent"][usize::from(to_a_person)];
    let is_gateway = columns.agent.as_deref() == Some(Agent::GATEWAY);
    let actor_fits = if is_gateway {
        let concerned = detail(&event, columns, CONCERNS, &[AuditWord::Alarm]);
        actor["who"] == event["source"]["observer"] && columns.organisation.as_deref() == concerned
    } else {
        actor["who"]["identifier"]["value"].as_str() == columns.organisation.as_deref()
            && columns.agent.as_deref().is_none_or(|agent| actor["name"] == agent)
    };
    let referred = |id: &Option<String>| {
        id.as_deref().is_none_or(|id| {
            entities()
                .filter_map(|entity| entity["what"]["reference"].as_str())
                .any(|reference| reference.rsplit_once('/').is_some_and(|(_, own)| own == id))
        })
    };
    let references = entities()
        .filter_map(|entity| entity["what"]["reference"].as_str())
        .filter(|reference| reference.starts_with("Task/") || reference.starts_with("Bundle/"))
        .count();
    let is_list = columns.word == AuditWord::Query.as_str() && patient.is_none();
    let showed = || match is_list {
        true => sightings::query_of(&event).map(|query| sightings::kept(&query)).unwrap_or_default(),
        // An earlier program's events do not name the export here, and nothing is kept beside them.
        false => {
            let export = detail(&event, columns, EXPORT, &[AuditWord::SubjectAccess, AuditWord::Export]);
            export.and_then(|id| id.parse().ok()).map(export_subject).into_iter().collect()
        }
    };
    let shown_fits = columns.shown.as_ref().is_none_or(|shown| {
        let [kept, said] = [shown, &showed()].map(|ids| ids.iter().cloned().collect::<BTreeSet<_>>());
        kept == said
    });
    event["id"] == columns.id.as_str()
        && recorded.is_some_and(|at| at.as_microsecond() == columns.recorded.as_microsecond())
        && word == Some(columns.word.as_str())
        && patient == columns.patient.as_deref()
        && actor_fits
        && shown_fits
        && referred(&columns.transfer)
        && referred(&columns.delivery)
        && references == columns.transfer.iter().chain(&columns.delivery).count()
}

/// The detail of this name that an event gives where it is of one of these words.
fn detail<'e>(event: &'e Value, columns: &AuditColumns, name: &str, of: &[AuditWord]) -> Option<&'e str> {
    let entities = event["entity"].as_array().filter(|_| of.iter().any(|word| columns.word == word.as_str()));
    let mut details = entities.into_iter().flatten().filter_map(|entity| entity["detail"].as_array()).flatten();
    details.find(|detail| detail["type"] == name)?["valueString"].as_str()
}

/// The words whose events have this `AuditEvent.type` or `subtype` code.
#[must_use]
pub fn words_of_type(code: &str) -> Vec<AuditWord> {
    AuditWord::ALL.iter().copied().filter(|word| type_codes(pattern(*word)).contains(&code)).collect()
}

impl Gateway {
    /// Signs a checkpoint whenever entries have arrived, at most once in `every`, until `stop` turns true.
    pub async fn checkpoint_until(
        self: Arc<Self>,
        key: Arc<SigningKeys>,
        every: Duration,
        mut stop: watch::Receiver<bool>,
    ) {
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
    pub async fn checkpoint(&self, key: &SigningKeys, tree: &mut Tree) -> Result<(), StoreError> {
        loop {
            let leaves = self.store.audit_leaves(tree.size(), PAGE).await?;
            for leaf in &leaves {
                tree.push(*leaf);
            }
            if leaves.len() < PAGE as usize {
                break;
            }
        }
        if let Some(newest) = self.store.latest_checkpoint().await? {
            // The log's key is being changed, and this gateway still has the old file: what it signed alone would not be believed.
            if !key.verifying_keys().know_all_signers(&newest.note) {
                return Err(StoreError::Corrupt(
                    "the newest checkpoint is signed by a key that is not in this gateway's audit.signing_key_file: copy the file \
                     that the gateways share, and restart"
                        .to_owned(),
                ));
            }
            if newest.size >= tree.size() {
                return Ok(());
            }
        }
        let checkpoint = Checkpoint::of_tree(key.verifying_keys().name(), tree)
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let note = key.sign(&checkpoint).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.store.put_checkpoint(StoredCheckpoint { size: tree.size(), note }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground_of(word: AuditWord, role: Option<&'static str>, about_somebody: bool) -> Option<String> {
        let journal = Journal::new(&"R9Z".parse().expect("a code"), "https://gateway.example");
        let agent = Agent { role, ..Agent::named("somebody", None) };
        let patient = about_somebody.then(|| "9990000018".parse().expect("a test number"));
        let entry = AuditEntry { patient, ..AuditEntry::new(word, Timestamp::UNIX_EPOCH, agent, "a look") };
        let event: Value = serde_json::from_slice(&journal.row(&entry).event).expect("JSON");
        event["purposeOfEvent"][0]["text"].as_str().map(str::to_owned)
    }

    #[test]
    fn who_sees_that_somebody_is_concerned_has_a_ground() {
        use AuditWord::{Acknowledge, DirectoryLookup, Query, ReadTask, SignIn};
        let cases = [
            (ReadTask, Some("sender"), Basis::following()),
            (ReadTask, Some("care-home-user"), Basis::following()),
            (ReadTask, Some("operator"), Basis::operation()),
            (ReadTask, Some("information-governance"), Basis::accountability()),
            (ReadTask, None, Basis::operation()),
            (Query, Some("pharmacy"), Basis::following()),
            (Query, Some("information-governance"), Basis::accountability()),
            (Query, None, Basis::accountability()),
            (Acknowledge, None, Basis::following()),
            (DirectoryLookup, None, Basis::tracing()),
        ];
        for (word, role, expected) in cases {
            assert_eq!(ground_of(word, role, true), Some(expected.text), "{word} {role:?}");
            assert_eq!(ground_of(word, role, false), None, "{word} {role:?} about nobody");
        }
        assert_eq!(ground_of(SignIn, Some("operator"), true), None, "nothing about the person was told");
    }
}
