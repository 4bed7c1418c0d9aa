//! Code systems that are a syntax rather than a list: judged by rule.

mod language;
mod media_type;
mod ucum;

use super::Membership;

/// Which syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// `urn:ietf:bcp:13`: media types.
    MediaType,
    /// `urn:ietf:bcp:47`: language tags.
    Language,
    /// `http://unitsofmeasure.org`: units.
    Ucum,
}

/// The rule of a code system, when it has one.
pub(super) fn rule(system: &str) -> Option<Rule> {
    match system {
        "urn:ietf:bcp:13" => Some(Rule::MediaType),
        "urn:ietf:bcp:47" => Some(Rule::Language),
        "http://unitsofmeasure.org" => Some(Rule::Ucum),
        _ => None,
    }
}

impl Rule {
    /// Whether a code exists.
    pub(super) fn judge(self, code: &str) -> Membership {
        match self {
            Self::MediaType => media_type::judge(code),
            Self::Language => language::judge(code),
            Self::Ucum => match ucum::is_unit(code) {
                true => Membership::Yes { display: None },
                false => Membership::No,
            },
        }
    }
}
