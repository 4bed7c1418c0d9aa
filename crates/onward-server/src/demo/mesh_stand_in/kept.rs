//! What lies in the mailboxes: messages in one part or several, and reports about those that nobody got.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use onward_core::Timestamp;

/// Headers that travel with a message, with their greatest length.
pub(super) const CARRIED: [(&str, usize); 5] = [
    ("mex-workflowid", 300),
    ("mex-subject", 500),
    ("mex-localid", 300),
    ("mex-filename", 300),
    ("mex-content-checksum", 100),
];
/// What a report tells of the message that it is about.
const REPORTED: [&str; 3] = ["mex-workflowid", "mex-subject", "mex-localid"];
/// A message that nobody has collected for so long is reported to its sender.
const COLLECTED_WITHIN: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Of a message that nobody collected.
const UNDELIVERED: &str = "14";

/// One part as it came, with the headers that describe it.
struct Part {
    described: Vec<(HeaderName, HeaderValue)>,
    bytes: Bytes,
}

/// Why a message did not arrive, and which.
struct Report {
    linked: String,
    code: String,
    text: String,
}

/// One message, from its first part on.
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) sent: Timestamp,
    pub(super) acknowledged: Option<Timestamp>,
    carried: Vec<(&'static str, HeaderValue)>,
    parts: Vec<Option<Part>>,
    report: Option<Report>,
    /// It did not arrive; its sender has a report.
    failed: bool,
}

impl Kept {
    /// The first of `total` parts of a message.
    pub(super) fn first([id, from, to]: [String; 3], sent: Timestamp, headers: &HeaderMap, total: usize) -> Self {
        let carried = CARRIED.iter().filter_map(|(name, _)| Some((*name, headers.get(*name)?.clone()))).collect();
        let parts = std::iter::repeat_with(|| None).take(total).collect();
        Self { id, from, to, sent, acknowledged: None, carried, parts, report: None, failed: false }
    }

    /// What tells the sender of a message that it did not arrive.
    pub(super) fn report(id: String, about: &Self, at: Timestamp, [code, text]: [&str; 2]) -> Self {
        let carried = about.carried.iter().filter(|(name, _)| REPORTED.contains(name)).cloned().collect();
        let report = Report { linked: about.id.clone(), code: code.to_owned(), text: text.to_owned() };
        let (from, to) = (about.to.clone(), about.from.clone());
        // Its body is empty.
        let parts = vec![Some(Part { described: Vec::new(), bytes: Bytes::new() })];
        Self { id, from, to, sent: at, acknowledged: None, carried, parts, report: Some(report), failed: false }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        let value = self.carried.iter().find(|(carried, _)| *carried == name).map(|(_, value)| value);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Puts the part with this number, from 1, in its place; one that comes again takes it.
    pub(super) fn put(&mut self, number: usize, headers: &HeaderMap, bytes: Bytes) {
        let described = [header::CONTENT_TYPE, header::CONTENT_ENCODING]
            .into_iter()
            .filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)))
            .collect();
        if let Some(place) = self.parts.get_mut(number.wrapping_sub(1)) {
            *place = Some(Part { described, bytes });
        }
    }

    /// In how many parts it travels.
    pub(super) fn total(&self) -> usize {
        self.parts.len()
    }

    /// All its parts have come: it is its recipient's, and takes no more.
    pub(super) fn is_whole(&self) -> bool {
        self.parts.iter().all(Option::is_some)
    }

    /// It lies in this mailbox.
    pub(super) fn waits_in(&self, mailbox: &str) -> bool {
        let is_there = self.acknowledged.is_none() && !self.failed && self.is_whole();
        is_there && self.to.eq_ignore_ascii_case(mailbox)
    }

    /// Nobody has collected it in its time, and its sender has not been told.
    pub(super) fn lapses(&self, now: Timestamp) -> bool {
        let waits = self.report.is_none() && self.waits_in(&self.to);
        waits && now.duration_since(self.sent) >= COLLECTED_WITHIN
    }

    /// What MESH says of a message that nobody collected.
    pub(super) const fn uncollected() -> [&'static str; 2] {
        [UNDELIVERED, "Message not collected by recipient after 5 days"]
    }

    /// Nobody gets it any more.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.empty();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The sender still tracks it; what it said is the recipient's alone from now on.
    pub(super) fn acknowledge(&mut self, at: Timestamp) {
        self.acknowledged.get_or_insert(at);
        self.empty();
    }

    fn empty(&mut self) {
        for part in self.parts.iter_mut().flatten() {
            part.bytes = Bytes::new();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().flatten().map(|part| part.bytes.len()).sum()
    }

    /// One part as its recipient downloads it: 206 while others follow.
    pub(super) fn part(&self, number: usize) -> Response {
        if self.acknowledged.is_some() || self.failed {
            return StatusCode::GONE.into_response();
        }
        let part = number.checked_sub(1).and_then(|at| self.parts.get(at)).and_then(Option::as_ref);
        let Some(part) = part.filter(|_| self.is_whole()) else { return StatusCode::NOT_FOUND.into_response() };
        let mut response = part.bytes.clone().into_response();
        let total = self.total();
        if number < total {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        for (name, value) in &self.carried {
            headers.insert(*name, value.clone());
        }
        headers.extend(part.described.iter().cloned());
        let (kind, event, success, code) = match &self.report {
            Some(report) => ("REPORT", "SEND", "ERROR", report.code.as_str()),
            None => ("DATA", "TRANSFER", "SUCCESS", "00"),
        };
        let (range, at) = (format!("{number}:{total}"), self.sent.strftime("%Y%m%d%H%M%S").to_string());
        let mut told = vec![
            ("mex-messageid", self.id.as_str()),
            ("mex-to", &self.to),
            ("mex-messagetype", kind),
            ("mex-statuscode", code),
            ("mex-statusevent", event),
            ("mex-statussuccess", success),
            ("mex-statustimestamp", &at),
        ];
        match &self.report {
            // To whom the other one was to go.
            Some(report) => told.extend([
                ("mex-to", self.from.as_str()),
                ("mex-linkedmsgid", &report.linked),
                ("mex-statusdescription", &report.text),
            ]),
            None => told.push(("mex-from", &self.from)),
        }
        if total > 1 {
            told.push(("mex-chunk-range", &range));
        }
        for (name, value) in told {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// `Mex-Chunk-Range` as `number:total`; `None` where it is no such range.
pub(super) fn range(text: &str) -> Option<(usize, usize)> {
    let (number, total) = text.split_once(':')?;
    let (number, total) = (number.trim().parse().ok()?, total.trim().parse().ok()?);
    (1..=total).contains(&number).then_some((number, total))
}
