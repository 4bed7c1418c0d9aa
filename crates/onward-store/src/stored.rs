//! How values of the core look in the columns of every engine.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use onward_core::directory::{Endpoint, Hub};

/// A moment as stored: microseconds since 1970, which hold every `Timestamp`.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A span in the same measure; one that no column holds is as good as endless.
pub(crate) fn micros_of(span: SignedDuration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4)
}

/// The moment of [`micros`]. `Timestamp::from_microsecond` would refuse the last second that exists.
pub(crate) fn from_micros(micros: i64) -> Option<Timestamp> {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).ok()?;
    Timestamp::new(micros.div_euclid(1_000_000), nanos).ok()
}

/// The same for a moment that may be missing.
pub(crate) fn micros_opt(at: Option<Timestamp>) -> Option<i64> {
    at.map(micros)
}

/// The month (UTC) by which bodies are retained: year * 100 + month.
pub(crate) fn month(at: Timestamp) -> i64 {
    let date = at.to_zoned(TimeZone::UTC).date();
    i64::from(date.year()) * 100 + i64::from(date.month())
}

/// A token as stored: the engines' integers are signed, and every bit is kept.
pub(crate) fn signed(token: u64) -> i64 {
    i64::from_ne_bytes(token.to_ne_bytes())
}

/// Our own structures always write: they have no maps with odd keys and no failing serializers.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own structure serializes")
}

/// How the stored endpoints behind a hub begin, in lower case. They are compared as texts: a damaged one must not keep others from being
/// claimed.
pub(crate) fn beginnings(hub: &Hub) -> Vec<String> {
    match hub {
        Hub::Mesh => ["mesh", "gp-routing"].map(|tag| ["{\"transport\":", &json(&tag)].concat()).into(),
        Hub::Host(host) => {
            let host = json(host);
            let host = host.trim_matches('"');
            let ends = ["/", "?", "#", "\""];
            let of =
                |tag: &str| ends.map(|end| ["{\"transport\":", &json(&tag), ",\"url\":\"https://", host, end].concat());
            [of("https"), of("process-message")].concat()
        }
    }
}

/// Whether a copy for this stored endpoint waits for its recipient to collect it, so that nothing of it leaves.
pub(crate) fn stays(endpoint: &str) -> bool {
    endpoint == json(&Endpoint::Inbox {})
}

/// A count or size as stored.
pub(crate) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use onward_core::directory::Endpoint;

    use super::*;

    #[test]
    fn every_endpoint_is_found_behind_its_hub_and_behind_no_other() {
        let url = |url: &str| url.to_owned();
        let endpoints = [
            Endpoint::Inbox {},
            Endpoint::Https { url: url("https://one.example/in") },
            Endpoint::ProcessMessage { url: url("HTTPS://One.example?to=fhir") },
            Endpoint::Https { url: url("https://one.example") },
            Endpoint::Https { url: url("https://one.example:8443/in") },
            Endpoint::ProcessMessage { url: url("https://one.example.org/fhir") },
            Endpoint::Mesh { mailbox: "X26ABC1".parse().expect("a mailbox"), workflow: None },
            Endpoint::Mesh { mailbox: "X26ABC2".parse().expect("a mailbox"), workflow: "TOC_FHIR".parse().ok() },
            Endpoint::GpRouting { workflow: None },
            Endpoint::GpRouting { workflow: "TOC_FHIR".parse().ok() },
        ];
        let hubs: std::collections::BTreeSet<_> = endpoints.iter().filter_map(Endpoint::hub).collect();
        assert_eq!(hubs.len(), 4, "{hubs:?}");
        for hub in &hubs {
            for endpoint in &endpoints {
                let stored = json(endpoint).to_lowercase();
                let found = beginnings(hub).iter().any(|begins| stored.starts_with(begins));
                assert_eq!(found, endpoint.hub().as_ref() == Some(hub), "{hub:?} {endpoint:?}");
            }
        }
    }

    #[test]
    fn every_moment_survives_to_the_microsecond() {
        for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let back = from_micros(micros(at)).expect("in range");
            assert!(at.duration_since(back).abs() < jiff::SignedDuration::from_micros(1), "{at}");
        }
    }

    #[test]
    fn months_turn_at_midnight_utc() {
        let before: Timestamp = "2026-12-31T23:59:59.999999Z".parse().expect("moment");
        assert_eq!(month(before), 202_612);
        assert_eq!(month(before + jiff::SignedDuration::from_micros(1)), 202_701);
    }
}
