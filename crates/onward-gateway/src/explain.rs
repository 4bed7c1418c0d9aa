//! The dry run: what would happen to one message, with every reason, and nothing stored or sent.

use bytes::Bytes;
use onward_core::TransferId;
use onward_core::audit::{Agent, AuditEntry, AuditWord, Basis};
use onward_core::client::Client;
use onward_core::store::StoreError;
use onward_fhir::Tree;
use onward_transform::convert::NoteKind;
use onward_transform::render::Rendered;
use onward_validate::{Finding, Findings};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Gateway;
use crate::beforehand::Pds;
use crate::decision::Decided;
use crate::prepare::{Copy, PrepareError, Prepared, Routing, format_of, read_tree};
use crate::refusal::Refusal;

/// Everything that would happen to one message.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `deliver`, `hold` or `refuse`.
    pub outcome: &'static str,
    /// The client as which it was explained: its policy and levels apply.
    pub client: String,
    /// Reason of a hold or refusal.
    pub reason: Option<String>,
    /// Every finding.
    pub findings: Vec<Value>,
    /// How STU3 became R4, where it mattered.
    pub conversion: Vec<Value>,
    /// The route taken.
    pub route: Option<String>,
    /// Routes that do not apply, and why.
    pub routes_refused: Vec<Value>,
    /// How the parties were found.
    pub evidence: Vec<String>,
    /// What each recipient would get and what not.
    pub recipients: Vec<Value>,
    /// The audit entries that would be written.
    pub audit: Vec<String>,
}

impl Gateway {
    /// Explains a message to whoever asks, as if `client` had posted it. The asking is audited, and so is that PDS is asked, before it is.
    /// Before the answer leaves, so is that whoever asks is shown what came of it: an answer tells practice and pharmacy of a person.
    ///
    /// # Errors
    /// When the store cannot be read, or the asking, the look-up or the showing cannot be audited.
    pub async fn explain_for(
        &self,
        asking: Agent,
        client: &Client,
        body: &Bytes,
        media_type: &str,
        request_id: Option<&str>,
    ) -> Result<Explanation, StoreError> {
        self.note_dry_run(asking.clone(), body, "explain", request_id).await?;
        let pds = Pds::Asked(self.asking(None, request_id));
        let prepared = self.walk(client, body, media_type, TransferId::random(), &Decided::default(), pds).await;
        if let Ok(prepared) = &prepared
            && let Some(patient) = prepared.patient()
        {
            let shown = AuditEntry {
                patient: Some(patient.clone()),
                basis: Some(Basis::operation()),
                content_sha256: Some(crate::sha256_hex(body)),
                request_id: request_id.map(str::to_owned),
                ..AuditEntry::new(
                    AuditWord::Reveal,
                    self.clock.now(),
                    asking,
                    "what PDS and the directory say of the person was shown: explain",
                )
            };
            self.store.audit(vec![self.journal.row(&shown)]).await?;
        }
        explained(client, prepared)
    }

    /// Explains a message as if `client` had posted it, without an entry: to measure it, on a stand-in for PDS.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn explain(&self, client: &Client, body: &Bytes, media_type: &str) -> Result<Explanation, StoreError> {
        let pds = Pds::Untold(self.directory.as_ref());
        explained(client, self.walk(client, body, media_type, TransferId::random(), &Decided::default(), pds).await)
    }

    /// Findings about a message, without its parties; the asking is audited.
    ///
    /// # Errors
    /// When the asking cannot be audited.
    pub async fn validate(
        &self,
        client: &Client,
        body: &Bytes,
        media_type: &str,
        request_id: Option<&str>,
    ) -> Result<Result<Findings, Refusal>, StoreError> {
        let asking = Agent::client(client);
        self.note_dry_run(asking, body, "validate", request_id).await?;
        let tree = match read_tree(body, format_of(media_type)) {
            Ok(tree) => tree,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !tree.root().is("Parameters") {
            return Ok(Ok(self.findings(&tree, client)));
        }
        // R4 Resource Operation $validate: the thing to judge may come as the parameter `resource`.
        let given = tree.root().all("parameter").find(|parameter| parameter.text("name") == Some("resource"));
        let Some((resource, kind)) = given
            .and_then(|given| given.get("resource"))
            .and_then(|resource| Some((resource, resource.resource_type()?)))
        else {
            let message = "Parameters without a parameter `resource` that holds the resource to validate".to_owned();
            return Ok(Err(Refusal::Unreadable { well_formed: true, message, line: 0, column: 0 }));
        };
        let mut builder = onward_fhir::Builder::over(tree.source());
        builder.copy_as(kind, resource);
        Ok(Ok(self.findings(&builder.finish(), client)))
    }

    fn findings(&self, tree: &Tree<'_>, client: &Client) -> Findings {
        if tree.root().text("type") == Some("message") {
            self.profiles.validator.judge_message(tree, &self.validation_policy(client))
        } else {
            self.profiles.validator.judge(tree, &[])
        }
    }

    async fn note_dry_run(
        &self,
        agent: Agent,
        body: &Bytes,
        what: &str,
        request_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            content_sha256: Some(crate::sha256_hex(body)),
            request_id: request_id.map(str::to_owned),
            ..AuditEntry::new(AuditWord::DryRun, self.clock.now(), agent, what.to_owned())
        };
        self.store.audit(vec![self.journal.row(&entry)]).await
    }
}

fn explained(client: &Client, prepared: Result<Prepared, PrepareError>) -> Result<Explanation, StoreError> {
    match prepared {
        Ok(prepared) => Ok(accepted(client, &prepared)),
        Err(PrepareError::Refused(refusal)) => Ok(refused(client, &refusal)),
        Err(PrepareError::Store(error)) => Err(error),
    }
}

fn accepted(client: &Client, prepared: &Prepared) -> Explanation {
    let (outcome, reason, recipients, mut audit) = match &prepared.routing {
        Routing::Deliver { copies, .. } => {
            let audit = copies
                .iter()
                .map(|copy| {
                    format!("disclose: {} to {} ({})", copy.delivery.kind, copy.delivery.recipient, copy.delivery.basis)
                })
                .collect();
            ("deliver", None, copies.iter().map(recipient).collect(), audit)
        }
        Routing::Hold { cause, .. } => {
            let reason = format!("{}: {}", cause.reason, cause.detail);
            ("hold", Some(reason.clone()), Vec::new(), vec![format!("hold: {reason}")])
        }
    };
    audit.insert(0, format!("accept: event {}, route \"{}\"", prepared.facts.event, prepared.route));
    Explanation {
        outcome,
        client: client.id.clone(),
        reason,
        findings: prepared.findings.iter().map(finding).collect(),
        conversion: prepared
            .notes
            .iter()
            .map(|note| json!({ "path": note.path, "kind": kind(note.kind), "explanation": note.explanation, "count": note.count }))
            .collect(),
        route: Some(prepared.route.clone()),
        routes_refused: prepared
            .passed_over
            .iter()
            .map(|(route, why)| json!({ "route": route, "reason": why }))
            .collect(),
        evidence: prepared.evidence.clone(),
        recipients,
        audit,
    }
}

fn kind(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::Mapped => "mapped",
        NoteKind::Kept => "kept",
        NoteKind::Lost => "lost",
    }
}

fn refused(client: &Client, refusal: &Refusal) -> Explanation {
    let findings = match refusal {
        Refusal::NotValid(findings) => findings.iter().map(finding).collect(),
        _ => Vec::new(),
    };
    Explanation {
        outcome: "refuse",
        client: client.id.clone(),
        reason: Some(format!("{refusal} (ITK response {})", refusal.itk_code())),
        findings,
        conversion: Vec::new(),
        route: None,
        routes_refused: Vec::new(),
        evidence: Vec::new(),
        recipients: Vec::new(),
        audit: vec![format!("refuse: {}", refusal.word())],
    }
}

fn recipient(copy: &Copy) -> Value {
    let delivery = &copy.delivery;
    let Disclosure { disclosed, withheld } = Disclosure::of(&copy.rendered);
    json!({
        "disclosed": disclosed,
        "withheld": withheld,
        "recipient": delivery.kind.as_str(),
        "ods": delivery.recipient.as_str(),
        "name": delivery.recipient_name,
        "transport": delivery.endpoint.kind().as_str(),
        "bytes": delivery.body.len(),
        "basis": delivery.basis,
    })
}

/// What a rendition discloses and withholds, and by which rule, as it is written.
#[derive(Serialize)]
pub(crate) struct Disclosure<'r> {
    disclosed: Vec<ByRule<'r>>,
    withheld: Vec<ByRule<'r>>,
}

#[derive(Serialize)]
struct ByRule<'r> {
    path: &'r str,
    rule: &'r str,
}

impl<'r> Disclosure<'r> {
    pub(crate) fn of(rendered: &'r Rendered) -> Self {
        Self {
            disclosed: rendered.disclosed.iter().map(|row| ByRule { path: &row.path, rule: &row.rule }).collect(),
            withheld: rendered.withheld.iter().map(|row| ByRule { path: &row.path, rule: &row.rule }).collect(),
        }
    }

    /// As JSON, the way that it is kept beside the copy.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("paths and rules are texts")
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.as_str(),
        "rule": &*finding.rule,
        "expression": finding.expression,
        "line": finding.line,
        "column": finding.column,
        "diagnostics": finding.diagnostics,
        "itk_code": finding.itk_code,
    })
}
