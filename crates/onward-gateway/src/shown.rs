//! What the entry about a list that names nobody keeps of it; [`crate::sightings`] finds people by that.

use onward_core::{DeliveryId, TransferId};

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
    /// What was asked with what was shown, as entries keep it: one entry for one look, unless the list is longer than an entry keeps.
    #[must_use]
    pub fn queries(&self, asked: &str) -> Vec<String> {
        let join = if asked.contains('?') { '&' } else { '?' };
        let name = if self.copies.is_empty() && !self.transfers.is_empty() { "about" } else { "shown" };
        let copies = self.copies.iter().map(ToString::to_string);
        let ids: Vec<_> = copies.chain(self.transfers.iter().map(ToString::to_string)).collect();
        let mut queries: Vec<_> =
            ids.chunks(SHOWN_MAX).map(|part| format!("{asked}{join}{name}={}", part.join(","))).collect();
        if queries.is_empty() {
            queries.push(format!("{asked}{join}{name}="));
        }
        queries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sightings::kept;

    #[test]
    fn what_is_kept_is_read_again() {
        let (copy, transfer) = (DeliveryId::random(), TransferId::random());
        let shown = Shown { copies: vec![copy; SHOWN_MAX], transfers: vec![transfer] };
        let queries = shown.queries("operations?queue=dead");
        assert_eq!(queries.len(), 2, "as many entries as it takes");
        assert_eq!(kept(&queries[0]).len(), SHOWN_MAX);
        assert_eq!(kept(&queries[1]), [transfer.to_string()]);
        // One look at both is one entry.
        let queries = Shown { copies: vec![copy], transfers: vec![transfer] }.queries("operations");
        assert_eq!(queries, [format!("operations?shown={copy},{transfer}")]);
        assert_eq!(kept(&queries[0]), [copy.to_string(), transfer.to_string()]);
        let held = Shown { transfers: vec![transfer], ..Shown::default() };
        assert_eq!(held.queries("holds"), [format!("holds?about={transfer}")]);
        assert_eq!(Shown::default().queries("holds"), ["holds?shown="]);
        assert!(kept("holds?shown=").is_empty());
    }
}
