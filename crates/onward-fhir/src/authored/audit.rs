//! AuditEvent in the shapes of IHE Basic Audit Log Patterns (BALP): identifiers, never results.

use fhir_sdk::r4b::codes::{AuditEventAction, AuditEventAgentNetworkType, AuditEventOutcome};
use fhir_sdk::r4b::resources::{
    AuditEvent, AuditEventAgent, AuditEventAgentNetwork, AuditEventEntity, AuditEventEntityDetail,
    AuditEventEntityDetailValue, AuditEventSource,
};
use fhir_sdk::r4b::types::Coding;

use super::{AuthorError, parts};

const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const ENTITY_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const BALP_ENTITY: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";
/// Onward's own code systems: roles of clients.
const CLIENT_ROLES: &str = "https://onward.example/CodeSystem/client-role";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";

/// What happened, as BALP tells events apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPattern {
    /// Something was created: a message accepted, a hold made.
    Create,
    /// Something was read by a recipient.
    Read,
    /// Something was changed: a Task moved, a hold released.
    Update,
    /// Something was searched for.
    Query,
    /// Data left for a recipient (`PrivacyDisclosure.Source`).
    Disclosure,
    /// A request was refused (DICOM 110113 Security Alert).
    Denial,
    /// A token was issued, or a person signed in (DICOM 110114 User Authentication, 110122 Login).
    Authentication,
    /// A person signed out (110123 Logout).
    Logout,
    /// The configuration, the clients or the directory changed (DICOM 110100 Application Activity).
    Activity,
}

/// Which part an agent plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentPart {
    /// The calling system.
    Client,
    /// The system that is called.
    Server,
}

/// One who took part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditAgent {
    /// The part.
    pub part: AgentPart,
    /// Client identifier, organisation or user name.
    pub name: String,
    /// ODS code of its organisation.
    pub organisation: Option<String>,
    /// Another name of who acted: the account of a person, as a URN, or an account of the operating system.
    pub account: Option<String>,
    /// It started the event.
    pub requestor: bool,
    /// As what it acted (a registered client's or a person's role).
    pub role: Option<String>,
    /// Where it is, as far as we know it (BALP asks for it of both systems).
    pub network: Network,
    /// Policies or names of tokens under which it acted. They are ours; BALP's pattern of an OAuth token is not claimed.
    pub policy: Vec<String>,
}

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Known by a name of its own: a registered client, the command line.
    Machine(String),
    /// Known by an address: a base URL, an ODS or mailbox URN.
    Uri(String),
    /// Where its request came from.
    Address(std::net::IpAddr),
}

/// `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// 0.
    Success,
    /// 4: it failed and may be tried again.
    MinorFailure,
    /// 8: it was denied, or failed for good.
    SeriousFailure,
}

/// Why something was disclosed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPurpose {
    /// `TREAT`.
    Treatment,
    /// `PATRQT`.
    PatientRequest,
    /// `HOPERAT`.
    HealthcareOperations,
}

/// Data that was touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditData {
    /// What it is.
    pub what: Touched,
    /// Named details, such as the SHA-256 of the bytes. Never patient data.
    pub details: Vec<(String, String)>,
}

/// How touched data is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Reference text (`Task/…`, `Bundle/…`).
    Reference(String),
    /// Something that has no address of ours.
    Named(&'static str),
}

/// What an AuditEvent says.
#[derive(Clone)]
pub struct AuditContent {
    /// `id`, a UUID.
    pub id: String,
    /// The pattern.
    pub pattern: AuditPattern,
    /// `recorded`, an instant.
    pub recorded: String,
    /// `period`: start and end, where the event took time.
    pub period: Option<(String, String)>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Reason or code; never patient data.
    pub outcome_description: Option<String>,
    /// Who took part; at least one.
    pub agents: Vec<AuditAgent>,
    /// Name of the observing system.
    pub observer: String,
    /// Its ODS code.
    pub observer_ods: Option<String>,
    /// About whom, by NHS number.
    pub nhs_number: Option<String>,
    /// What was touched. BALP allows one where something was created, read or updated, and none for a query.
    pub data: Option<AuditData>,
    /// The transfer that it belongs to, as the reference of its Task.
    pub transfer: Option<String>,
    /// `X-Request-ID`.
    pub request_id: Option<String>,
    /// Raw query, for [`AuditPattern::Query`].
    pub query: Option<String>,
    /// Why something was disclosed: its purpose, and the lawful basis with the policy.
    pub basis: Option<(AuditPurpose, String)>,
}

struct Shape {
    event: Coding,
    subtype: Option<Coding>,
    action: AuditEventAction,
    /// DICOM codes of client and server.
    roles: [(&'static str, &'static str); 2],
    profile: Option<&'static str>,
}

const SOURCE: (&str, &str) = ("110153", "Source Role ID");
const DESTINATION: (&str, &str) = ("110152", "Destination Role ID");

fn shape(pattern: AuditPattern) -> Shape {
    let dicom = |code, display| parts::coding(DICOM, code, Some(display));
    let rest = |interaction: &str, action, roles, profile| Shape {
        event: parts::coding(EVENT_TYPE, "rest", Some("RESTful Operation")),
        subtype: Some(parts::coding(INTERACTION, interaction, None)),
        action,
        roles,
        profile: Some(profile),
    };
    let plain = |event, subtype, action| Shape { event, subtype, action, roles: [SOURCE, DESTINATION], profile: None };
    match pattern {
        AuditPattern::Create => rest("create", AuditEventAction::C, [SOURCE, DESTINATION], "Create"),
        AuditPattern::Update => rest("update", AuditEventAction::U, [SOURCE, DESTINATION], "Update"),
        // BALP Read is the other way round: the data flows to the client.
        AuditPattern::Read => rest("read", AuditEventAction::R, [DESTINATION, SOURCE], "Read"),
        AuditPattern::Query => rest("search", AuditEventAction::E, [SOURCE, DESTINATION], "Query"),
        AuditPattern::Disclosure => Shape {
            event: dicom("110106", "Export"),
            subtype: Some(parts::coding(LIFECYCLE, "disclose", Some("Disclose Record Lifecycle Event"))),
            action: AuditEventAction::R,
            roles: [SOURCE, DESTINATION],
            profile: Some("PrivacyDisclosure.Source"),
        },
        AuditPattern::Denial => plain(dicom("110113", "Security Alert"), None, AuditEventAction::E),
        AuditPattern::Authentication => {
            plain(dicom("110114", "User Authentication"), Some(dicom("110122", "Login")), AuditEventAction::E)
        }
        AuditPattern::Logout => {
            plain(dicom("110114", "User Authentication"), Some(dicom("110123", "Logout")), AuditEventAction::E)
        }
        AuditPattern::Activity => plain(dicom("110100", "Application Activity"), None, AuditEventAction::E),
    }
}

/// The codes of `type` and `subtype` of this pattern's events.
#[must_use]
pub fn type_codes(pattern: AuditPattern) -> Vec<&'static str> {
    match pattern {
        AuditPattern::Create => vec!["rest", "create"],
        AuditPattern::Update => vec!["rest", "update"],
        AuditPattern::Read => vec!["rest", "read"],
        AuditPattern::Query => vec!["rest", "search"],
        AuditPattern::Disclosure => vec!["110106", "disclose"],
        AuditPattern::Denial => vec!["110113"],
        AuditPattern::Authentication => vec!["110114", "110122"],
        AuditPattern::Logout => vec!["110114", "110123"],
        AuditPattern::Activity => vec!["110100"],
    }
}

/// An AuditEvent, JSON.
///
/// # Errors
/// When a time is none.
pub fn audit_event(content: &AuditContent) -> Result<String, AuthorError> {
    let shape = shape(content.pattern);
    let profile = shape.profile.filter(|_| is_claimed(content)).map(|name| {
        // BALP has a profile of its own for the four interactions when a patient is known.
        let about = content.nhs_number.is_some() && content.pattern != AuditPattern::Disclosure;
        format!("{BALP}{}{name}", if about { "Patient" } else { "" })
    });
    let outcome = match content.outcome {
        AuditOutcome::Success => AuditEventOutcome::N0,
        AuditOutcome::MinorFailure => AuditEventOutcome::N4,
        AuditOutcome::SeriousFailure => AuditEventOutcome::N8,
    };
    let mut event = AuditEvent::builder()
        .r#type(shape.event)
        .recorded(parts::instant(&content.recorded, "AuditEvent.recorded")?)
        .agent(content.agents.iter().map(|who| Some(agent(who, shape.roles))).collect())
        .source(source(content))
        .build()
        .expect("every mandatory element is set");
    event.id = Some(content.id.clone());
    event.meta = profile.as_deref().map(|profile| parts::meta(None, None, Some(profile)));
    event.subtype = shape.subtype.into_iter().map(Some).collect();
    event.action = Some(shape.action);
    event.outcome = Some(outcome);
    event.outcome_desc = content.outcome_description.clone();
    event.period = match &content.period {
        Some((start, end)) => Some(parts::period(
            Some(parts::date_time(start, "AuditEvent.period.start")?),
            Some(parts::date_time(end, "AuditEvent.period.end")?),
        )),
        None => None,
    };
    if let Some((purpose, basis)) = &content.basis {
        let (code, display) = match purpose {
            AuditPurpose::Treatment => ("TREAT", "treatment"),
            AuditPurpose::PatientRequest => ("PATRQT", "patient requested"),
            AuditPurpose::HealthcareOperations => ("HOPERAT", "healthcare operations"),
        };
        let why = parts::coding(ACT_REASON, code, Some(display));
        event.purpose_of_event = vec![Some(parts::concept(vec![why], Some(basis)))];
    }
    event.entity = entities(content).into_iter().map(Some).collect();
    Ok(serde_json::to_string(&event).expect("the model serialises"))
}

/// BALP's profiles of the interactions are for successes, and a disclosure is always about somebody.
fn is_claimed(content: &AuditContent) -> bool {
    match content.pattern {
        AuditPattern::Disclosure => content.nhs_number.is_some() && content.data.is_some(),
        AuditPattern::Query => content.outcome == AuditOutcome::Success && content.query.is_some(),
        _ => content.outcome == AuditOutcome::Success && content.data.is_some(),
    }
}

fn agent(who: &AuditAgent, [client, server]: [(&str, &str); 2]) -> AuditEventAgent {
    let mut agent =
        AuditEventAgent::builder().requestor(who.requestor).build().expect("every mandatory element is set");
    let coded = match who.part {
        AgentPart::Client => parts::coding(DICOM, client.0, Some(client.1)),
        AgentPart::Server => parts::coding(DICOM, server.0, Some(server.1)),
    };
    agent.r#type = Some(parts::concept(vec![coded], None));
    agent.who = Some(match &who.organisation {
        Some(ods) => parts::organisation(ods, Some(&who.name)),
        None => parts::displayed(&who.name),
    });
    agent.alt_id = who.account.clone();
    agent.name = Some(who.name.clone());
    agent.policy = who.policy.iter().cloned().map(Some).collect();
    agent.role =
        who.role.iter().map(|role| Some(parts::concept(vec![parts::coding(CLIENT_ROLES, role, None)], None))).collect();
    let (address, kind) = match &who.network {
        Network::Machine(name) => (name.clone(), AuditEventAgentNetworkType::N1),
        Network::Address(address) => (address.to_string(), AuditEventAgentNetworkType::N2),
        Network::Uri(uri) => (uri.clone(), AuditEventAgentNetworkType::N5),
    };
    let mut network = AuditEventAgentNetwork::builder().build().expect("a network has no mandatory element");
    network.address = Some(address);
    network.r#type = Some(kind);
    agent.network = Some(network);
    agent
}

fn source(content: &AuditContent) -> AuditEventSource {
    let observer = match &content.observer_ods {
        Some(ods) => parts::organisation(ods, Some(&content.observer)),
        None => parts::displayed(&content.observer),
    };
    let mut source = AuditEventSource::builder().observer(observer).build().expect("every mandatory element is set");
    source.r#type = vec![Some(parts::coding(SOURCE_TYPE, "4", Some("Application Server")))];
    source
}

fn entity(kind: Coding, role: Option<Coding>) -> AuditEventEntity {
    let mut entity = AuditEventEntity::builder().build().expect("an entity has no mandatory element");
    entity.r#type = Some(kind);
    entity.role = role;
    entity
}

fn entities(content: &AuditContent) -> Vec<AuditEventEntity> {
    let mut entities = Vec::new();
    let kind = |code, display| parts::coding(ENTITY_TYPE, code, Some(display));
    let role = |code, display| Some(parts::coding(ENTITY_ROLE, code, Some(display)));
    if let Some(nhs_number) = &content.nhs_number {
        let mut patient = entity(kind("1", "Person"), role("1", "Patient"));
        patient.what = Some(parts::patient(nhs_number));
        entities.push(patient);
    }
    if let Some(touched) = &content.data {
        let mut data = entity(kind("2", "System Object"), role("4", "Domain Resource"));
        data.what = Some(match &touched.what {
            Touched::Reference(reference) => parts::reference(reference),
            Touched::Named(name) => parts::displayed(name),
        });
        data.detail = touched.details.iter().map(|(name, value)| Some(detail(name, value))).collect();
        entities.push(data);
    }
    if let Some(transfer) = &content.transfer {
        // Not "System Object": BALP counts those.
        let mut job = entity(parts::coding(RESOURCE_TYPES, "Task", None), role("20", "Job"));
        job.what = Some(parts::reference(transfer));
        entities.push(job);
    }
    if let Some(query) = &content.query {
        let mut asked = entity(kind("2", "System Object"), role("24", "Query"));
        asked.query = Some(fhir_sdk::Base64Binary(query.clone().into_bytes()));
        entities.push(asked);
    }
    if let Some(request_id) = &content.request_id {
        let mut request = entity(parts::coding(BALP_ENTITY, "XrequestId", None), None);
        request.what = Some(parts::logical(request_id));
        entities.push(request);
    }
    entities
}

fn detail(name: &str, value: &str) -> AuditEventEntityDetail {
    AuditEventEntityDetail::builder()
        .r#type(name.to_owned())
        .value(AuditEventEntityDetailValue::String(value.to_owned()))
        .build()
        .expect("every mandatory element is set")
}
