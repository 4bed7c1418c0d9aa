//! By which disclosure policy a copy left, as its entry names it, and whether that policy's text is kept.

use onward_core::Timestamp;
use onward_gateway::sent::Dated;
use onward_transform::disclose::Policy;

use super::exposure::{Exposure, Extent};

/// What [`Policy::basis`] puts before recipient and version.
const POLICY: &str = "; policy ";

/// The policies that tell what a copy held.
pub(super) struct Policies {
    /// As starts put them in force, and the log tells it.
    pub(super) kept: Vec<Dated>,
    /// Of the configuration now, for what no kept one made.
    pub(super) now: Vec<Policy>,
}

/// The policy of one copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Applied {
    /// Its text is kept, in force since then.
    Kept(String, Timestamp),
    /// What its text said is not known: what is in force now does not tell what the copy held.
    NotKept(String),
    /// The entry names none.
    Unnamed,
}

impl Applied {
    /// Of a copy; `None`: what was seen is no copy, and no policy made it.
    pub(super) fn of(exposure: &Exposure, policies: &Policies) -> Option<Self> {
        if !matches!(exposure.extent, Extent::Copy(_)) {
            return None;
        }
        let named = exposure.basis.as_deref().and_then(|basis| Some((basis, basis.rsplit_once(POLICY)?.1)));
        let Some((basis, named)) = named else { return Some(Self::Unnamed) };
        let made = |dated: &&Dated| dated.policy.made(basis) && dated.since <= exposure.made;
        Some(match policies.kept.iter().filter(made).max_by_key(|dated| dated.since) {
            Some(dated) => Self::Kept(named.to_owned(), dated.since),
            None => Self::NotKept(named.to_owned()),
        })
    }

    /// The policies by which what these copies held is told: those that made them; where one is not kept, the one for the same kind of
    /// recipient in force now; where none is named, all of these.
    pub(super) fn policies<'a>(all: impl IntoIterator<Item = &'a Self>, policies: &Policies) -> Vec<Policy> {
        let mut found: Vec<Policy> = Vec::new();
        for each in all {
            match each {
                Self::Kept(named, since) => {
                    let basis = format!("{POLICY}{named}");
                    let made = policies.kept.iter().find(|dated| dated.since == *since && dated.policy.made(&basis));
                    found.extend(made.map(|dated| dated.policy.clone()));
                }
                Self::NotKept(named) => {
                    let kind = named.split(' ').next();
                    let own = policies.now.iter().filter(|policy| kind == Some(policy.recipient.as_str()));
                    found.extend(own.cloned());
                }
                Self::Unnamed => found.extend_from_slice(&policies.now),
            }
        }
        found
    }

    /// Recipient and version, where the entry names them.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            Self::Kept(named, _) | Self::NotKept(named) => Some(named),
            Self::Unnamed => None,
        }
    }

    /// Whether its text is known.
    pub(super) fn standing(&self) -> &'static str {
        match self {
            Self::Kept(..) => "its text is kept",
            Self::NotKept(_) => "its text is not kept",
            Self::Unnamed => "not named by the entry",
        }
    }
}
