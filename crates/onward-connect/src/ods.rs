//! The Organisation Data Service's reference data (ORD API, version 2-0-0): whether an organisation is there still, as what, and who
//! came after it. Nothing about a person is asked or told.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::civil::Date;
use onward_core::directory::{Organisation, Organisations};
use onward_core::transport::SendError;
use onward_core::{Clock, OdsCode};
use serde::Deserialize;
use url::Url;

use crate::http::{HeaderMap, HeaderValue, HttpClient, HttpFault, Method, StatusCode, header};

/// An organisation with all its relations; the largest trusts have some hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a busy ODS is given where it tells no time.
const UNTOLD_WAIT_SECONDS: u64 = 5;

/// The client.
pub struct OdsClient {
    http: HttpClient,
    base: Url,
    clock: Arc<dyn Clock>,
}

impl OdsClient {
    /// A client of the ORD API at this address, version included.
    #[must_use]
    pub fn new(http: HttpClient, base: Url, clock: Arc<dyn Clock>) -> Self {
        Self { http, base, clock }
    }
}

#[async_trait]
impl Organisations for OdsClient {
    async fn organisation(&self, ods: &OdsCode) -> Result<Option<Organisation>, SendError> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("organisations").push(ods.as_str());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.http.send(Method::GET, url, headers, "").await.map_err(HttpFault::of_repeatable)?;
        let status = answer.status();
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                let wish = answer.retry_after_seconds(self.clock.now());
                return Err(SendError::Transient {
                    reason: format!("ODS answered {}", status.as_u16()),
                    retry_after_seconds: wish.or(is_busy.then_some(UNTOLD_WAIT_SECONDS)),
                });
            }
            status => return Err(permanent(&format!("ODS answered {}", status.as_u16()))),
        }
        let body = answer.bytes_up_to(ANSWER_BYTES_MAX).await.map_err(HttpFault::of_repeatable)?;
        let wire: Wire =
            serde_json::from_slice(&body).map_err(|_| permanent("ODS's answer is not its specification's JSON"))?;
        let told = wire.organisation;
        if told.org_id.extension != ods.as_str() {
            return Err(permanent("ODS's answer is about another organisation"));
        }
        Ok(Some(told.read(ods.clone())))
    }
}

fn permanent(reason: &str) -> SendError {
    SendError::Permanent { reason: reason.to_owned() }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "Organisation")]
    organisation: WireOrganisation,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireOrganisation {
    name: String,
    status: WireStatus,
    org_id: WireId,
    #[serde(default)]
    date: Many<WireDate>,
    #[serde(default)]
    roles: WireRoles,
    #[serde(default)]
    succs: WireSuccessors,
}

/// The specification has no third: another word is not understood, and closes nobody.
#[derive(Deserialize, PartialEq)]
enum WireStatus {
    Active,
    Inactive,
}

#[derive(Deserialize)]
struct WireId {
    extension: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireDate {
    r#type: String,
    end: Option<Date>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireRoles {
    #[serde(rename = "Role")]
    role: Many<WireRole>,
}

#[derive(Deserialize)]
struct WireRole {
    id: String,
    #[serde(rename = "Status")]
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireSuccessors {
    #[serde(rename = "Succ")]
    succ: Many<WireSuccessor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSuccessor {
    r#type: String,
    target: WireTarget,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireTarget {
    org_id: WireId,
}

/// ODS writes one of a list alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Many<T> {
    Several(Vec<T>),
    One(T),
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl<T> Many<T> {
    fn each(self) -> Vec<T> {
        match self {
            Self::Several(several) => several,
            Self::One(one) => vec![one],
        }
    }
}

impl WireOrganisation {
    fn read(self, ods: OdsCode) -> Organisation {
        let dates = self.date.each();
        // One period without an end is open, whatever ended before it.
        let end = |kind: &str| {
            let ends = dates.iter().filter(|date| date.r#type == kind).map(|date| date.end);
            ends.reduce(|one, other| Some(one?.max(other?))).flatten()
        };
        let is_successor = |each: &WireSuccessor| each.r#type == "Successor";
        let successors = self.succs.succ.each().into_iter().filter(is_successor);
        Organisation {
            ods,
            name: self.name,
            active: self.status == WireStatus::Active,
            legal_end: end("Legal"),
            operational_end: end("Operational"),
            roles: self
                .roles
                .role
                .each()
                .into_iter()
                .filter(|role| role.status == "Active")
                .map(|role| role.id)
                .collect(),
            successors: successors.filter_map(|each| each.target.org_id.extension.parse().ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use onward_core::SystemClock;

    use super::*;
    use crate::loopback::{Partner, Reply};

    /// As ORD writes it: lists of one are no lists, dates are of two kinds.
    const CLOSED: &str = r#"{"Organisation":{"Name":"HILLSIDE MEDICAL PRACTICE","Date":[
        {"Type":"Legal","Start":"1974-04-01","End":"2026-06-30"},{"Type":"Operational","Start":"1974-04-01","End":"2026-03-31"}],
        "OrgId":{"root":"2.16.840.1.113883.2.1.3.2.4.18.48","assigningAuthorityName":"HSCIC","extension":"Y99002"},
        "Status":"Active","LastChangeDate":"2026-04-02","orgRecordClass":"RC1",
        "Roles":{"Role":[{"id":"RO177","uniqueRoleId":1,"primaryRole":true,"Status":"Active"},
            {"id":"RO76","uniqueRoleId":2,"Status":"Inactive"}]},
        "Succs":{"Succ":[{"uniqueSuccId":3,"Date":[{"Type":"Legal","Start":"2026-07-01"}],"Type":"Successor",
            "Target":{"OrgId":{"extension":"Y99003"},"PrimaryRoleId":{"id":"RO177","uniqueRoleId":4}}},
            {"uniqueSuccId":5,"Type":"Predecessor","Target":{"OrgId":{"extension":"Y99000"}}}]}}}"#;
    const STANDING: &str = r#"{"Organisation":{"Name":"ROWAN HOUSE","Date":{"Type":"Operational","Start":"2011-01-01"},
        "OrgId":{"extension":"VMH01"},"Status":"Active","Roles":{"Role":{"id":"RO269","Status":"Active"}}}}"#;

    async fn asked(status: &str, body: &str, code: &str) -> Result<Option<Organisation>, SendError> {
        let headers = ["location: /elsewhere", "retry-after: 7"];
        let partner = Partner::start(vec![Reply::new(status, &headers, body.as_bytes())]).await;
        let http = HttpClient::new(&partner.config()).expect("a client");
        let client = OdsClient::new(http, partner.url("/ORD/2-0-0"), Arc::new(SystemClock));
        let found = client.organisation(&code.parse().expect("a code")).await;
        let seen = partner.seen();
        assert_eq!(seen.len(), 1, "nothing is followed or repeated");
        assert_eq!(seen[0].line, format!("GET /ORD/2-0-0/organisations/{code} HTTP/1.1"));
        found
    }

    #[tokio::test]
    async fn an_organisation_is_read_with_its_end_and_who_came_after() {
        let closed = asked("200 OK", CLOSED, "Y99002").await.expect("an answer").expect("known");
        assert_eq!(closed.roles, ["RO177"], "what it was is no role of today");
        assert_eq!(closed.successors, ["Y99003".parse().expect("a code")]);
        let day = |text: &str| text.parse().expect("a date");
        // ODS says Active still; the dates say when it works no more.
        assert!(closed.active && closed.stands(day("2026-03-31")) && !closed.stands(day("2026-04-01")));
        let standing = asked("200 OK", STANDING, "VMH01").await.expect("an answer").expect("known");
        assert_eq!((standing.name.as_str(), standing.ends()), ("ROWAN HOUSE", None));
        assert!(standing.stands(day("2099-01-01")) && standing.successors.is_empty());
        assert!(!Organisation { active: false, ..standing }.stands(day("2026-01-01")));
    }

    #[tokio::test]
    async fn only_what_ods_calls_inactive_or_ended_is_closed() {
        let standing = r#""Status":"Active","Roles""#;
        assert!(STANDING.contains(standing));
        let named = |word: &str| STANDING.replace(standing, &format!(r#""Status":"{word}","Roles""#));
        let inactive = asked("200 OK", &named("Inactive"), "VMH01").await.expect("an answer").expect("known");
        assert!(!inactive.active);
        for word in ["active", "Suspended", ""] {
            let answer = asked("200 OK", &named(word), "VMH01").await;
            assert!(matches!(answer, Err(SendError::Permanent { .. })), "{word:?} closes nobody");
        }
        let open = r#"{"Type":"Operational","Start":"2011-01-01"}"#;
        assert!(STANDING.contains(open));
        let ended = |end: &str| format!(r#"{{"Type":"Operational","Start":"2001-01-01","End":"{end}"}}"#);
        let (earlier, later) = (ended("2009-12-31"), ended("2025-12-31"));
        for (dates, end) in [
            (format!("[{earlier},{open}]"), None),
            (format!("[{open},{later}]"), None),
            (format!("[{later},{earlier}]"), Some("2025-12-31")),
        ] {
            let found = asked("200 OK", &STANDING.replace(open, &dates), "VMH01").await.expect("an answer");
            let end = end.map(|day| day.parse().expect("a date"));
            assert_eq!(found.expect("known").operational_end, end, "{dates}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_none() {
        assert_eq!(asked("404 x", "{}", "VMH01").await, Ok(None));
        for status in ["429 x", "500 x", "503 x"] {
            let busy = asked(status, "", "VMH01").await;
            assert!(matches!(busy, Err(SendError::Transient { retry_after_seconds: Some(7), .. })), "{status}");
        }
        let hostile = STANDING.replace("\"Active\"", "[\"Active\"]");
        for (status, body) in
            [("302 x", ""), ("403 x", ""), ("200 OK", ""), ("200 OK", "[]"), ("200 OK", &hostile), ("200 OK", CLOSED)]
        {
            assert!(matches!(asked(status, body, "VMH01").await, Err(SendError::Permanent { .. })), "{status} {body}");
        }
    }
}
