//! Code systems that are judged by rule: a syntax, or a list that a library holds.

mod language;
mod media_type;
mod ucum;

use std::collections::HashSet;
use std::sync::LazyLock;

use super::Membership;

/// The bundled database, not the machine's: the same answer everywhere.
static TIME_ZONES: LazyLock<HashSet<String>> =
    LazyLock::new(|| jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect());

/// Which syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// `urn:ietf:bcp:13`: media types.
    MediaType,
    /// `urn:ietf:bcp:47`: language tags.
    Language,
    /// `http://unitsofmeasure.org`: units.
    Ucum,
    /// `https://www.iana.org/time-zones`: names of the time zone database.
    TimeZone,
}

/// The rule of a code system, when it has one.
pub(super) fn rule(system: &str) -> Option<Rule> {
    match system {
        "urn:ietf:bcp:13" => Some(Rule::MediaType),
        "urn:ietf:bcp:47" => Some(Rule::Language),
        "http://unitsofmeasure.org" => Some(Rule::Ucum),
        "https://www.iana.org/time-zones" => Some(Rule::TimeZone),
        _ => None,
    }
}

impl Rule {
    /// Whether a code exists.
    pub(super) fn judge(self, code: &str) -> Membership {
        match self {
            Self::MediaType => media_type::judge(code),
            Self::Language => language::judge(code),
            Self::Ucum => known(ucum::is_unit(code)),
            Self::TimeZone => known(TIME_ZONES.contains(code)),
        }
    }
}

fn known(is_known: bool) -> Membership {
    if is_known { Membership::Yes { display: None } } else { Membership::No }
}
