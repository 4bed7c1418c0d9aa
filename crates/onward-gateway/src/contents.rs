//! What the bytes of copies carry, computed from those bytes when they leave.
//!
//! A list is named by the SHA-256 of its names; audit entries tell digests of bytes and list, so that both are in the log. The store
//! keeps each list once. What a copy carries is the same each time, so it is read once and remembered for a while.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use onward_core::store::{Contents, StoredRendition};
use onward_transform::disclose::carried;

/// Copies whose contents are remembered, a few hundred bytes each: a backlog that leaves is not read once more.
const REMEMBERED: usize = 8_192;

/// The media type of pages for people.
pub(crate) const PAGE: &str = "text/html";

/// Bytes that leave: their SHA-256, and what they carry.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub(crate) sha256: String,
    pub(crate) contents: Arc<Contents>,
}

type Digest = [u8; 32];

/// What was read lately.
#[derive(Default)]
pub(crate) struct Reader {
    lately: Mutex<Lately>,
}

#[derive(Default)]
struct Lately {
    /// By the digest of the bytes.
    known: HashMap<Digest, Arc<Contents>>,
    order: VecDeque<Digest>,
    /// By their own digest: most copies of one kind carry the same, and the list has kilobytes.
    lists: HashMap<Digest, Weak<Contents>>,
}

impl Reader {
    /// What these bytes carry, and their SHA-256.
    pub(crate) fn of(&self, media_type: &str, bytes: &[u8]) -> Leaving {
        let (digest, contents) = self.read(media_type, bytes);
        Leaving { sha256: hex::encode(digest), contents }
    }

    /// Reads what these bytes carry before it is asked for.
    pub(crate) fn read_ahead(&self, media_type: &str, bytes: &[u8]) {
        self.read(media_type, bytes);
    }

    fn read(&self, media_type: &str, bytes: &[u8]) -> (Digest, Arc<Contents>) {
        let digest = crate::sha256(bytes);
        let known = self.lately().known.get(&digest).cloned();
        let contents = known.unwrap_or_else(|| {
            let contents = of(media_type, bytes);
            let mut lately = self.lately();
            let contents = lately.shared(contents);
            lately.keep(digest, &contents);
            contents
        });
        (digest, contents)
    }

    /// What a reader of the page gets, or, where there is none, of the body.
    pub(crate) fn of_page(&self, rendition: &StoredRendition) -> Leaving {
        match &rendition.html {
            Some(html) => self.of(PAGE, html),
            None => self.of(&rendition.media_type, &rendition.body),
        }
    }

    fn lately(&self) -> std::sync::MutexGuard<'_, Lately> {
        // What is kept is whole whenever the lock is free.
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lately {
    /// The list itself, or one that says the same and is remembered.
    fn shared(&mut self, contents: Contents) -> Arc<Contents> {
        if let Some(known) = self.lists.get(&contents.sha256).and_then(Weak::upgrade) {
            return known;
        }
        if self.lists.len() >= REMEMBERED {
            self.lists.retain(|_, list| list.strong_count() > 0);
        }
        let (digest, contents) = (contents.sha256, Arc::new(contents));
        self.lists.insert(digest, Arc::downgrade(&contents));
        contents
    }

    fn keep(&mut self, of: Digest, contents: &Arc<Contents>) {
        if self.known.insert(of, Arc::clone(contents)).is_none() {
            self.order.push_back(of);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// The list of what these bytes carry.
#[must_use]
pub fn of(media_type: &str, bytes: &[u8]) -> Contents {
    listed(&carried(media_type, bytes))
}

/// These names as a list.
pub(crate) fn listed(of: &BTreeSet<String>) -> Contents {
    let mut names = String::new();
    for name in of {
        names.push_str(name);
        names.push('\n');
    }
    Contents { sha256: crate::sha256(names.as_bytes()), names }
}

/// Whether a list is what its digest says.
#[must_use]
pub fn fits(contents: &Contents) -> bool {
    crate::sha256(contents.names.as_bytes()) == contents.sha256
}

/// The digest that an AuditEvent names its list by; none where it names none.
#[must_use]
pub fn named_by(event: &serde_json::Value) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(detail(event, DETAIL)?, &mut digest).ok()?;
    Some(digest)
}

/// The type of the detail that names a list.
pub(crate) const DETAIL: &str = "contents";

fn detail<'e>(event: &'e serde_json::Value, kind: &str) -> Option<&'e str> {
    let entities = event["entity"].as_array().into_iter().flatten();
    let mut details = entities.filter_map(|entity| entity["detail"].as_array()).flatten();
    details.find(|detail| detail["type"] == kind)?["valueString"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_lately_is_remembered_and_no_more() {
        let reader = Reader::default();
        let first = reader.of("application/fhir+json", br#"{"resourceType":"Patient","active":true}"#);
        assert_eq!(first.contents.names, "envelope Patient.active\n");
        assert!(fits(&first.contents) && !fits(&Contents { names: String::new(), ..(*first.contents).clone() }));
        for number in 0..REMEMBERED + 10 {
            reader.of(PAGE, format!("{number}").as_bytes());
        }
        let lately = reader.lately();
        assert_eq!((lately.known.len(), lately.order.len()), (REMEMBERED, REMEMBERED));
        assert!(lately.lists.len() <= 2, "what says the same is remembered once");
    }

    #[test]
    fn copies_that_carry_the_same_share_one_list_and_lists_go_with_the_last_of_them() {
        let reader = Reader::default();
        let named = |name: &str| format!("{{\"resourceType\":\"Patient\",\"name\":[{{\"text\":\"{name}\"}}]}}");
        let [one, other] = ["Ann", "Bo"].map(|name| reader.of("application/fhir+json", named(name).as_bytes()));
        assert!(Arc::ptr_eq(&one.contents, &other.contents) && one.sha256 != other.sha256);
        let different = |number: usize| format!("page <h2>{number}</h2><ul></ul>");
        let mut lately = Lately::default();
        let lists = (0..3 * REMEMBERED).map(|number| listed(&BTreeSet::from([different(number)])));
        let kept: Vec<_> = lists.map(|list| Arc::downgrade(&lately.shared(list))).collect();
        assert!(kept.iter().all(|list| list.strong_count() == 0));
        assert!(lately.lists.len() <= REMEMBERED, "{}", lately.lists.len());
    }
}
