//! `onward send`: a hospital's client. It signs in, posts, and prints the receipt.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use onward_connect::egress::EgressHost;
use onward_connect::http::{HttpClient, HttpConfig, HttpFault, Method};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::exit::{Exit, Failure, Outcome};
use super::input::{self, Input};
use super::terminal::{Style, Terminal};
use crate::session::{Reply, Session};

/// A commit and its reply may take this long at most.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Posts messages to a gateway and prints the receipts.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  onward send --to https://localhost:8443 --ca gateway-ca.pem \\
      --client northmoor-epr --key northmoor-epr.pem discharge.xml

The key is the one that `onward client add --generate-key FILE` wrote, or another ES384 key in PKCS #8 PEM.
Exit code: 0 every message was accepted (also when one is held), 1 one was refused.")]
pub struct Send {
    /// Base address of the gateway
    #[arg(long, value_name = "URL", default_value = "https://localhost:8443")]
    to: Url,
    /// Private key of the client
    #[arg(long, value_name = "FILE", env = "ONWARD_CLIENT_KEY_FILE")]
    key: PathBuf,
    /// The client's identifier
    #[arg(long, value_name = "ID", env = "ONWARD_CLIENT_ID")]
    client: String,
    /// Certificates trusted beside the operating system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// One line of JSON for each message
    #[arg(long)]
    json: bool,
    /// Messages; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What became of one message.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Receipt {
    file: String,
    status: u16,
    /// `accepted`, `held`, `refused` or `failed`.
    state: &'static str,
    /// The transfer's Task.
    task: Option<String>,
    location: Option<String>,
    duplicate: bool,
    /// Why it is held.
    reason: Option<String>,
    findings: Vec<Issue>,
}

/// One issue of the answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Issue {
    severity: String,
    expression: Option<String>,
    diagnostics: String,
    itk_code: Option<String>,
}

/// Runs it.
///
/// # Errors
/// When there is no answer, or signing in fails.
pub(super) async fn run(command: &Send, terminal: &mut Terminal) -> Outcome {
    let key = input::text(&command.key)?;
    let session = Session::new(http(&command.to, command.ca.as_deref())?, command.to.clone(), &command.client, key);
    let mut exit = Exit::Done;
    for path in &command.files {
        let file = Input::read(path)?;
        let headers = [("content-type", file.media_type()), ("accept", "application/fhir+json")];
        let reply = session.call(Method::POST, "fhir/R4/$process-message", &headers, file.bytes.clone()).await;
        let receipt = receipt(&file.name, &reply.map_err(no_answer)?);
        exit = exit.max(match receipt.state {
            "accepted" | "held" => Exit::Done,
            "refused" => Exit::No,
            _ => Exit::Fault,
        });
        if command.json { terminal.json(&receipt) } else { show(&receipt, terminal) }
    }
    Ok(exit)
}

/// The caller named the host himself, so it may be this machine or one of our own networks; no other host is reached.
fn http(to: &Url, ca: Option<&Path>) -> Result<HttpClient, Failure> {
    let host = to.host_str().ok_or_else(|| Failure::usage("--to names no host"))?.to_owned();
    let extra_roots_pem = ca.map(input::bytes).transpose()?.unwrap_or_default();
    HttpClient::new(&HttpConfig {
        egress: vec![EgressHost { host, internal: true }],
        total_timeout: TIMEOUT,
        allow_plain_loopback: true,
        extra_roots_pem,
        ..HttpConfig::default()
    })
    .map_err(|error| Failure::configuration(error.into()))
}

fn no_answer(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<HttpFault>() {
        Some(HttpFault::Egress(_)) => Failure::configuration(error),
        Some(_) => Failure::fault(error),
        // The key does not sign, or the gateway does not know the client: both are mended on this side.
        None => Failure::configuration(error),
    }
}

fn receipt(file: &str, reply: &Reply) -> Receipt {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let resources: Vec<&Value> = match body["resourceType"].as_str() {
        Some("Bundle") => body["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]).collect(),
        _ => vec![&body],
    };
    let of_type = |name: &str| resources.iter().find(|resource| resource["resourceType"] == name).copied();
    let task = of_type("Task");
    let outcome = of_type("OperationOutcome");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let held = task.is_some_and(|task| task["status"] == "on-hold");
    let state = match reply.status.as_u16() {
        200..300 if held => "held",
        200..300 => "accepted",
        // Busy or faulty is no verdict on the message.
        400..500 if reply.status.as_u16() != 429 => "refused",
        _ => "failed",
    };
    let reason = task.filter(|_| held).and_then(|task| {
        let reason = &task["statusReason"];
        text(&reason["text"])
            .or_else(|| text(&reason["coding"][0]["display"]))
            .or_else(|| text(&reason["coding"][0]["code"]))
    });
    let issues = outcome.and_then(|outcome| outcome["issue"].as_array()).map(Vec::as_slice).unwrap_or_default();
    Receipt {
        file: file.to_owned(),
        status: reply.status.as_u16(),
        state,
        task: task.and_then(|task| text(&task["id"])),
        location: header("location").or_else(|| header("content-location")),
        duplicate: header("onward-duplicate").is_some_and(|value| value == "true"),
        reason,
        findings: issues
            .iter()
            .map(|issue| Issue {
                severity: text(&issue["severity"]).unwrap_or_default(),
                expression: text(&issue["expression"][0]),
                diagnostics: text(&issue["diagnostics"]).unwrap_or_default(),
                itk_code: text(&issue["details"]["coding"][0]["code"]),
            })
            .collect(),
    }
}

fn show(receipt: &Receipt, terminal: &mut Terminal) {
    let style = match receipt.state {
        "accepted" => Style::Green,
        "held" => Style::Yellow,
        _ => Style::Red,
    };
    let (file, state) = (terminal.paint(Style::Bold, &receipt.file), terminal.paint(style, receipt.state));
    let again = if receipt.duplicate { ", it was there before: this is its first receipt" } else { "" };
    terminal.say(format_args!("{file}: {state} (HTTP {}){again}", receipt.status));
    if let Some(task) = &receipt.task {
        let task = terminal.paint(Style::Bold, task);
        terminal.say(format_args!("  transfer {task}"));
    }
    if let Some(location) = &receipt.location {
        let location = terminal.paint(Style::Dim, location);
        terminal.say(format_args!("  {location}"));
    }
    if let Some(reason) = &receipt.reason {
        terminal.paragraph(2, &format!("held: {reason}"));
    }
    for issue in &receipt.findings {
        let place = issue.expression.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
        let code = issue.itk_code.as_deref().map(|code| format!(" (ITK {code})")).unwrap_or_default();
        terminal.paragraph(2, &format!("{}: {place}{}{code}", issue.severity, issue.diagnostics));
    }
}

#[cfg(test)]
mod tests {
    use onward_connect::http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("https://gateway.example/fhir/R4/Task/t-1"));
        Reply { status: StatusCode::from_u16(status).expect("a status"), headers, body: body.to_owned().into() }
    }

    const RESPONSE: &str = r#"{"resourceType":"Bundle","entry":[
        {"resource":{"resourceType":"MessageHeader"}},
        {"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"information","diagnostics":"accepted",
            "details":{"coding":[{"code":"20013"}]}}]}},
        {"resource":{"resourceType":"Task","id":"t-1","status":"STATUS","statusReason":{"text":"restricted-patient"}}}]}"#;

    #[test]
    fn the_task_tells_accepted_from_held() {
        let accepted = receipt("d.xml", &reply(200, &RESPONSE.replace("STATUS", "accepted")));
        assert_eq!(
            (accepted.state, accepted.task.as_deref(), accepted.reason.as_deref()),
            ("accepted", Some("t-1"), None)
        );
        assert_eq!(accepted.findings[0].itk_code.as_deref(), Some("20013"));
        let held = receipt("d.xml", &reply(200, &RESPONSE.replace("STATUS", "on-hold")));
        assert_eq!((held.state, held.reason.as_deref()), ("held", Some("restricted-patient")));
    }

    #[test]
    fn a_refusal_is_a_no_and_a_fault_is_not() {
        let outcome = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","diagnostics":"no home",
            "expression":["Bundle.entry[1]"]}]}"#;
        let refused = receipt("d.xml", &reply(422, outcome));
        assert_eq!((refused.state, refused.task.as_deref()), ("refused", None));
        assert_eq!(refused.findings[0].expression.as_deref(), Some("Bundle.entry[1]"));
        for status in [429, 500, 503, 302] {
            assert_eq!(receipt("d.xml", &reply(status, "")).state, "failed", "{status}");
        }
        assert_eq!(receipt("d.xml", &reply(409, "<html>")).state, "refused");
    }

    #[test]
    fn only_the_named_host_is_reached_and_never_in_plain_text_over_a_network() {
        assert!(http(&"https://gateway.example".parse().expect("a URL"), None).is_ok());
        let failure = |error: HttpFault| no_answer(error.into()).exit;
        assert_eq!(failure(HttpFault::NotConnected("refused")), Exit::Fault);
        assert_eq!(failure(HttpFault::Egress(onward_connect::egress::EgressRefusal::Scheme)), Exit::Usage);
        assert_eq!(no_answer(anyhow::anyhow!("sign-in refused (401)")).exit, Exit::Usage);
    }
}
