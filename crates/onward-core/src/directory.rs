//! Organisations as Onward keeps them, people as PDS tells them, and the port to PDS.

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{MeshMailboxId, NhsNumber, OdsCode, WorkflowId};

mod bed_types;
mod demographics;
mod needs;
mod organisations;
mod question;

pub use bed_types::{BedType, BedTypes, TypedBeds};
pub use demographics::{Demographics, Gender, Likeness};
pub use needs::{Need, OwnWord};
pub use organisations::{OdsEnd, Organisation, Organisations};
pub use question::{Asker, Question};

/// Beds of one kind: with nursing and without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Beds {
    /// Beds with nursing.
    pub with_nursing: u32,
    /// Beds without nursing.
    pub without_nursing: u32,
}

/// One capability of the NHS quick guide: whether the home offers it, and with how many beds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capability {
    /// Offered at all.
    pub offered: bool,
    /// Beds for it.
    pub beds: Beds,
}

/// The ten capabilities of the NHS quick guide on care-home services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// Non-weight bearing.
    pub non_weight_bearing: Capability,
    /// Cognitive difficulties.
    pub cognitive_difficulties: Capability,
    /// Tracheostomy.
    pub tracheostomy: Capability,
    /// Elderly mentally infirm.
    pub elderly_mentally_infirm: Capability,
    /// Spinal rehabilitation.
    pub spinal_rehabilitation: Capability,
    /// Specialist rehabilitation.
    pub specialist_rehabilitation: Capability,
    /// Palliative care.
    pub palliative_care: Capability,
    /// Intermediate care.
    pub intermediate_care: Capability,
    /// Intermediate care with medical responsibility.
    pub intermediate_care_with_medical_responsibility: Capability,
    /// Short-term placement.
    pub short_term_placement: Capability,
}

/// Whom to ring, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contact {
    /// Person or service.
    pub name: String,
    /// Telephone.
    pub telephone: String,
    /// E-mail.
    pub email: String,
    /// When they answer, in words (`Monday to Friday 08:00 to 18:00`).
    pub hours: String,
}

/// Where and how an organisation receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Endpoint {
    /// It collects from its inbox.
    Inbox {},
    /// Onward posts to this URL (`https:` only, host on the egress list).
    Https {
        /// Absolute URL that takes `POST` of the rendition.
        url: String,
    },
    /// Onward posts message Bundles to `$process-message` of this FHIR server (`https:` only, host on the egress list), and reads the
    /// response message.
    ProcessMessage {
        /// Base URL of the server, such as `https://practice.example/fhir/R4`.
        url: String,
    },
    /// A MESH mailbox.
    Mesh {
        /// The mailbox.
        mailbox: MeshMailboxId,
        /// The workflow, when it is not the usual one for the document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workflow: Option<WorkflowId>,
    },
    /// The practice that holds the person's record, wherever that is: MESH finds its mailbox by number, birth date and family name
    /// (GP auto-routing).
    GpRouting {
        /// The workflow, when it is not the usual one for the document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workflow: Option<WorkflowId>,
    },
}

impl Endpoint {
    /// The transport that serves it.
    #[must_use]
    pub fn kind(&self) -> crate::state::TransportKind {
        match self {
            Self::Inbox {} => crate::state::TransportKind::Inbox,
            Self::Https { .. } | Self::ProcessMessage { .. } => crate::state::TransportKind::Https,
            Self::Mesh { .. } | Self::GpRouting { .. } => crate::state::TransportKind::Mesh,
        }
    }

    /// Whether a copy that was made for this address can leave for another one as it is. MESH finds the practice that holds the person's
    /// record and no other, by what a document about them says (`by_person`): neither a covering practice nor whoever gets a notice.
    #[must_use]
    pub fn leads_on_to(&self, to: &Self, by_person: bool) -> bool {
        match (self, to) {
            (Self::Inbox {}, Self::Inbox {})
            | (Self::Https { .. }, Self::Https { .. })
            | (Self::ProcessMessage { .. }, Self::ProcessMessage { .. })
            | (Self::Mesh { .. } | Self::GpRouting { .. }, Self::Mesh { .. })
            | (Self::GpRouting { .. }, Self::GpRouting { .. }) => true,
            (Self::Mesh { .. }, Self::GpRouting { .. }) => by_person,
            _ => false,
        }
    }

    /// In words for operators and the audit log: an organisation's address, without user information and query of a URL.
    #[must_use]
    pub fn told(&self) -> String {
        let named = |workflow: &Option<WorkflowId>| {
            workflow.as_ref().map_or_else(String::new, |workflow| format!(", workflow {workflow}"))
        };
        match self {
            Self::Inbox {} => "its inbox here".to_owned(),
            Self::Https { url } => without_secrets(url),
            Self::ProcessMessage { url } => format!("$process-message of {}", without_secrets(url)),
            Self::Mesh { mailbox, workflow } => format!("MESH mailbox {mailbox}{}", named(workflow)),
            Self::GpRouting { workflow } => {
                format!("the MESH mailbox that MESH finds by the person{}", named(workflow))
            }
        }
    }

    /// What it stands behind; none of our own inbox.
    #[must_use]
    pub fn hub(&self) -> Option<Hub> {
        match self {
            Self::Inbox {} => None,
            Self::Https { url } | Self::ProcessMessage { url } => Some(Hub::Host(authority(url))),
            Self::Mesh { .. } | Self::GpRouting { .. } => Some(Hub::Mesh),
        }
    }
}

/// What endpoints share: where it hangs, all of them do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hub {
    /// MESH, behind which all mailboxes are.
    Mesh,
    /// A host, with the port where one is named, in lower case.
    Host(String),
}

fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase()
}

/// A URL without what may be secret in it.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.rsplit('@').next().unwrap_or_default().to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default())
}

/// Whether a text is a location identifier of the Care Quality Commission: `1-` and 6 to 12 digits.
#[must_use]
pub fn is_cqc_location(text: &str) -> bool {
    let digits = text.strip_prefix("1-").unwrap_or_default();
    (6..=12).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A care home, with the fields that the NHS quick guide on care-home services asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CareHome {
    /// ODS code of the home (site or provider).
    pub ods: OdsCode,
    /// Other ODS codes of the same home (a home can hold provider and site codes).
    #[serde(default)]
    pub other_ods: Vec<OdsCode>,
    /// Name.
    pub name: String,
    /// Locality.
    #[serde(default)]
    pub locality: String,
    /// Address lines.
    pub address: Vec<String>,
    /// Postcode.
    pub postcode: String,
    /// Unique Property Reference Number, 1 to 12 digits.
    pub uprn: String,
    /// Provider organisation.
    #[serde(default)]
    pub provider: String,
    /// Lead manager.
    #[serde(default)]
    pub lead_manager: String,
    /// The home's own contact.
    #[serde(default)]
    pub contact: Contact,
    /// ODS codes of the acute trusts that it works with.
    #[serde(default)]
    pub acute_trusts: Vec<OdsCode>,
    /// Assesses at weekends.
    #[serde(default)]
    pub assesses_at_weekends: bool,
    /// Accepts discharges at weekends.
    #[serde(default)]
    pub accepts_discharges_at_weekends: bool,
    /// Takes in nobody at present.
    #[serde(default)]
    pub closed_to_admissions: bool,
    /// All beds.
    #[serde(default)]
    pub beds_total: Beds,
    /// Beds free.
    #[serde(default)]
    pub beds_available: Beds,
    /// Beds by type.
    #[serde(default)]
    pub beds_by_type: BedTypes,
    /// When the home last told its free beds, or said that what stands here is still correct.
    #[serde(default)]
    pub beds_updated: Option<Timestamp>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Care Quality Commission location identifier (`1-` and digits); empty where it is not told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cqc_location: String,
    /// Care Quality Commission rating.
    #[serde(default)]
    pub cqc_rating: String,
    /// Date of that rating.
    #[serde(default)]
    pub cqc_rated: Option<Date>,
    /// The practice that covers the home.
    pub covering_practice: OdsCode,
    /// The pharmacy that delivers to the home.
    pub delivering_pharmacy: OdsCode,
    /// Geriatric on-call contact, with hours.
    #[serde(default)]
    pub geriatric_on_call: Contact,
    /// Discharge coordinator.
    #[serde(default)]
    pub coordinator: Contact,
    /// How it receives.
    #[serde(default = "inbox")]
    pub endpoint: Endpoint,
    /// The entry is not used after this day.
    pub expires: Date,
    /// What ODS says of its end; nothing where it says of none. No import changes it while ODS is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ods_end: Option<OdsEnd>,
}

impl CareHome {
    /// The end that ODS tells, where it is behind this day.
    #[must_use]
    pub fn ended(&self, today: Date) -> Option<&OdsEnd> {
        self.ods_end.as_ref().filter(|end| end.last_day < today)
    }
}

fn inbox() -> Endpoint {
    Endpoint::Inbox {}
}

/// A GP practice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Practice {
    /// ODS code.
    pub ods: OdsCode,
    /// Name.
    pub name: String,
    /// Telephone.
    #[serde(default)]
    pub telephone: String,
    /// Postcode.
    #[serde(default)]
    pub postcode: String,
    /// How it receives.
    pub endpoint: Endpoint,
    /// The entry is not used after this day.
    pub expires: Date,
    /// What ODS says of its end; nothing where it says of none. No import changes it while ODS is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ods_end: Option<OdsEnd>,
}

/// A community pharmacy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pharmacy {
    /// ODS code.
    pub ods: OdsCode,
    /// Name.
    pub name: String,
    /// Telephone.
    #[serde(default)]
    pub telephone: String,
    /// Postcode.
    #[serde(default)]
    pub postcode: String,
    /// How it receives.
    pub endpoint: Endpoint,
    /// The entry is not used after this day.
    pub expires: Date,
    /// What ODS says of its end; nothing where it says of none. No import changes it while ODS is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ods_end: Option<OdsEnd>,
}

/// One entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "few entries are held at once")]
pub enum DirectoryEntry {
    /// A care home.
    CareHome(CareHome),
    /// A GP practice.
    Practice(Practice),
    /// A pharmacy.
    Pharmacy(Pharmacy),
}

impl DirectoryEntry {
    /// The ODS code it is found by.
    #[must_use]
    pub fn ods(&self) -> &OdsCode {
        match self {
            Self::CareHome(home) => &home.ods,
            Self::Practice(practice) => &practice.ods,
            Self::Pharmacy(pharmacy) => &pharmacy.ods,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::CareHome(home) => &home.name,
            Self::Practice(practice) => &practice.name,
            Self::Pharmacy(pharmacy) => &pharmacy.name,
        }
    }

    /// The last day on which it is used.
    #[must_use]
    pub fn expires(&self) -> Date {
        match self {
            Self::CareHome(home) => home.expires,
            Self::Practice(practice) => practice.expires,
            Self::Pharmacy(pharmacy) => pharmacy.expires,
        }
    }

    /// How it receives.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::CareHome(home) => &home.endpoint,
            Self::Practice(practice) => &practice.endpoint,
            Self::Pharmacy(pharmacy) => &pharmacy.endpoint,
        }
    }

    /// The same entry, received in another way.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Endpoint) -> Self {
        match &mut self {
            Self::CareHome(home) => home.endpoint = endpoint,
            Self::Practice(practice) => practice.endpoint = endpoint,
            Self::Pharmacy(pharmacy) => pharmacy.endpoint = endpoint,
        }
        self
    }

    /// What ODS says of its end.
    #[must_use]
    pub fn ods_end(&self) -> Option<&OdsEnd> {
        match self {
            Self::CareHome(home) => home.ods_end.as_ref(),
            Self::Practice(practice) => practice.ods_end.as_ref(),
            Self::Pharmacy(pharmacy) => pharmacy.ods_end.as_ref(),
        }
    }

    /// The same entry with what ODS says of its end.
    #[must_use]
    pub fn with_ods_end(mut self, end: Option<OdsEnd>) -> Self {
        match &mut self {
            Self::CareHome(home) => home.ods_end = end,
            Self::Practice(practice) => practice.ods_end = end,
            Self::Pharmacy(pharmacy) => pharmacy.ods_end = end,
        }
        self
    }

    /// The end that ODS tells, where it is behind this day: nothing new is sent there.
    #[must_use]
    pub fn ended(&self, today: Date) -> Option<&OdsEnd> {
        self.ods_end().filter(|end| end.last_day < today)
    }

    /// `care-home`, `practice` or `pharmacy`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CareHome(_) => "care-home",
            Self::Practice(_) => "practice",
            Self::Pharmacy(_) => "pharmacy",
        }
    }
}

/// How sensitive PDS says a record is (`meta.security`, v3-Confidentiality).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// U: unrestricted.
    Unrestricted,
    /// R: restricted; address, practice and pharmacy are removed.
    Restricted,
    /// V: very restricted.
    VeryRestricted,
}

/// A name of a person as PDS tells. Prints redacted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PdsName {
    /// Family name; a nickname may have none.
    #[serde(default)]
    pub family: Option<String>,
    /// Given names.
    #[serde(default)]
    pub given: Vec<String>,
}

impl std::fmt::Debug for PdsName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PdsName(redacted)")
    }
}

/// A person as PDS tells. Prints redacted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PdsPatient {
    /// The number that PDS answers with; another than asked means superseded.
    pub nhs_number: NhsNumber,
    /// Sensitivity.
    pub sensitivity: Sensitivity,
    /// Family name, as PDS has it.
    #[serde(default)]
    pub family: Option<String>,
    /// Given names.
    #[serde(default)]
    pub given: Vec<String>,
    /// Other names that the person goes by now; none that was given up.
    #[serde(default)]
    pub also: Vec<PdsName>,
    /// Date of birth, `YYYY-MM-DD` or shorter.
    #[serde(default)]
    pub birth_date: Option<String>,
    /// Date or date-time of death.
    #[serde(default)]
    pub deceased: Option<String>,
    /// The practice with which the person is registered now; never one with which they were.
    #[serde(default)]
    pub registered_practice: Option<OdsCode>,
    /// The pharmacy that is nominated now.
    #[serde(default)]
    pub nominated_pharmacy: Option<OdsCode>,
}

impl std::fmt::Debug for PdsPatient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PdsPatient(redacted)")
    }
}

/// Whom a search by demographics found. Prints redacted.
#[derive(Clone, PartialEq, Eq)]
pub enum Match {
    /// Nobody.
    Nobody,
    /// One person and no other, as far as a search tells of them: it has no pharmacy.
    One(Box<PdsPatient>),
    /// More than one: nothing says which.
    Several,
}

impl std::fmt::Debug for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Match(redacted)")
    }
}

/// PDS could not be asked, or did not answer usefully.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Busy or unreachable; asking again may help.
    #[error("the directory did not answer: {0}")]
    Unavailable(String),
    /// It answered something that is not its specification.
    #[error("the directory's answer was not understood: {0}")]
    Unintelligible(String),
}

/// PDS, or its local stand-in. It says of each question that it leaves ([`Question::leaves`]) before it does.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// The person with this number; `None` when there is none (or the record is withheld).
    ///
    /// # Errors
    /// When the directory cannot be asked: the caller holds the transfer, it never guesses.
    async fn patient(&self, number: &NhsNumber, question: &Question) -> Result<Option<PdsPatient>, DirectoryError>;

    /// Who is of these demographics. Whatever it finds is a candidate: nobody is anybody because a search found them.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    async fn find(
        &self,
        person: &Demographics,
        likeness: Likeness,
        question: &Question,
    ) -> Result<Match, DirectoryError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(url: &str) -> Endpoint {
        Endpoint::Https { url: url.to_owned() }
    }

    #[test]
    fn an_address_is_told_without_what_is_secret_in_it() {
        for (url, told) in [
            ("https://ada:secret@one.example:8443/in/box?token=secret#secret", "https://one.example:8443/in/box"),
            ("https://one.example", "https://one.example"),
            ("https://secret@one.example?token=secret", "https://one.example"),
            ("ada:secret@one.example/in", "one.example/in"),
        ] {
            assert_eq!(https(url).told(), told, "{url}");
        }
        let mesh =
            Endpoint::Mesh { mailbox: "Y99001OT1".parse().expect("a mailbox"), workflow: "TOC_FHIR".parse().ok() };
        assert_eq!(mesh.told(), "MESH mailbox Y99001OT1, workflow TOC_FHIR");
    }

    #[test]
    fn a_copy_leads_on_to_what_takes_the_same_bytes() {
        let mesh = |name: &str| Endpoint::Mesh { mailbox: name.parse().expect("a mailbox"), workflow: None };
        let (found, inbox) = (Endpoint::GpRouting { workflow: None }, Endpoint::Inbox {});
        let message = Endpoint::ProcessMessage { url: "https://one.example/fhir".to_owned() };
        assert!(mesh("Y99001OT1").leads_on_to(&mesh("Y99001OT2"), false));
        assert!(https("https://one.example").leads_on_to(&https("https://other.example"), false));
        assert!(found.leads_on_to(&mesh("Y99001OT1"), false), "a mailbox that MESH did not find is named");
        assert!(mesh("Y99001OT1").leads_on_to(&found, true));
        assert!(!mesh("Y99001OT1").leads_on_to(&found, false), "MESH would find another practice, or nobody");
        for (from, to) in [
            (&inbox, &https("https://one.example")),
            (&https("https://one.example"), &inbox),
            (&https("https://one.example"), &message),
            (&message, &mesh("Y99001OT1")),
        ] {
            assert!(!from.leads_on_to(to, true), "{from:?} {to:?}");
        }
    }
}
