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
}

fn named<T: std::fmt::Display>(name: &str, ids: &[T]) -> String {
    format!("{name}={}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sightings::kept;

    #[test]
    fn what_is_kept_is_read_again() {
        let (copy, transfer) = (DeliveryId::random(), TransferId::random());
        let shown = Shown { copies: vec![copy; SHOWN_MAX + 1], transfers: vec![transfer] };
        let queries = shown.queries("operations?queue=dead");
        assert_eq!(queries.len(), 3, "as many entries as it takes");
        assert_eq!(queries[2], format!("operations?queue=dead&about={transfer}"));
        assert_eq!(kept(&queries[0]).len(), SHOWN_MAX);
        assert_eq!(kept(&queries[1]), [copy.to_string()]);
        assert_eq!(kept(&queries[2]), [transfer.to_string()]);
        assert_eq!(Shown::default().queries("holds"), ["holds?shown="]);
        assert!(kept("holds?shown=").is_empty());
    }
}
