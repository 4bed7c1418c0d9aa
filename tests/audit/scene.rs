//! The gateway, and whatever the rows of the table ask about.

use onward_connect::http::{HeaderMap, HeaderValue, Method};
use onward_core::client::Role;
use onward_core::state::DeliveryState;
use onward_core::{DeliveryId, TransferId};
use onward_tests::leaks::Session;
use onward_tests::message::{self, fresh};
use onward_tests::world::World;
use serde_json::Value;

use super::Caller::{Governance, Home, Hospital, Operator, OtherHome, OtherHospital};
use super::Sent::{Altered, Discharge, Empty, Forged, Fresh, SignIn, SignInAgain, Task, Text};
use super::{Caller, FORM, Row, Sent, TOKEN, XML};

/// Those who call, the transfer and the home's copy.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) sessions: Vec<(Caller, Session)>,
    pub(super) discharge: String,
    pub(super) assertion: String,
    pub(super) transfer: Option<TransferId>,
    pub(super) copy: Option<DeliveryId>,
    pub(super) subscription: Option<String>,
}

impl Scene {
    pub(super) async fn start() -> Self {
        let world = World::start_with_hooks(9, &["VMH01"]).await;
        let sessions = vec![
            (Hospital, world.hospital().await),
            (OtherHospital, world.client("southmoor-epr", "R9Y", Role::Sender).await),
            (Home, world.care_home().await),
            (OtherHome, world.client("elm-court", "VMH02", Role::CareHome).await),
            (Governance, world.client("ig", "R9Z", Role::InformationGovernance).await),
            (Operator, world.client("ops", "Y99900", Role::Operator).await),
        ];
        let assertion = sessions[0].1.assertion().expect("signed");
        let discharge = fresh(message::EDISCHARGE_ITK3);
        Self { world, sessions, discharge, assertion, transfer: None, copy: None, subscription: None }
    }

    pub(super) fn session(&self, caller: Caller) -> Option<&Session> {
        self.sessions.iter().find(|(who, _)| *who == caller).map(|(_, session)| session)
    }

    pub(super) async fn body(&self, sent: Sent) -> (&'static str, Option<String>, String) {
        let form = |assertion: &str| {
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .append_pair("client_assertion", assertion)
                .finish()
        };
        match sent {
            Empty => ("application/fhir+json", None, String::new()),
            Discharge => (XML, None, self.discharge.clone()),
            Altered => (XML, None, format!("{}\n", self.discharge)),
            Fresh(text) => (XML, None, fresh(text)),
            Text(kind, text) => (kind, None, text.to_owned()),
            Task(status, tag) => {
                let tag = match tag {
                    Some("{v}") => Some(format!("W/\"{}\"", self.record().await.1)),
                    Some("{t}") => {
                        let gateway = self.world.gateway();
                        let id = self.transfer.expect("the discharge was accepted");
                        let transfer = gateway.store().transfer(id).await.expect("readable").expect("there");
                        Some(format!("W/\"{}\"", gateway.transfer_version(&transfer)))
                    }
                    tag => tag.map(str::to_owned),
                };
                let why = match status {
                    "cancelled" => r#","statusReason":{"text":"wrong ward"}"#,
                    _ => "",
                };
                let task = format!(r#"{{"resourceType":"Task","status":"{status}","intent":"order"{why}}}"#);
                ("application/fhir+json", tag, task)
            }
            SignIn | SignInAgain => (FORM, None, form(&self.assertion)),
            Forged => (FORM, None, form("none")),
        }
    }

    /// State and version of the home's copy.
    pub(super) async fn record(&self) -> (DeliveryState, u64) {
        let copy = self.copy.expect("the discharge was accepted");
        let record = self.world.gateway().store().delivery(copy).await.expect("readable").expect("there");
        (record.state, record.version)
    }

    /// Sends one row's request; status and body.
    pub(super) async fn send(&self, row: &Row, request_id: &str) -> (u16, Vec<u8>) {
        let (route, rest, method, caller, sent, ..) = *row;
        let id = |id: Option<String>| id.unwrap_or_default();
        let rest = rest
            .replace("{t}", &id(self.transfer.map(|id| id.to_string())))
            .replace("{c}", &id(self.copy.map(|id| id.to_string())))
            .replace("{s}", &id(self.subscription.clone()));
        let path = format!("{}{rest}", route.trim_end_matches("/{id}").trim_start_matches('/'));
        let method: Method = method.parse().expect("a method");
        let (kind, tag, body) = self.body(sent).await;
        let mut headers = vec![("content-type", kind), ("x-request-id", request_id)];
        if let Some(tag) = &tag {
            headers.push(("if-match", tag));
        }
        if let (Some(session), false) = (self.session(caller), route == TOKEN) {
            let reply = session.call(method, &path, &headers, body).await.expect("an answer");
            return (reply.status.as_u16(), reply.body.to_vec());
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let url = self.world.base().join(&path).expect("a URL");
        let answer = self.world.http().send(method, url, map, body).await.expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
    }

    pub(super) async fn events(&self) -> Vec<Value> {
        let entries = self.world.gateway().store().audit_entries(0, 100_000).await.expect("readable");
        entries.iter().map(|entry| serde_json::from_slice(entry.event().expect("kept")).expect("JSON")).collect()
    }

    /// Remembers transfer and copy of an accepted discharge, once the copy lies in the home's inbox.
    pub(super) async fn remember(&mut self, response: &[u8]) {
        let response: Value = serde_json::from_slice(response).expect("JSON");
        let task = response["entry"].as_array().into_iter().flatten().find(|e| e["resource"]["resourceType"] == "Task");
        let id: TransferId =
            task.and_then(|task| task["resource"]["id"].as_str()).expect("a Task").parse().expect("an id");
        let record = self.world.gateway().store().transfer(id).await.expect("readable").expect("there");
        let copy = record.deliveries.iter().find(|copy| copy.kind.as_str() == "care-home").expect("a copy");
        (self.transfer, self.copy) = (Some(id), Some(copy.id));
        while self.record().await.0 == DeliveryState::Queued {
            tokio::task::yield_now().await;
        }
    }
}
