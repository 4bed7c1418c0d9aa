//! Why a message is not accepted, and whose fault that is. The HTTP edge alone maps these to statuses.

use onward_validate::Findings;

/// A message that does not become a transfer. Texts never carry patient data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not readable FHIR (10009).
    #[error("the message cannot be read: {message}")]
    Unreadable {
        /// The syntax is right, but what it says is not FHIR.
        well_formed: bool,
        /// What was wrong, without content.
        message: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Larger than accepted, in bytes, entries or depth (20015).
    #[error("the message is too large: {0}")]
    TooLarge(String),
    /// Declared in another character set than UTF-8.
    #[error("the message must be in UTF-8")]
    ForeignCharset,
    /// It is readable FHIR with errors.
    #[error("the message is not valid")]
    NotValid(Findings),
    /// It is a message, but no discharge: a response, or another service's event.
    #[error("event {0} is no transfer-of-care document: responses are taken in by MESH, discharges here")]
    NotADischarge(String),
    /// The client may not send for the organisation that the message names (20012).
    #[error("the message names another sender than the client's organisation")]
    WrongSender,
    /// The message identifier was used for other content (20007).
    #[error("the message identifier was used before for other content")]
    MessageIdReused,
    /// The document came before in another message (20008).
    #[error("the document came before in another message")]
    DocumentRepeated,
    /// The document replaces one that cannot be replaced by it (20014).
    #[error("the document cannot take the place of the one that it replaces: {0}")]
    NotReplaceable(&'static str),
    /// An attachment holds malware (20004).
    #[error("attachment {number} holds malware: {name}")]
    Malware {
        /// Which attachment, from 1.
        number: usize,
        /// Its name in the scanner's signatures.
        name: String,
    },
    /// The document says of itself that it is wrong (20009).
    #[error("the document was entered in error: its transfer is withdrawn by its Task, not by a message")]
    InError,
}

impl Refusal {
    /// The ITK3 response code that says it.
    #[must_use]
    pub fn itk_code(&self) -> u32 {
        match self {
            Self::Unreadable { .. } | Self::ForeignCharset => 10009,
            Self::TooLarge(_) => 20015,
            Self::NotValid(findings) => findings.itk_code().unwrap_or(20009),
            Self::NotADischarge(_) => 10008,
            Self::WrongSender => 20012,
            Self::MessageIdReused => 20007,
            Self::DocumentRepeated => 20008,
            Self::NotReplaceable(_) => 20014,
            Self::Malware { .. } => 20004,
            Self::InError => 20009,
        }
    }

    /// A word for audit and logs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::ForeignCharset => "foreign-charset",
            Self::TooLarge(_) => "too-large",
            Self::NotValid(_) => "not-valid",
            Self::NotADischarge(_) => "not-a-discharge",
            Self::WrongSender => "wrong-sender",
            Self::MessageIdReused => "message-id-reused",
            Self::DocumentRepeated => "document-repeated",
            Self::NotReplaceable(_) => "not-replaceable",
            Self::Malware { .. } => "malware",
            Self::InError => "entered-in-error",
        }
    }
}
