//! By which disclosure policy a copy left, as its entry names it, beside the one in force now.

use onward_transform::disclose::Policy;

use super::exposure::{Exposure, Extent};

/// What [`Policy::basis`] puts before recipient and version.
const POLICY: &str = "; policy ";

/// The policy of one copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Applied {
    /// The version in force now.
    InForce(String),
    /// Another version, or a policy that there is no more: what is in force now does not tell what the copy held.
    Differs(String),
    /// The entry names none.
    Unnamed,
}

impl Applied {
    /// Of a copy; `None`: what was seen is no copy, and no policy made it.
    pub(super) fn of(exposure: &Exposure, policies: &[Policy]) -> Option<Self> {
        if !matches!(exposure.extent, Extent::Copy(_)) {
            return None;
        }
        let Some((_, named)) = exposure.basis.as_deref().and_then(|basis| basis.rsplit_once(POLICY)) else {
            return Some(Self::Unnamed);
        };
        let is_in_force = policies.iter().any(|policy| format!("{} {}", policy.recipient, policy.version) == named);
        Some(if is_in_force { Self::InForce(named.to_owned()) } else { Self::Differs(named.to_owned()) })
    }

    /// Recipient and version, where the entry names them.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            Self::InForce(named) | Self::Differs(named) => Some(named),
            Self::Unnamed => None,
        }
    }

    /// How it stands to what is in force now.
    pub(super) fn standing(&self) -> &'static str {
        match self {
            Self::InForce(_) => "in force",
            Self::Differs(_) => "differs from what is in force now",
            Self::Unnamed => "not named by the entry",
        }
    }
}
