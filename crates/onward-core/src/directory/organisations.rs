//! What the Organisation Data Service says of organisations, and the port to it.

use std::fmt;

use async_trait::async_trait;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::OdsCode;
use crate::transport::SendError;

/// What ODS knows of an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its code.
    pub ods: OdsCode,
    /// Its name.
    pub name: String,
    /// What ODS calls it. A dissolved body stays active for months: see the dates.
    pub active: bool,
    /// The last day on which it exists in law.
    pub legal_end: Option<Date>,
    /// The last day on which it works.
    pub operational_end: Option<Date>,
    /// Its roles that are active, such as `RO76` (GP practice).
    pub roles: Vec<String>,
    /// Those that came after it; several where it was divided.
    pub successors: Vec<OdsCode>,
}

impl Organisation {
    /// Whether it is there on this day.
    #[must_use]
    pub fn stands(&self, day: Date) -> bool {
        self.active && self.ends().is_none_or(|end| end >= day)
    }

    /// The earlier of its last days.
    #[must_use]
    pub fn ends(&self) -> Option<Date> {
        self.legal_end.into_iter().chain(self.operational_end).min()
    }

    /// Its end, behind or ahead; of one that is inactive and has no date in the past, as it was seen `today`.
    #[must_use]
    pub fn end(&self, today: Date) -> Option<OdsEnd> {
        let last_day = match (self.ends(), self.active) {
            (Some(end), true) => end,
            (end, false) => {
                let yesterday = today.yesterday().unwrap_or(today);
                end.map_or(yesterday, |end| end.min(yesterday))
            }
            (None, true) => return None,
        };
        Some(OdsEnd { last_day, successors: self.successors.clone() })
    }
}

/// The end of an organisation, and who comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OdsEnd {
    /// The last day on which it is there.
    pub last_day: Date,
    /// Those that come after it; several where it was divided.
    #[serde(default)]
    pub successors: Vec<OdsCode>,
}

impl fmt::Display for OdsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closed after {}", self.last_day)?;
        let after: Vec<&str> = self.successors.iter().map(OdsCode::as_str).collect();
        if after.is_empty() { Ok(()) } else { write!(f, ", and after it comes {}", after.join(" and ")) }
    }
}

/// ODS.
#[async_trait]
pub trait Organisations: Send + Sync + 'static {
    /// One organisation; `None` where ODS knows none of this code.
    ///
    /// # Errors
    /// See [`SendError`]; never unknown.
    async fn organisation(&self, ods: &OdsCode) -> Result<Option<Organisation>, SendError>;
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn an_end_is_told_whether_it_is_behind_or_ahead() {
        let today = date(2026, 11, 28);
        let standing = Organisation {
            ods: "Y99002".parse().expect("a code"),
            name: String::new(),
            active: true,
            legal_end: None,
            operational_end: None,
            roles: Vec::new(),
            successors: vec!["Y99003".parse().expect("a code")],
        };
        assert_eq!(standing.end(today), None);
        let last_day = |organisation: Organisation| organisation.end(today).map(|end| end.last_day);
        let ahead = Organisation { legal_end: Some(date(2026, 12, 31)), ..standing.clone() };
        assert_eq!(last_day(ahead.clone()), Some(date(2026, 12, 31)));
        let earlier = Organisation { operational_end: Some(date(2026, 3, 31)), ..ahead.clone() };
        assert_eq!(last_day(earlier), Some(date(2026, 3, 31)), "it works no more, whatever the law says");
        assert_eq!(
            last_day(Organisation { active: false, ..ahead }),
            Some(date(2026, 11, 27)),
            "it is not there today"
        );
        let silent = Organisation { active: false, ..standing };
        let end = silent.end(today).expect("an end");
        assert_eq!(end.to_string(), "closed after 2026-11-27, and after it comes Y99003");
    }
}
