use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/records-of-processing").join(name)
}

fn printed(arguments: &[&str]) -> String {
    let config = fixture("gateway.toml");
    let config = ["--config", config.to_str().expect("UTF-8")];
    let cli = Cli::try_parse_from(["onward", "ropa"].iter().chain(arguments).chain(&config)).expect("parses");
    let Command::Ropa(command) = cli.command else { panic!("another command") };
    let (mut terminal, out, _) = capture::terminal();
    assert_eq!(run(&command, &mut terminal).map_err(|failure| failure.error).expect("printed"), Exit::Done);
    terminal.finish().expect("written");
    out.text()
}

/// A change of the configuration, of a policy or of a route that changes what is processed changes these pages: look at the
/// difference, and write them anew with `onward ropa [--dpia] --config fixtures/records-of-processing/gateway.toml`.
#[test]
fn the_pages_say_what_the_configuration_says() {
    for (arguments, name) in [(&[][..], "record.expected.md"), (&["--dpia"][..], "appendix.expected.md")] {
        let expected = std::fs::read_to_string(fixture(name)).expect("the fixture");
        let printed = printed(arguments);
        let differs = printed.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        assert!(printed == expected, "{name}: {differs:?}");
    }
}

#[test]
fn what_only_people_know_is_marked_and_what_is_configured_is_told() {
    let record = printed(&[]);
    for words in [
        "Northmoor Teaching Hospital (R9Z)",
        "Data protection officer: *to be filled in*",
        "syslog receiver siem.example.nhs.uk:6514: audit entries without anything that names a patient",
        "witness witness.example.nhs.uk: size and hash of the audit log",
        "1 witness(es) cosign every checkpoint",
        "siem.example.nhs.uk (own network)",
    ] {
        assert!(record.contains(words), "{words}: {record}");
    }
    let appendix = printed(&["--dpia"]);
    assert!(
        appendix.contains("| gateway | care-home | what the table below allows | direct care: UK GDPR"),
        "{appendix}"
    );
    assert!(appendix.contains("| inpatient discharge to a care home | care-home, covering-practice,"), "{appendix}");
}

/// Whoever else gets something, or is asked for something, stands in the record, and with what.
#[test]
fn sign_in_keys_scanner_and_collector_are_recipients() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    let text = r#"
[[identity.issuer]]
name = "cis2"
label = "NHS CIS2"
issuer = "https://people.example"
client_id = "onward"
key_file = "provider.pem"
key_id = "1"

[[identity.token_issuer]]
name = "region"
issuer = "https://tokens.example"
jwks_url = "https://keys.example/jwks"
audience = "https://gateway.example/fhir/R4"
clients = { "0oa1b2c3" = "northmoor-epr" }

[scanning]
clamd = "/run/clamav/clamd.ctl"
"#;
    std::fs::write(&file, text).expect("written");
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "https://collector.example:4318".into());
    let record = |file: Option<&Path>, environment: Vec<_>| {
        let config = Config::load_from(file, environment).expect("valid").config;
        recipients(&config, &[]).expect("routes").join("\n")
    };
    let (with, without) = (record(Some(&file), vec![collector]), record(None, Vec::new()));
    for words in [
        "identity provider NHS CIS2 at https://people.example: that somebody signs in here",
        "token issuer region: asked at keys.example for its public keys alone",
        "malware scanner (clamd) on this machine: the hospital's attachments, whole",
        "collector of traces collector.example: routes, times",
    ] {
        assert!(with.contains(words), "{words}: {with}");
        let kind = words.split(' ').take(2).collect::<Vec<_>>().join(" ");
        assert!(!without.contains(&kind), "{kind}: {without}");
    }
}
