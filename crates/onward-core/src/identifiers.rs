//! NHS and Onward identifiers. Those that identify a person print redacted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it claims to be. Never carries the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Not ten digits.
    #[error("an NHS number has ten digits")]
    NhsNumberShape,
    /// The modulus-11 check digit does not fit (NHS Data Dictionary, NHS NUMBER).
    #[error("the check digit of the NHS number does not fit")]
    NhsNumberCheckDigit,
    /// Not an ODS code: 3 to 12 upper-case letters and digits.
    #[error("an ODS code has 3 to 12 letters and digits")]
    OdsCode,
    /// Not a MESH mailbox: 4 to 20 letters and digits.
    #[error("a MESH mailbox identifier has 4 to 20 letters and digits")]
    MeshMailboxId,
    /// Not a MESH workflow identifier.
    #[error("a MESH workflow identifier has 1 to 300 visible characters")]
    WorkflowId,
    /// Not a UUID.
    #[error("an Onward identifier is a UUID")]
    Uuid,
}

/// A ten-digit NHS number whose check digit fits. Prints redacted; [`NhsNumber::expose`] gives the digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NhsNumber(String);

impl NhsNumber {
    /// The digits. Only for the message itself, the directory look-up and the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for NhsNumber {
    type Err = IdentifierError;

    /// Accepts ten digits, with the spaces that people write (`999 000 0018`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != ' ').collect();
        let bytes = digits.as_bytes();
        if bytes.len() != 10 || !bytes.iter().all(u8::is_ascii_digit) {
            return Err(IdentifierError::NhsNumberShape);
        }
        let sum: u32 = bytes[..9].iter().zip((2..=10).rev()).map(|(b, weight)| u32::from(b - b'0') * weight).sum();
        let expected = match 11 - sum % 11 {
            11 => 0,
            10 => return Err(IdentifierError::NhsNumberCheckDigit),
            check => check,
        };
        if u32::from(bytes[9] - b'0') != expected {
            return Err(IdentifierError::NhsNumberCheckDigit);
        }
        Ok(Self(digits))
    }
}

impl TryFrom<String> for NhsNumber {
    type Error = IdentifierError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NhsNumber> for String {
    fn from(number: NhsNumber) -> Self {
        number.0
    }
}

impl fmt::Debug for NhsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NhsNumber(redacted)")
    }
}

macro_rules! code {
    ($(#[$doc:meta])* $name:ident, $error:ident, |$text:ident| $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The code as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentifierError;
            fn from_str($text: &str) -> Result<Self, Self::Err> {
                if $valid { Ok(Self($text.to_owned())) } else { Err(IdentifierError::$error) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdentifierError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(code: $name) -> Self {
                code.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

code!(
    /// A code of the Organisation Data Service. Its shape never tells the kind of organisation: roles do.
    OdsCode, OdsCode,
    |text| (3..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
);
code!(
    /// A mailbox of the Message Exchange for Social Care and Health.
    MeshMailboxId, MeshMailboxId,
    |text| (4..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
);
code!(
    /// A MESH workflow identifier such as `TOC_FHIR_IP_DISCH`.
    WorkflowId, WorkflowId,
    |text| (1..=300).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

macro_rules! uuid_identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier, random behind the moment of its making (UUID version 7, RFC 9562 section 5.7): a store finds those of one hour
            /// beside one another, and changes few pages of its indexes for many of them.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl FromStr for $name {
            type Err = IdentifierError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdentifierError::Uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_identifier!(
    /// One accepted message; also the id of the transfer's Task.
    TransferId
);
uuid_identifier!(
    /// One recipient's copy; also the id of that recipient's Task and of its Bundle.
    DeliveryId
);
uuid_identifier!(
    /// One wait for a person's decision.
    HoldId
);
uuid_identifier!(
    /// One thing that a person has asked for and another is to decide.
    ApprovalId
);
uuid_identifier!(
    /// One replay of a copy.
    ReplayId
);
uuid_identifier!(
    /// One decision to send many copies again.
    BulkId
);
uuid_identifier!(
    /// One account of a person who signs in.
    UserId
);
uuid_identifier!(
    /// One session of such a person. It names the session and opens nothing.
    SessionId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nhs_number_check_digit() {
        for valid in ["9000000009", "9000000017", "900 000 0025", "9912003888", "9476719931"] {
            assert!(valid.parse::<NhsNumber>().is_ok(), "{valid}");
        }
        for invalid in ["1352465790", "1234567890", "9996668887", "9135246570", "9000000015"] {
            assert_eq!(invalid.parse::<NhsNumber>(), Err(IdentifierError::NhsNumberCheckDigit), "{invalid}");
        }
        for shape in ["", "900000000", "90000000090", "900000000x", "٩٠٠٠٠٠٠٠٠٩"] {
            assert_eq!(shape.parse::<NhsNumber>(), Err(IdentifierError::NhsNumberShape), "{shape}");
        }
    }

    #[test]
    fn at_most_one_check_digit_fits() {
        for nine in ["999000001", "999123456", "999999999", "999000010"] {
            assert!((0..=9).filter(|digit| format!("{nine}{digit}").parse::<NhsNumber>().is_ok()).count() <= 1);
        }
    }

    #[test]
    fn nhs_number_prints_redacted() {
        let number: NhsNumber = "9000000009".parse().expect("valid");
        assert!(!format!("{number:?}").contains('9'));
    }

    #[test]
    fn codes_refuse_what_could_be_a_path_or_a_header() {
        for hostile in ["", "A", "a82608", "A8/2608", "A82\r\n", "../ABC"] {
            assert!(hostile.parse::<OdsCode>().is_err(), "{hostile:?}");
        }
        assert!("A82608".parse::<OdsCode>().is_ok());
        assert!("X26ABC1".parse::<MeshMailboxId>().is_ok());
        assert!("X26/ABC1".parse::<MeshMailboxId>().is_err());
    }
}
