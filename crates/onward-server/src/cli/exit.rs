//! How a command ends: the four exit codes of interface.md, and which fault means which.

use std::process::ExitCode;

use onward_core::store::StoreError;

use crate::config::ConfigError;

/// The exit codes; there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It did it.
    Done = 0,
    /// The answer is no: invalid, mismatch, not found.
    No = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// A fault: I/O, network, store.
    Fault = 3,
}

impl Exit {
    /// [`Exit::Done`] for yes, [`Exit::No`] for no.
    #[must_use]
    pub fn answer(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that stopped before its answer was complete, and why.
#[derive(Debug)]
pub(super) struct Failure {
    /// With which code.
    pub exit: Exit,
    /// Why, with its causes.
    pub error: anyhow::Error,
}

/// What a command comes to.
pub(super) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// The answer is no.
    pub(super) fn no(text: impl Into<String>) -> Self {
        Self { exit: Exit::No, error: anyhow::Error::msg(text.into()) }
    }

    /// The caller must change the command or the configuration.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, error: anyhow::Error::msg(text.into()) }
    }

    /// The configuration cannot be used.
    pub(super) fn configuration(error: anyhow::Error) -> Self {
        Self { exit: Exit::Usage, error }
    }

    /// Something outside the command failed.
    pub(super) fn fault(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Fault, error: error.into() }
    }
}

impl From<anyhow::Error> for Failure {
    /// A fault, unless the configuration is behind it.
    fn from(error: anyhow::Error) -> Self {
        let exit = if error.chain().any(|cause| cause.is::<ConfigError>()) { Exit::Usage } else { Exit::Fault };
        Self { exit, error }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::fault(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::fault(error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let config = || ConfigError { problems: vec!["unknown key".to_owned()] };
        assert_eq!(Failure::from(config()).exit, Exit::Usage);
        let wrapped = Err::<(), _>(config()).context("reading the rules").expect_err("an error");
        assert_eq!(Failure::from(wrapped).exit, Exit::Usage);
        assert_eq!(Failure::from(StoreError::Unavailable("full".to_owned())).exit, Exit::Fault);
        assert_eq!(Failure::from(StoreError::Corrupt("row".to_owned())).exit, Exit::Fault);
        assert_eq!(Failure::from(std::io::Error::other("gone")).exit, Exit::Fault);
        assert_eq!(Failure::from(anyhow::anyhow!("network")).exit, Exit::Fault);
        assert_eq!(Failure::no("not found").exit, Exit::No);
        assert_eq!(Failure::usage("both").exit, Exit::Usage);
    }

    #[test]
    fn the_codes_are_those_of_the_interface() {
        assert_eq!([Exit::Done, Exit::No, Exit::Usage, Exit::Fault].map(|exit| exit as u8), [0, 1, 2, 3]);
        assert_eq!(Exit::answer(true), Exit::Done);
        assert_eq!(Exit::answer(false), Exit::No);
    }
}
