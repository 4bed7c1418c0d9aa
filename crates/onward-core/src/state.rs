//! The words for who receives, how, and how far a delivery has come.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in the store, in JSON and on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::state::UnknownWord;
            fn from_str(text: &str) -> Result<Self, $crate::state::UnknownWord> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err($crate::state::UnknownWord(stringify!($name))) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

/// A text is none of the words of the named type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a word of {0}")]
pub struct UnknownWord(pub &'static str);

words!(
    /// What a recipient is to the transfer; each kind has its disclosure policy.
    RecipientKind {
        /// The home that the person goes to.
        CareHome = "care-home",
        /// The practice near the home, asked to register the person temporarily.
        CoveringPractice = "covering-practice",
        /// The person's own practice.
        RegisteredPractice = "registered-practice",
        /// The pharmacy that delivers to the home: Discharge Medicines Service referral.
        PharmacyReferral = "pharmacy-referral",
        /// The same pharmacy: request to become the nominated pharmacy.
        PharmacyNomination = "pharmacy-nomination",
        /// The hospital itself: an infrastructure or business response.
        Sender = "sender",
    }
);

words!(
    /// How a copy travels.
    TransportKind {
        /// The recipient collects it (FHIR Task and Bundle).
        Inbox = "inbox",
        /// Onward posts it over HTTPS.
        Https = "https",
        /// Onward sends it by MESH.
        Mesh = "mesh",
    }
);

words!(
    /// How far one recipient's copy has come.
    DeliveryState {
        /// Committed, waiting for its turn or its next attempt.
        Queued = "queued",
        /// In the recipient's inbox, not yet read.
        AwaitingCollection = "awaiting-collection",
        /// Handed to the transport or partner; no acknowledgement yet.
        Sent = "sent",
        /// The recipient has it (infrastructure acknowledgement, or it was opened).
        Received = "received",
        /// The recipient will act on it (business acknowledgement).
        Accepted = "accepted",
        /// The recipient works on it.
        InProgress = "in-progress",
        /// The recipient has done it.
        Completed = "completed",
        /// The recipient refused it, with a reason.
        Rejected = "rejected",
        /// It cannot be delivered without a person.
        Failed = "failed",
        /// Ended before its recipient had done it: superseded, withdrawn or recalled.
        Withdrawn = "withdrawn",
    }
);

/// ITK3 response codes with which a refusal is about the person: the business codes, and the positive ones, which stay with a copy that
/// somebody refuses after a system had said that it has the message. With any other the message was not processed, or not taken.
pub const REFUSALS_OF_PEOPLE: &[&str] = &[
    "20013", "30001", "30002", "30003", "30004", "30005", "30006", "30007", "30008", "30009", "30010", "30011",
    "30012", "30013", "30014", "30015", "30016", "30017", "30018", "30019", "30020", "30021", "30022", "30023",
    "30024", "30025",
];

/// Of them, those by which a practice says that the person is not registered there: not known, no longer at this clinical setting.
pub const NOT_REGISTERED: &[&str] = &["30002", "30003"];
/// MESH's reports that it found no practice for a person, or more than one mailbox (GP auto-routing).
pub const UNFOUND: &[&str] = &["EPL-150", "EPL-151", "EPL-152", "EPL-153", "EPL-154"];

words!(
    /// Why a copy, or a whole transfer, ended before its time.
    EndReason {
        /// A later version took its place.
        Superseded = "superseded",
        /// The hospital took it back.
        Withdrawn = "withdrawn",
        /// A replacement of it came that could not be processed: neither is to be used (ITK3, 20014).
        Void = "null-and-void",
        /// It went to somebody whom it was not for.
        Recalled = "recalled",
        /// The person has left the home. A notice says so to the others; no copy ends by it.
        LeftHome = "left-home",
    }
);

words!(
    /// Where somebody goes who leaves the home.
    Departure {
        /// To where they live.
        OwnHome = "own-home",
        /// To another care home.
        AnotherHome = "another-care-home",
        /// Back to a hospital.
        Hospital = "hospital",
        /// Somewhere else.
        Elsewhere = "elsewhere",
        /// The person has died.
        Died = "died",
    }
);

impl DeliveryState {
    /// The FHIR R4 `Task.status` that tells this state.
    #[must_use]
    pub fn task_status(self) -> &'static str {
        match self {
            Self::Queued | Self::AwaitingCollection | Self::Sent => "requested",
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Withdrawn => "cancelled",
        }
    }

    /// A positive business acknowledgement has come.
    #[must_use]
    pub fn is_acknowledged(self) -> bool {
        matches!(self, Self::Accepted | Self::InProgress | Self::Completed)
    }

    /// No further acknowledgement is awaited.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Rejected | Self::Withdrawn)
    }

    /// Whether a recipient may move its Task from this state to `to` (interface.md, `PUT Task`).
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        use DeliveryState as S;
        match to {
            S::Received => matches!(self, S::AwaitingCollection | S::Sent),
            S::Accepted | S::Rejected => matches!(self, S::AwaitingCollection | S::Sent | S::Received),
            S::InProgress => matches!(self, S::Received | S::Accepted),
            S::Completed => matches!(self, S::Received | S::Accepted | S::InProgress),
            _ => false,
        }
    }
}

words!(
    /// Why a transfer waits for a person instead of being routed.
    HoldReason {
        /// The NHS number is missing.
        NhsNumberMissing = "nhs-number-missing",
        /// The NHS number's check digit does not fit, and the sender's policy is to hold.
        NhsNumberInvalid = "nhs-number-invalid",
        /// PDS does not know the NHS number.
        PatientNotFound = "patient-not-found",
        /// Name or date of birth in the document and in PDS differ.
        DemographicsConflict = "demographics-conflict",
        /// PDS marks the person as sensitive: address, practice and pharmacy must not be looked up or disclosed.
        RestrictedPatient = "restricted-patient",
        /// The hospital records that the person objects to sharing with somebody who would receive it.
        Objection = "objection",
        /// PDS answers with another NHS number.
        SupersededNhsNumber = "superseded-nhs-number",
        /// PDS, or the document, says that the person has died.
        Deceased = "deceased",
        /// The message names no care home although the person goes to one.
        CareHomeMissing = "care-home-missing",
        /// The home is not in the directory, or its entry has expired.
        CareHomeUnknown = "care-home-unknown",
        /// Two places of the message name different homes.
        CareHomeConflict = "care-home-conflict",
        /// The home's entry names no covering practice, or one that the directory does not know.
        CoveringPracticeUnknown = "covering-practice-unknown",
        /// The home's entry names no delivering pharmacy, or one that the directory does not know.
        PharmacyUnknown = "pharmacy-unknown",
        /// Document and PDS name different registered practices.
        RegisteredPracticeConflict = "registered-practice-conflict",
        /// No registered practice is known.
        RegisteredPracticeUnknown = "registered-practice-unknown",
        /// The person does not go to a care home, so no route applies.
        NotACareHomeDischarge = "not-a-care-home-discharge",
        /// The document replaces one that has not come, or one about another person.
        Replacement = "replacement",
        /// Something of the document could not be carried over to R4 without loss.
        ConversionLoss = "conversion-loss",
        /// A recipient's policy would cut something safety-critical out of its copy.
        DisclosureGap = "disclosure-gap",
        /// PDS could not be asked.
        DirectoryUnavailable = "directory-unavailable",
    }
);
