//! The rules of IHE Basic Audit Log Patterns 1.1 (R4), as far as its profiles bind an AuditEvent that we write. Written from
//! the profiles and not from our code, so that the two can disagree.

use base64::Engine as _;
use serde_json::Value;

const PROFILE: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
const SOURCE: &str = "110153";
const DESTINATION: &str = "110152";

/// The profile that the event claims, without its common beginning.
#[must_use]
pub fn profile(event: &Value) -> Option<&str> {
    event["meta"]["profile"][0].as_str()?.strip_prefix(PROFILE)
}

/// Everything about the event that its profile, or R4, does not allow. Empty when it is right.
#[must_use]
pub fn problems(event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    must(event["resourceType"] == "AuditEvent" && event["id"].is_string(), "it is an AuditEvent with an id");
    must(event["recorded"].is_string(), "recorded 1..1");
    must(event["source"]["observer"].is_object(), "source.observer 1..1");
    let agents: Vec<&Value> = event["agent"].as_array().into_iter().flatten().collect();
    must(
        !agents.is_empty() && agents.iter().all(|agent| agent["requestor"].is_boolean()),
        "agent 1..*, requestor 1..1",
    );
    let entities: Vec<&Value> = event["entity"].as_array().into_iter().flatten().collect();
    must(
        entities.iter().all(|entity| entity.get("name").is_none() || entity.get("query").is_none()),
        "sev-1: name or query",
    );
    let (kind, action, outcome) = (&event["type"]["code"], &event["action"], &event["outcome"]);
    let subtype = |code: &str| event["subtype"].as_array().into_iter().flatten().any(|each| each["code"] == code);
    let of_type = |code: &str| entities.iter().copied().filter(|each| each["type"]["code"] == code).collect::<Vec<_>>();
    let people = of_type("1");
    let objects = of_type("2");
    let Some(name) = profile(event) else {
        match kind.as_str() {
            // "Authorization failures should follow FHIR core Access Denied."
            Some("110113") => must(action == "E" && outcome == "8", "a denial is E with outcome 8"),
            Some("110114") => {
                must(
                    action == "E" && (subtype("110122") || subtype("110123")),
                    "a sign-in or -out is E, Login or Logout",
                );
            }
            Some("110100") => must(action == "E", "an activity is E"),
            // "Failures are recorded differently."
            Some("rest") => must(outcome != "0", "a successful interaction claims its profile"),
            Some("110106") => must(people.is_empty(), "a disclosure about a person claims its profile"),
            _ => must(false, "type is one of those that are known"),
        }
        return found;
    };
    let disclosure = name == "PrivacyDisclosure.Source";
    let (about, interaction) = match name.strip_prefix("Patient") {
        Some(rest) => (true, rest),
        None => (disclosure, name),
    };
    let (code, sub, letter, [client, server]) = match interaction {
        "Create" => ("rest", "create", "C", [SOURCE, DESTINATION]),
        "Update" => ("rest", "update", "U", [SOURCE, DESTINATION]),
        "Read" => ("rest", "read", "R", [DESTINATION, SOURCE]),
        "Query" => ("rest", "search", "E", [SOURCE, DESTINATION]),
        "PrivacyDisclosure.Source" => ("110106", "disclose", "R", [SOURCE, DESTINATION]),
        _ => {
            found.push(format!("{name} is none of the profiles that are known"));
            return found;
        }
    };
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{name}: {what}"));
        }
    };
    must(kind == code && subtype(sub) && action == letter, "type, subtype and action");
    must(disclosure || outcome == "0", "only successes");
    must(outcome.is_string(), "outcome 1..1");
    for (role, who) in [(client, "client"), (server, "server")] {
        let playing: Vec<_> = agents.iter().filter(|agent| agent["type"]["coding"][0]["code"] == role).collect();
        must(playing.len() == 1, &format!("one {who}"));
        for agent in playing {
            must(agent["who"].is_object(), &format!("{who}.who 1..1"));
            let network = &agent["network"];
            must(network["address"].is_string() && network["type"].is_string(), &format!("{who}.network 1..1"));
            must(agent.get("media").is_none(), &format!("{who}.media 0..0"));
        }
    }
    must(agents.first().is_some_and(|agent| agent["type"]["coding"][0]["code"] == client), "the client comes first");
    must(people.len() == usize::from(about), "patient exactly where the profile says so");
    for patient in &people {
        must(patient["role"]["code"] == "1" && patient["what"].is_object(), "patient.role and patient.what");
        must(patient["what"]["identifier"]["value"].is_string(), "the patient by identifier only");
        must(patient["what"].get("display").is_none(), "no name of the patient");
    }
    match interaction {
        "Query" => {
            must(objects.len() == 1, "one query and no data");
            for query in &objects {
                must(query["role"]["code"] == "24", "query.role");
                must(query.get("what").is_none() && query.get("detail").is_none(), "query.what and query.detail 0..0");
                let raw = query["query"].as_str().unwrap_or_default();
                let raw = base64::engine::general_purpose::STANDARD.decode(raw);
                must(raw.is_ok_and(|raw| !raw.is_empty()), "the raw query in base64");
            }
        }
        "PrivacyDisclosure.Source" => {
            must(entities.len() >= 2, "patient and data");
            must(agents.first().is_some_and(|agent| agent["who"] == event["source"]["observer"]), "val-audit-source");
        }
        _ => {
            must(objects.len() == 1, "data 1..1");
            let roles = ["3", "4", "20"];
            let fits =
                |data: &&Value| data["what"].is_object() && roles.iter().any(|role| data["role"]["code"] == *role);
            must(objects.iter().all(fits), "data.what and data.role");
        }
    }
    for request in of_type("XrequestId") {
        must(request["what"]["identifier"]["value"].is_string(), "transaction.what.identifier.value");
    }
    found
}
