//! Who stood on a list that named nobody: the entry about the list keeps what it showed.

use onward_core::audit::{AuditWord, FoundAudit};
use onward_core::{DeliveryId, TransferId};

use crate::explore::query_of;

/// What a list showed that names nobody: the entry about it keeps these, so that whoever stood on it can be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Copies.
    pub copies: Vec<DeliveryId>,
    /// Transfers that no copy stands for: held ones, and those of requests.
    pub transfers: Vec<TransferId>,
}

/// Identifiers that one entry keeps at most; a longer list has several.
const SHOWN_MAX: usize = 1_000;

impl Shown {
    /// What was asked with what was shown, as entries keep it; one where nothing was.
    #[must_use]
    pub fn queries(&self, asked: &str) -> Vec<String> {
        let join = if asked.contains('?') { '&' } else { '?' };
        let copies = self.copies.chunks(SHOWN_MAX).map(|part| named("shown", part));
        let transfers = self.transfers.chunks(SHOWN_MAX).map(|part| named("about", part));
        let mut queries: Vec<_> = copies.chain(transfers).map(|part| format!("{asked}{join}{part}")).collect();
        if queries.is_empty() {
            queries.push(format!("{asked}{join}shown="));
        }
        queries
    }

    /// What the entry about a list keeps; nothing of any other entry.
    #[must_use]
    pub fn on(entry: &FoundAudit) -> Self {
        let query = Some(entry).filter(|entry| entry.word == AuditWord::Query && entry.patient.is_none());
        let query = query.and_then(query_of).unwrap_or_default();
        Self { copies: listed(&query, "shown"), transfers: listed(&query, "about") }
    }
}

fn named<T: std::fmt::Display>(name: &str, ids: &[T]) -> String {
    format!("{name}={}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// The identifiers that a query has under this name.
fn listed<T: std::str::FromStr>(query: &str, name: &str) -> Vec<T> {
    let mut parts = query.split(['&', '?']).filter_map(|part| part.split_once('='));
    let ids = parts.find(|(found, _)| *found == name).map(|(_, ids)| ids).unwrap_or_default();
    ids.split(',').filter_map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let (copy, transfer) = (DeliveryId::random(), TransferId::random());
        let shown = Shown { copies: vec![copy; SHOWN_MAX + 1], transfers: vec![transfer] };
        let queries = shown.queries("operations?queue=dead");
        assert_eq!(queries.len(), 3, "as many entries as it takes");
        assert_eq!(queries[2], format!("operations?queue=dead&about={transfer}"));
        assert_eq!(listed::<DeliveryId>(&queries[0], "shown").len(), SHOWN_MAX);
        assert_eq!(listed::<DeliveryId>(&queries[1], "shown"), [copy]);
        assert_eq!(listed::<TransferId>(&queries[2], "about"), [transfer]);
        assert_eq!(listed::<DeliveryId>(&format!("inbox?shown={copy},no,{copy}"), "shown"), [copy; 2]);
        assert_eq!(Shown::default().queries("holds"), ["holds?shown="]);
        assert!(listed::<DeliveryId>("holds?shown=", "shown").is_empty());
    }
}
