//! How long a recipient was paused, as the log tells it: a pause that has ended stands nowhere else.

use jiff::{SignedDuration, Timestamp};
use onward_core::OdsCode;
use onward_core::audit::{AuditQuery, AuditWord, FoundAudit};
use onward_core::store::{Pause, Store, StoreError};

use crate::explore::{everything, told};
use crate::operate::{PAUSED, RESUMED, named};
use crate::sightings::all;

/// The pauses since a moment.
pub(crate) struct Pauses {
    /// Whom (as [`named`]), when, and whether it began; the oldest first.
    changes: Vec<(String, Timestamp, bool)>,
    /// Those that have not ended.
    running: Vec<Pause>,
}

impl Pauses {
    /// Reads those that ended at or after `from`, or have not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn since(store: &dyn Store, from: Timestamp) -> Result<Self, StoreError> {
        let running = store.pauses().await?;
        let words = vec![AuditWord::Configure];
        let found = all(store, AuditQuery { words, from: Some(from), ..everything(None) }).await?;
        Ok(Self { changes: found.iter().rev().filter_map(change).collect(), running })
    }

    /// For how long between two moments nothing was sent to this recipient, because it or everybody was paused.
    pub(crate) fn paused(&self, recipient: &OdsCode, from: Timestamp, until: Timestamp) -> SignedDuration {
        let mut spans = [None, Some(recipient)].map(|whom| self.spans(whom, from, until)).concat();
        spans.sort_unstable();
        let (mut paused, mut counted) = (SignedDuration::ZERO, from);
        for (began, ended) in spans {
            let began = began.max(counted);
            if ended.min(until) > began {
                paused += ended.min(until).duration_since(began);
                counted = ended.min(until);
            }
        }
        paused
    }

    fn spans(&self, whom: Option<&OdsCode>, from: Timestamp, until: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let name = named(whom);
        let (mut spans, mut began) = (Vec::new(), None);
        for (_, at, begins) in self.changes.iter().filter(|(of, ..)| *of == name) {
            if *begins {
                began = Some(*at);
            } else {
                // One that began before what was read.
                spans.push((began.take().unwrap_or(from), *at));
            }
        }
        spans.extend(
            self.running.iter().filter(|pause| pause.recipient.as_ref() == whom).map(|pause| (pause.since, until)),
        );
        spans
    }
}

fn change(entry: &FoundAudit) -> Option<(String, Timestamp, bool)> {
    let detail = told(entry)?;
    let (whom, rest) = detail.split_once(' ')?;
    let begins = rest.starts_with(PAUSED);
    (begins || rest.starts_with(RESUMED)).then(|| (whom.to_owned(), entry.recorded, begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn time_counts_once_however_many_pauses_lay_over_it() {
        let [one, other] = ["VM1AB", "VM9ZZ"].map(|code| code.parse::<OdsCode>().expect("a code"));
        let changes = [
            ("VM1AB", 10, true),
            ("everybody", 15, true),
            ("VM1AB", 20, false),
            ("everybody", 30, false),
            ("VM9ZZ", 40, false),
            ("VM1AB", 90, true),
        ];
        let changes = changes.map(|(whom, hours, begins)| (whom.to_owned(), at(hours), begins)).into();
        let pause = |whom: &OdsCode, since| Pause {
            recipient: Some(whom.clone()),
            reason: "moving".to_owned(),
            by: "Ada Wells".to_owned(),
            since: at(since),
        };
        let pauses = Pauses { changes, running: vec![pause(&one, 90)] };
        let hours = |of: &OdsCode, from, until| pauses.paused(of, at(from), at(until)).as_hours();
        assert_eq!(hours(&one, 0, 50), 20, "10 to 20, and 15 to 30");
        assert_eq!(hours(&one, 12, 18), 6);
        assert_eq!(hours(&one, 31, 80), 0);
        assert_eq!(hours(&one, 31, 100), 10, "it has not ended");
        assert_eq!(hours(&other, 5, 50), 35, "one that began before the log was read");
        assert_eq!(hours(&other, 41, 80), 0);
        let third = "Y99001".parse().expect("a code");
        assert_eq!(hours(&third, 0, 100), 15, "everybody");
    }
}
