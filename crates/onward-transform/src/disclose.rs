//! Disclosure: what each kind of recipient may receive, and the projection of a document on it.
//!
//! A policy is an allow-list in a file: headings, resource types, elements, extensions. What it does not name is not
//! sent, and what is withheld is listed with the rule that withheld it. This module refuses to let a policy cut a
//! statement loose from what gives it its meaning (a medicine from its status), and never passes on a narrative
//! whose entries may not all go: text cannot be split safely. The entries that may go, go without it.

mod carried;
mod matrix;
mod meaning;
mod policy_file;
mod project;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use onward_core::state::RecipientKind;
use onward_core::{DeliveryId, OdsCode, Timestamp};
use onward_fhir::{Heading, Tree};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use carried::{beyond, carried};
pub use matrix::{Cell, MatrixRow, matrix};
pub use policy_file::PolicyError;
pub use project::{ProjectError, project};

/// What one kind of recipient may receive. Read from a file by [`Policy::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For whom.
    pub recipient: RecipientKind,
    /// Date or number of this version of the policy.
    pub version: String,
    /// On what ground the recipient may have it.
    pub lawful_basis: String,
    /// Why the national data opt-out does or does not apply.
    pub opt_out: String,
    /// The document itself, or a reduced copy of it.
    pub form: Form,
    /// Whether attachments (Binary resources and Attachment data) go along.
    pub attachments: bool,
    pub(crate) sections: BTreeMap<SectionKey, NarrativeRule>,
    pub(crate) types: BTreeMap<String, Elements>,
    pub(crate) extensions: Extensions,
    pub(crate) added: BTreeSet<Added>,
}

/// What a copy may say beside the hospital's document, out of the directory and PDS. Sender and recipient of a copy are
/// named in it always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Added {
    /// The home that the person goes to: name, address, UPRN, telephone.
    CareHome,
    /// Whom the home may ring: geriatric on call and discharge coordinator, as the home's entry has them.
    Contacts,
    /// The practice that covers the home: name, code, telephone.
    CoveringPractice,
    /// The pharmacy that delivers to the home: name, telephone.
    DeliveringPharmacy,
    /// The practice that the person is registered with: name, code.
    RegisteredPractice,
}

impl Added {
    pub(crate) const ALL: [Self; 5] =
        [Self::CareHome, Self::Contacts, Self::CoveringPractice, Self::DeliveringPharmacy, Self::RegisteredPractice];

    /// The word in the policy file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CareHome => "care-home",
            Self::Contacts => "contacts",
            Self::CoveringPractice => "covering-practice",
            Self::DeliveringPharmacy => "delivering-pharmacy",
            Self::RegisteredPractice => "registered-practice",
        }
    }
}

/// Whether a recipient gets the sender's document or a copy made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The identical document, byte for byte where the envelope allows (ITK3 rule MR-01: the identical document goes
    /// to every recipient of the message).
    Identical,
    /// A reduced copy: a new document with an identifier of its own.
    Reduced,
}

/// What happens to the narrative of a section that the policy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NarrativeRule {
    /// It goes with the section, as the author attested it; but when an entry of the section may not go, the narrative
    /// stays behind with it, because it repeats it. The other entries go.
    WithSection,
    /// The section goes only when nothing at all is withheld of its entries.
    OnlyWhole,
    /// The narrative never goes; the entries do.
    Withheld,
}

impl NarrativeRule {
    pub(crate) const ALL: [Self; 3] = [Self::WithSection, Self::OnlyWhole, Self::Withheld];

    /// The word in the policy file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WithSection => "with-section",
            Self::OnlyWhole => "only-whole",
            Self::Withheld => "withheld",
        }
    }
}

/// A heading of a policy's `[sections]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SectionKey {
    /// A PRSB heading.
    Heading(Heading),
    /// `"*"`: every other section, known heading or not.
    Rest,
}

/// The elements of one resource type that may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    /// `"*"`: all but `text`, extensions and contained resources, which have rules of their own.
    pub(crate) all: bool,
    /// Element names, or dotted paths into backbone elements.
    pub(crate) paths: BTreeSet<String>,
}

/// How much of an element a policy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Partly,
    Nothing,
}

/// The extensions that may go, by URL, wherever they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extensions {
    All,
    Urls(BTreeSet<String>),
}

/// An element that goes, and the rule that lets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclosed {
    /// FHIRPath location in the document that was projected.
    pub path: String,
    /// The rule.
    pub rule: String,
}

/// An element that does not go, and the rule that keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// FHIRPath location in the document that was projected.
    pub path: String,
    /// The rule.
    pub rule: String,
}

/// A document as a policy lets it go.
#[derive(Clone)]
pub struct Projection<'t> {
    /// The new document Bundle (R4), over the text of the other: a file of megabytes is not copied for each recipient.
    pub tree: Tree<'t>,
    /// What it contains of the original.
    pub disclosed: Vec<Disclosed>,
    /// What it does not.
    pub withheld: Vec<Withheld>,
    /// Headings whose section or narrative is withheld, so that a page can say so and not "not sent".
    pub withheld_headings: Vec<Heading>,
    /// What the sender sent under a heading and this recipient does not get.
    pub gaps: Vec<Gap>,
}

/// A section, an entry of one, or an item of a list in one that does not go. Narratives and files that a policy keeps
/// by its own key are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The heading.
    pub heading: Heading,
    /// Type of the entry's or item's resource; `None` when the section stays behind as a whole.
    pub resource_type: Option<String>,
    /// FHIRPath location in the document that was projected.
    pub path: String,
    /// The rule.
    pub rule: String,
}

impl std::fmt::Debug for Projection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projection")
            .field("disclosed", &self.disclosed.len())
            .field("withheld", &self.withheld.len())
            .finish_non_exhaustive()
    }
}

/// The identifiers of a copy. Derived, so that rendering the same delivery again gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIds {
    delivery: DeliveryId,
    recipient: String,
    /// When the copy is made: Bundle.timestamp.
    pub at: Timestamp,
}

impl NewIds {
    /// The identifiers of the copy that goes to `recipient` as `kind` by this delivery.
    #[must_use]
    pub fn new(delivery: DeliveryId, kind: RecipientKind, recipient: &OdsCode, at: Timestamp) -> Self {
        Self { delivery, recipient: format!("{kind}/{recipient}"), at }
    }

    /// A UUID that belongs to this delivery alone; `part` says to what.
    #[must_use]
    pub fn derived(&self, part: &str) -> Uuid {
        Uuid::new_v5(&self.delivery.0, part.as_bytes())
    }

    /// Bundle.id: the delivery itself.
    #[must_use]
    pub fn bundle_id(&self) -> Uuid {
        self.delivery.0
    }

    /// Bundle.identifier of the copy.
    #[must_use]
    pub fn document(&self) -> Uuid {
        self.derived("document")
    }

    /// Composition.identifier of the copy that this recipient gets of the document set `original`. It depends on the
    /// set and the recipient only: when a later version replaces an earlier one, the recipient's copies replace each
    /// other too, without a look-up.
    #[must_use]
    pub fn set(&self, original: &str) -> Uuid {
        Uuid::new_v5(&COPIES, format!("{}/{original}", self.recipient).as_bytes())
    }
}

/// Namespace of the identifiers of copies (a UUID of Onward's own, drawn once).
const COPIES: Uuid = Uuid::from_u128(0x5a1e_9f0c_83d7_4b52_9c46_0d3f_7be2_61a8);

impl Policy {
    /// Reads a policy file. `name` (a file name) is only for messages.
    ///
    /// # Errors
    /// Unknown keys, headings, resource types and elements, each with the nearest known name; and policies that would
    /// cut a statement from what gives it its meaning.
    pub fn parse(name: &str, toml: &str) -> Result<Self, PolicyError> {
        policy_file::parse(name, toml)
    }

    /// What a policy file says, in one form whatever its comments and their places; `None` where it is no TOML.
    #[must_use]
    pub fn says(text: &str) -> Option<String> {
        Some(text.parse::<toml::Table>().ok()?.to_string())
    }

    /// Lawful basis and version in one line, as recorded with each disclosure.
    #[must_use]
    pub fn basis(&self) -> String {
        self.basis_with(&self.lawful_basis)
    }

    /// The same for a recipient who was agreed with the ward although the person objects to sharing: then no consent is implied.
    #[must_use]
    pub fn basis_despite_objection(&self) -> String {
        self.basis_with(AGREED)
    }

    fn basis_with(&self, lawful_basis: &str) -> String {
        format!("{lawful_basis}; {}; policy {} {}", self.opt_out, self.recipient, self.version)
    }

    /// Whether a copy with this ground was made by this version of the policy.
    #[must_use]
    pub fn made(&self, basis: &str) -> bool {
        basis.ends_with(&format!("; policy {} {}", self.recipient, self.version))
    }

    pub(crate) fn section_rule(&self, heading: Option<Heading>) -> Option<NarrativeRule> {
        heading
            .and_then(|heading| self.sections.get(&SectionKey::Heading(heading)))
            .or_else(|| self.sections.get(&SectionKey::Rest))
            .copied()
    }

    pub(crate) fn names_type(&self, resource_type: &str) -> bool {
        match resource_type {
            "Binary" => self.attachments,
            other => self.types.contains_key(other) && !is_abstract(other),
        }
    }

    /// How much of `path` (dotted, from the resource) may go; abstract types name elements of all resources.
    pub(crate) fn extent(&self, resource_type: &str, path: &str) -> Extent {
        if resource_type == "Binary" {
            let named = matches!(path, "contentType" | "data");
            return if named { Extent::Whole } else { self.abstract_extent(path) };
        }
        match self.types.get(resource_type).map_or(Extent::Nothing, |elements| elements.extent(path)) {
            Extent::Nothing => self.abstract_extent(path),
            extent => extent,
        }
    }

    fn abstract_extent(&self, path: &str) -> Extent {
        let mut extents = ABSTRACT.iter().filter_map(|name| self.types.get(*name)).map(|each| each.extent(path));
        extents.find(|extent| *extent != Extent::Nothing).unwrap_or(Extent::Nothing)
    }

    pub(crate) fn extension_allowed(&self, url: &str) -> bool {
        // The projection's own mark for what is withheld, and the sender's own "not known", must survive.
        url == project::DATA_ABSENT_REASON
            || match &self.extensions {
                Extensions::All => true,
                Extensions::Urls(urls) => urls.contains(url),
            }
    }
}

/// The ground of a recipient who was agreed after an objection, whatever the policy says of consent.
const AGREED: &str = "direct care: UK GDPR Articles 6(1)(e) and 9(2)(h); the person objects to sharing, and this recipient was agreed \
                      with the ward: consent is not implied";

const ABSTRACT: [&str; 2] = ["Resource", "DomainResource"];

fn is_abstract(name: &str) -> bool {
    ABSTRACT.contains(&name)
}

impl Elements {
    fn extent(&self, path: &str) -> Extent {
        let first = path.split('.').next().unwrap_or(path);
        let ruled_apart = matches!(first, "text" | "meta" | "implicitRules" | "language" | "contained");
        if self.all && !ruled_apart {
            return Extent::Whole;
        }
        let mut prefix = path;
        loop {
            if self.paths.contains(prefix) {
                return Extent::Whole;
            }
            match prefix.rsplit_once('.') {
                Some((shorter, _)) => prefix = shorter,
                None => break,
            }
        }
        let below = |name: &String| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        if self.paths.iter().any(below) { Extent::Partly } else { Extent::Nothing }
    }
}
