//! What a sender's policy leaves open.

use std::sync::Arc;

use crate::rulebook::{Levels, RuleBook};

/// What becomes of a message whose NHS number cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NhsNumberPolicy {
    /// It is refused: error.
    #[default]
    Refuse,
    /// It waits for a person: warning under the same rule.
    Hold,
}

/// The policy of one sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// NHS numbers of the wrong shape or with a check digit that does not fit.
    pub nhs_number: NhsNumberPolicy,
    /// Bytes of the whole message (ITK3: 5 MB).
    pub bytes_max: usize,
    /// Entries of all Bundles of the message together.
    pub entries_max: usize,
    /// The rules of the ITK3 profiles.
    pub rules: Arc<RuleBook>,
    /// What this sender's levels change.
    pub levels: Levels,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            nhs_number: NhsNumberPolicy::Refuse,
            bytes_max: 5 * 1024 * 1024,
            entries_max: 2_000,
            rules: RuleBook::built_in(),
            levels: Levels::default(),
        }
    }
}
