//! Renditions: the copy of a document that each kind of recipient gets, and the page that a person there reads.
//!
//! Everything that a reduced rendition says of the patient comes out of the projection by that recipient's policy; the
//! rest comes from the directory and PDS, as far as the policy names it under `added`. This module refuses to write what would lose something, what is not closed (a
//! reference that leads nowhere), and what has no NHS number: those are errors, and the gateway holds the transfer.

mod card;
mod care_home;
pub mod dates;
mod fragment;
mod html;
mod itk3;
mod narrative;
mod notice;
mod parts;
mod pharmacy;
mod registered_practice;
mod registration;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use onward_core::directory::{CareHome, Endpoint, Pharmacy, Practice};
use onward_core::state::RecipientKind;
use onward_core::{DeliveryId, MeshMailboxId, OdsCode, Timestamp, TransferId, WorkflowId};
use onward_fhir::{Bundle, DocumentKind, Element, Heading, Release, Tree, views, write};

pub use card::Card;
pub use care_home::care_home;
pub use fragment::{Fragment, StoredFile};
pub use notice::{NoticeParts, marked, notice};
pub use pharmacy::{pharmacy_nomination, pharmacy_referral};
pub use registered_practice::{Original, registered_practice};
pub(crate) use registration::REMOTE_CORRESPONDENCE;
pub use registration::covering_practice;

use crate::disclose::{Added, Disclosed, Form, Gap, NewIds, Policy, ProjectError, Projection, Withheld, project};

/// Everybody whom a transfer concerns, and when.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The transfer.
    pub transfer: TransferId,
    /// The hospital.
    pub sender_ods: &'a OdsCode,
    /// Its name.
    pub sender_name: &'a str,
    /// The home that the person goes to.
    pub care_home: &'a CareHome,
    /// The practice near the home.
    pub covering_practice: &'a Practice,
    /// The pharmacy that delivers to the home.
    pub delivering_pharmacy: &'a Pharmacy,
    /// The person's own practice, unless there is none.
    pub registered_practice: Option<&'a Practice>,
    /// The pharmacy that PDS has.
    pub nominated_pharmacy: Option<&'a OdsCode>,
    /// The organisation that runs the gateway.
    pub own_ods: &'a OdsCode,
    /// Its name.
    pub own_name: &'a str,
    /// The gateway's mailbox: acknowledgements come back to it.
    pub own_mailbox: Option<&'a MeshMailboxId>,
    /// Event code of the message that came (`ITK003D`, `document`).
    pub event: &'a str,
    /// Now.
    pub now: Timestamp,
    /// When the person is expected at the home.
    pub expected: Option<Timestamp>,
    /// When the stay ends, where that is known.
    pub stay_ends: Option<Timestamp>,
    /// The person objects to sharing, and the recipients were agreed with the ward.
    pub objected: bool,
}

impl Parties<'_> {
    /// On what ground a recipient gets the copy that this policy makes.
    fn basis_of(&self, policy: &Policy) -> String {
        if self.objected { policy.basis_despite_objection() } else { policy.basis() }
    }
}

/// One recipient's copy, ready to be queued. Its `Debug` shows sizes only.
#[derive(Clone)]
pub struct Rendered {
    /// Media type of `body`.
    pub media_type: String,
    /// What travels.
    pub body: Vec<u8>,
    /// The same for people: one complete page.
    pub html: Option<Vec<u8>>,
    /// What a list of such copies shows of it.
    pub card: Option<Card>,
    /// Identifier of the document inside: its own for a copy, the sender's for the identical document.
    pub document_id: String,
    /// MessageHeader.id, where `body` is a message: what acknowledgements name.
    pub correlation_id: Option<String>,
    /// The usual MESH workflow of `body`.
    pub workflow: Option<WorkflowId>,
    /// Lawful basis and policy version.
    pub basis: String,
    /// What of the document goes, and by which rule.
    pub disclosed: Vec<Disclosed>,
    /// What of the document does not go, and by which rule.
    pub withheld: Vec<Withheld>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("media_type", &self.media_type)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why a rendition cannot be made. Never carries content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The document cannot be projected.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The policy is another recipient's, or gives another form of document.
    #[error("the policy for {found} cannot make the copy for {wanted}")]
    Policy {
        /// Whose copy is to be made.
        wanted: RecipientKind,
        /// Whose policy was given.
        found: RecipientKind,
    },
    /// The copy has no Patient with a valid NHS number: the document lacks it or the policy does not name it.
    #[error("the copy has no Patient with a valid NHS number")]
    NoPatient,
    /// Writing would lose something.
    #[error("{path}: {reason}")]
    Loss {
        /// Where.
        path: String,
        /// What.
        reason: String,
    },
    /// A reference leads nowhere.
    #[error("{0}: the reference leads nowhere")]
    Dangling(String),
    /// Larger than ITK3 lets a message be.
    #[error("the message would have {0} bytes, ITK3 allows 5 MB")]
    TooLarge(usize),
    /// Something that a person may come to harm for want of would be missing from the copy.
    #[error("\"{heading}\" cannot go whole ({path}: {rule}); mend the recipient's policy or the hospital's document")]
    Gap {
        /// Title of the heading.
        heading: &'static str,
        /// What stays behind.
        path: String,
        /// By which rule.
        rule: String,
    },
    /// The document has no medicines, so that there is nothing to refer to the pharmacy.
    #[error("the hospital sent no medicines")]
    NoMedicines,
    /// The recipient needs no such copy.
    #[error("nothing to ask for: {0}")]
    NotNeeded(&'static str),
    /// A page could not be written.
    #[error("the page cannot be written: {0}")]
    Page(String),
}

const FHIR_JSON: &str = "application/fhir+json";
const FHIR_XML: &str = "application/fhir+xml";
/// ITK3 message distribution: "message ≤ 5 MB" (response code 20015).
const ITK3_BYTES_MAX: usize = 5_000_000;

/// The projection for one recipient, with what every rendition needs of it.
struct Prepared<'t> {
    projection: Projection<'t>,
    ids: NewIds,
    basis: String,
    added: BTreeSet<Added>,
}

impl<'t> Prepared<'t> {
    fn new(
        document: &'t Tree<'_>,
        policy: &Policy,
        wanted: RecipientKind,
        recipient: &OdsCode,
        parties: &Parties<'_>,
        delivery: DeliveryId,
    ) -> Result<Self, RenderError> {
        if policy.recipient != wanted || policy.form != Form::Reduced {
            return Err(RenderError::Policy { wanted, found: policy.recipient });
        }
        let ids = NewIds::new(delivery, wanted, recipient, parties.now);
        let projection = project(document, policy, &ids)?;
        Ok(Self { projection, ids, basis: parties.basis_of(policy), added: policy.added.clone() })
    }

    /// Whether the policy lets this be told beside the document.
    fn adds(&self, added: Added) -> bool {
        self.added.contains(&added)
    }

    /// The Patient of the copy, who must be identifiable: an acknowledgement of the wrong person's letter is harm.
    fn patient(&self) -> Result<Element<'_, 't>, RenderError> {
        let bundle = Bundle::new(self.projection.tree.root()).ok_or(RenderError::NoPatient)?;
        let subject = bundle
            .first("Composition")
            .and_then(|composition| composition.get("subject"))
            .and_then(|subject| bundle.resolve(subject))
            .filter(|subject| subject.is("Patient"));
        let number = |patient: &Element<'_, '_>| {
            views::nhs_number(*patient).is_some_and(|text| text.parse::<onward_core::NhsNumber>().is_ok())
        };
        subject.filter(number).ok_or(RenderError::NoPatient)
    }

    /// Refuses a copy in which something safety-critical that the sender sent is missing: a list of medicines or
    /// allergies that is not whole reads like one that is.
    fn without_gaps(&self, critical: impl Fn(&Gap) -> bool) -> Result<(), RenderError> {
        match self.projection.gaps.iter().find(|gap| critical(gap)) {
            None => Ok(()),
            Some(gap) => {
                Err(RenderError::Gap { heading: gap.heading.title(), path: gap.path.clone(), rule: gap.rule.clone() })
            }
        }
    }

    fn rendered(self, body: Vec<u8>, html: String) -> Rendered {
        let added = self.added.iter().map(|added| Disclosed {
            path: format!("beside the document: {}", added.as_str()),
            rule: format!("added: {}", added.as_str()),
        });
        Rendered {
            media_type: FHIR_JSON.to_owned(),
            body,
            html: Some(html.into_bytes()),
            card: None,
            document_id: self.ids.document().to_string(),
            correlation_id: None,
            workflow: None,
            basis: self.basis,
            disclosed: self.projection.disclosed.into_iter().chain(added).collect(),
            withheld: self.projection.withheld,
        }
    }
}

/// Whoever looks after a person must have everything that was sent under these headings.
fn is_critical_for_care(gap: &Gap) -> bool {
    matches!(gap.heading, Heading::Medications | Heading::Allergies | Heading::SafetyAlerts)
}

/// Writes an R4 Bundle that must be closed and lose nothing.
fn r4_json(tree: &Tree<'_>) -> Result<Vec<u8>, RenderError> {
    closed(tree.root())?;
    lossless(write::json(tree.root(), Release::R4))
}

/// Writes an STU3 message that must be closed, lose nothing and fit.
fn stu3_xml(tree: &Tree<'_>) -> Result<Vec<u8>, RenderError> {
    closed(tree.root())?;
    fits(lossless(write::xml(tree.root(), Release::Stu3))?)
}

fn fits(body: Vec<u8>) -> Result<Vec<u8>, RenderError> {
    if body.len() > ITK3_BYTES_MAX { Err(RenderError::TooLarge(body.len())) } else { Ok(body) }
}

fn lossless(written: write::Written) -> Result<Vec<u8>, RenderError> {
    match written.losses.into_iter().next() {
        Some(loss) => Err(RenderError::Loss { path: loss.path, reason: loss.reason }),
        None => Ok(written.text.into_bytes()),
    }
}

/// Every reference of a Bundle leads to an entry of it; a document inside a message is closed in itself.
fn closed(bundle: Element<'_, '_>) -> Result<(), RenderError> {
    let Some(index) = Bundle::new(bundle) else { return Ok(()) };
    for resource in index.resources() {
        if resource.is("Bundle") {
            closed(*resource)?;
            continue;
        }
        // The handling extension refers to a message definition on the web.
        let handling: Vec<_> = resource
            .all("extension")
            .filter(|_| resource.is("MessageHeader"))
            .flat_map(Element::descendants)
            .map(Element::id)
            .collect();
        let mut references = resource.descendants().filter(|element| element.text("reference").is_some());
        let dangling = references.find(|element| {
            !handling.contains(&element.id())
                && element.text("reference") != Some("#")
                && index.resolve(*element).is_none()
        });
        if let Some(dangling) = dangling {
            return Err(RenderError::Dangling(dangling.path()));
        }
    }
    Ok(())
}

/// Where acknowledgements of our messages come back to.
fn source_endpoint(parties: &Parties<'_>) -> String {
    match parties.own_mailbox {
        Some(mailbox) => mailbox.to_string(),
        None => format!("urn:nhs-uk:addressing:ods:{}", parties.own_ods),
    }
}

fn goes_by_mesh(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Mesh { .. } | Endpoint::GpRouting { .. })
}

/// Whether what goes there must be a message Bundle.
fn takes_messages(endpoint: &Endpoint) -> bool {
    goes_by_mesh(endpoint) || matches!(endpoint, Endpoint::ProcessMessage { .. })
}

/// The MESH workflows by which goes what such a recipient gets of a document that came by this event: its copy, and a notice about that.
/// None where nothing is usual: the endpoint must name one.
#[must_use]
pub fn usual_workflows(kind: RecipientKind, event: &str) -> Vec<WorkflowId> {
    let send_document = workflow(registration::SEND_DOCUMENT_WORKFLOW);
    match kind {
        RecipientKind::CoveringPractice => send_document.into_iter().collect(),
        RecipientKind::RegisteredPractice => {
            // What an R4 message carries its event does not tell: a discharge, unless the document says otherwise.
            let document = DocumentKind::of_event(event).unwrap_or(DocumentKind::Discharge);
            registered_practice::usual_workflow(document).into_iter().chain(send_document).collect()
        }
        _ => Vec::new(),
    }
}

fn workflow(name: &str) -> Option<WorkflowId> {
    name.parse().ok()
}
