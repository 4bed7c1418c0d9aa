//! An issue of an OperationOutcome: what was found, as whoever finds it says it.

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The FHIR code.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes!(
    /// `issue.severity`, the mildest first.
    Severity {
        /// To be known.
        Information = "information",
        /// To be mended, the message passes.
        Warning = "warning",
        /// The message does not pass.
        Error = "error",
        /// Nothing further was looked at.
        Fatal = "fatal",
    }
);

codes!(
    /// `issue.code` (FHIR R4 IssueType).
    IssueCode {
        /// Content does not fit the specification.
        Invalid = "invalid",
        /// Structural: bad nesting, bad reference, cannot be read.
        Structure = "structure",
        /// A mandatory element is missing.
        Required = "required",
        /// A value is not of its kind.
        Value = "value",
        /// A rule between elements fails.
        Invariant = "invariant",
        /// Who is it?
        Security = "security",
        /// Credentials are missing or wrong.
        Login = "login",
        /// The account does not exist.
        Unknown = "unknown",
        /// The session has ended.
        Expired = "expired",
        /// Not allowed.
        Forbidden = "forbidden",
        /// Some of it is not shown.
        Suppressed = "suppressed",
        /// Processing failed.
        Processing = "processing",
        /// Not supported.
        NotSupported = "not-supported",
        /// The same came already.
        Duplicate = "duplicate",
        /// Several match where one may.
        MultipleMatches = "multiple-matches",
        /// Not found.
        NotFound = "not-found",
        /// Deleted.
        Deleted = "deleted",
        /// Too long or too large.
        TooLong = "too-long",
        /// A code is not of its value set.
        CodeInvalid = "code-invalid",
        /// An extension is not accepted.
        Extension = "extension",
        /// Too costly.
        TooCostly = "too-costly",
        /// A rule of the business fails.
        BusinessRule = "business-rule",
        /// Another version, or another content under the same identifier.
        Conflict = "conflict",
        /// For the moment not possible.
        Transient = "transient",
        /// Could not be locked.
        LockError = "lock-error",
        /// No store.
        NoStore = "no-store",
        /// A fault of ours.
        Exception = "exception",
        /// Took too long.
        Timeout = "timeout",
        /// Not all of it is there.
        Incomplete = "incomplete",
        /// Too many.
        Throttled = "throttled",
        /// To be known.
        Informational = "informational",
    }
);

/// One issue of an OperationOutcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// How grave.
    pub severity: Severity,
    /// Of what kind.
    pub code: IssueCode,
    /// FHIRPath of the place; none for the whole message.
    pub expression: Option<String>,
    /// What was expected, what was found, how to mend it. Never patient data.
    pub diagnostics: String,
    /// ITK response code, where one exists.
    pub itk_code: Option<u32>,
}
