//! What a stored AuditEvent says, read back from its bytes for people.

use onward_core::audit::{AuditWord, under};
use onward_core::people::Strength;
use onward_core::{NhsNumber, UserId};
use onward_gateway::journal::USER_URN;
use serde_json::Value;

/// The code of an address of the Internet Protocol (`network-type`).
const IP_ADDRESS: &str = "2";

/// One who took part.
#[derive(Clone)]
pub(crate) struct Party {
    /// Client identifier, ODS code or name.
    pub name: String,
    /// As what a registered client acted.
    pub role: Option<String>,
    /// ODS code.
    pub organisation: Option<String>,
    /// The operating system's account that a command ran under.
    pub account: Option<String>,
    /// The account of a person who signed in.
    pub user: Option<UserId>,
    /// The address that its request came from; none of commands, of partners that were called, and of entries from before that was kept.
    pub address: Option<String>,
    /// How a person signed in; none of entries from before that was kept.
    pub strength: Option<Strength>,
    /// It is the gateway that wrote the event; its name is then an address.
    pub gateway: bool,
}

/// What an event tells.
#[derive(Clone)]
pub(crate) struct Told {
    /// Its id.
    pub id: String,
    /// Who acted.
    pub actor: Party,
    /// The other side: the gateway, or the recipient.
    pub other: Party,
    /// It was not denied and did not fail.
    pub success: bool,
    /// Lawful basis and policy.
    pub basis: Option<String>,
    /// What was touched, as a reference.
    pub subject: Option<String>,
    /// Reason, codes.
    pub detail: String,
}

impl Party {
    /// Its name, with the account behind it.
    pub(crate) fn called(&self) -> String {
        match &self.account {
            Some(account) => format!("{} ({account})", self.name),
            None => self.name.clone(),
        }
    }

    /// As people read it: the gateway by a name and not by its address.
    pub(crate) fn shown(&self) -> String {
        if self.gateway { "This gateway".to_owned() } else { self.called() }
    }
}

impl Told {
    /// Who got to know something: the recipient where something was sent or shown by us, else whoever acted.
    pub(crate) fn got(&self, word: AuditWord) -> &Party {
        match word {
            AuditWord::Intend
            | AuditWord::Disclose
            | AuditWord::AttemptFailed
            | AuditWord::DeliveryFailed
            | AuditWord::SubjectAccess
            | AuditWord::Export
            | AuditWord::Reveal => &self.other,
            _ => &self.actor,
        }
    }

    /// Reads an event; `None` when it is not one of ours.
    pub(crate) fn read(event: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(event).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let party = |at: usize| {
            let agent = &event["agent"][at];
            Some(Party {
                name: text(&agent["name"])?,
                role: text(&agent["role"][0]["coding"][0]["code"]),
                organisation: text(&agent["who"]["identifier"]["value"]),
                account: text(&agent["altId"]).filter(|name| !name.starts_with(USER_URN)),
                // Before the address was kept, the account stood in its place.
                user: [&agent["altId"], &agent["network"]["address"]]
                    .into_iter()
                    .find_map(|name| name.as_str()?.strip_prefix(USER_URN)?.parse().ok()),
                address: text(&agent["network"]["address"]).filter(|_| agent["network"]["type"] == IP_ADDRESS),
                strength: agent["policy"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .find_map(under::strength_of),
                gateway: agent["who"] == event["source"]["observer"],
            })
        };
        let entities = event["entity"].as_array();
        let subject = entities.into_iter().flatten().find_map(|entity| text(&entity["what"]["reference"]));
        Some(Self {
            id: text(&event["id"])?,
            actor: party(0)?,
            other: party(1)?,
            success: event["outcome"] == "0",
            basis: text(&event["purposeOfEvent"][0]["text"]),
            subject,
            detail: text(&event["outcomeDesc"]).unwrap_or_default(),
        })
    }
}

/// The person that it is about.
pub(super) fn patient(event: &[u8]) -> Option<NhsNumber> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let entities = event["entity"].as_array()?;
    let patient = entities.iter().find(|entity| entity["role"]["code"] == "1")?;
    patient["what"]["identifier"]["value"].as_str()?.parse().ok()
}
