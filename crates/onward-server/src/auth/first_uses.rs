//! Tokens of other issuers whose first use this node knows to be audited, so that the store is asked once for each.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;

/// More are not remembered: the store knows them all.
const KEPT_MAX: usize = 10_000;

/// Hashes of tokens, until they expire.
#[derive(Default)]
pub(crate) struct FirstUses(Mutex<HashMap<[u8; 32], Timestamp>>);

impl FirstUses {
    /// Whether the first use of this token is audited, as far as this node knows.
    pub(super) fn knows(&self, hash: &[u8; 32], now: Timestamp) -> bool {
        let kept = self.0.lock().expect("no holder of it panics");
        kept.get(hash).is_some_and(|expires| *expires >= now)
    }

    /// Remembers it until it expires.
    pub(super) fn keep(&self, hash: [u8; 32], expires: Timestamp, now: Timestamp) {
        let mut kept = self.0.lock().expect("no holder of it panics");
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, expires| *expires >= now);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(hash, expires);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let uses = FirstUses::default();
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        let hash = |n: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_be_bytes());
            hash
        };
        let max = u32::try_from(KEPT_MAX).expect("few");
        for n in 0..max + 5 {
            uses.keep(hash(n), at(100), at(0));
        }
        assert!(uses.knows(&hash(0), at(100)) && uses.knows(&hash(max - 1), at(0)));
        assert!(!uses.knows(&hash(0), at(101)), "it has expired");
        assert!(!uses.knows(&hash(max), at(0)), "there was no room");
        uses.keep(hash(max), at(200), at(101));
        assert!(uses.knows(&hash(max), at(150)), "what has expired made room");
    }
}
