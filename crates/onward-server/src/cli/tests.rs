use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::terminal::capture;
use super::*;

fn parsed(line: &str) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains("onward "), "{path} has no example");
        }
        for below in command.get_subcommands() {
            walk(below, &path);
        }
    }
    walk(&Cli::command(), "");
}

#[test]
fn every_command_of_the_interface_parses() {
    let id = "0b3c1c1e-5f0e-4a43-9a0e-2f3d6f3f5a11";
    for line in [
        "onward demo",
        "onward demo --dir world --once --json",
        "onward serve",
        "onward serve --config gateway.toml",
        "onward validate a.xml b.json",
        "onward validate --package p.tgz --package q --profile https://example.org/P --fhir-version 3.0 --json -",
        "onward explain --config gateway.toml --json --client northmoor-epr a.xml",
        "onward convert --to json -",
        "onward convert --to xml a.json",
        "onward convert --to r4 a.xml --allow-loss",
        "onward send --to https://localhost:8443 --key k.pem --client northmoor-epr a.xml b.xml",
        &format!("onward status {id} --json"),
        "onward hold list",
        &format!("onward hold release {id} --reason mended --by Ada --yes"),
        &format!("onward hold release {id} --reason agreed --by Ada --recipients-agreed-with-ward care-home"),
        &format!("onward hold release {id} --held-for deceased --reason agreed --by Ada --yes"),
        &format!("onward hold reroute {id} --care-home VMH01 --registered-practice Y99002 --reason said --by Ada"),
        &format!("onward hold close {id} --reason died --by Ada --yes"),
        "onward subscription list --json",
        &format!("onward subscription off {id} --reason moved --by Ada --json"),
        "onward dead list",
        "onward directory current Y99002 --json",
        &format!("onward dead replay {id} --reason mended --yes"),
        &format!("onward dead close {id} --reason read-out --by Ada --yes --json"),
        "onward audit verify --checkpoint c.txt --json",
        "onward audit export --evidence --out log.ndjson",
        "onward erase request --nhs-number - --ground wrong-person --reason r --by Ada",
        "onward erase list",
        &format!("onward erase confirm {id} --by Bea --yes"),
        "onward legal-hold add --nhs-number - --reason r --by Ada",
        "onward legal-hold list --json",
        &format!("onward legal-hold lift {id} --reason r --by Ada"),
        "onward keys new",
        "onward keys list --json",
        "onward keys rotate --config gateway.toml",
        "onward directory import a.toml b.csv",
        "onward directory check a.toml",
        "onward directory list",
        "onward directory show VMH01",
        "onward client add --id a --ods R9Z --role sender --jwks a.json",
        "onward client list",
        "onward client rotate --id a --generate-key a.pem",
        "onward client disable a",
        "onward config default",
        "onward config check",
        "onward config show --config gateway.toml",
        "onward migrate",
        "onward migrate --finish --yes",
        "onward healthcheck --json",
        "onward policy matrix --csv",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line).err());
    }
}

#[test]
fn wrong_usage_is_refused() {
    let id = "0b3c1c1e-5f0e-4a43-9a0e-2f3d6f3f5a11";
    for line in [
        "onward",
        "onward nothing",
        "onward validate",
        "onward validate --fhir-version 5.0 a.xml",
        "onward convert a.xml",
        "onward convert --to pdf a.xml",
        "onward status not-an-id",
        "onward hold release not-an-id --reason r",
        &format!("onward hold release {id}"),
        &format!("onward hold release {id} --held-for nothing --reason r --by Ada"),
        &format!("onward hold close {id} --held-for deceased --reason r --by Ada"),
        &format!("onward dead replay {id}"),
        &format!("onward dead close {id} --reason read-out"),
        "onward client add --id a --ods R9Z --role sender",
        "onward client add --id a --ods R9Z --role sender --jwks a --generate-key b",
        "onward client add --id a --ods r9z --role sender --jwks a",
        "onward client add --id a/b --ods R9Z --role sender --jwks a",
        "onward client add --id a --ods R9Z --role emperor --jwks a",
        "onward directory show ../x",
        "onward policy matrix --csv --json",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
    // Clap ends the process with its own code, which must be ours.
    let error = Cli::try_parse_from(["onward", "nothing"]).expect_err("refused");
    assert_eq!(error.exit_code(), Exit::Usage as i32);
    let help = Cli::try_parse_from(["onward", "--help"]).expect_err("help is told as an error");
    assert_eq!(help.exit_code(), Exit::Done as i32);
}

#[tokio::test]
async fn what_a_command_says_and_how_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("absent.toml");
    let cases = [
        (vec!["convert", "--to", "json", "absent.xml"], Exit::Fault, "error: reading absent.xml"),
        (vec!["validate", "--package", "p", "absent.xml"], Exit::Usage, "p: No such file"),
        (vec!["config", "check", "--config", absent.to_str().expect("UTF-8")], Exit::Usage, "cannot be read"),
    ];
    for (arguments, expected, said) in cases {
        let cli = Cli::try_parse_from(["onward"].iter().chain(&arguments)).expect("parses");
        let (mut terminal, out, err) = capture::terminal();
        let exit = match &cli.command {
            Command::Convert(command) => convert::run(command, &mut terminal),
            Command::Validate(command) => validate::run(command, &mut terminal),
            Command::Config(command) => settings::run(command, &mut terminal),
            _ => unreachable!("the cases name three commands"),
        };
        let failure = exit.expect_err("it fails");
        terminal.error(&failure.error);
        assert_eq!(failure.exit, expected, "{arguments:?}");
        assert_eq!(out.text(), "", "{arguments:?}");
        assert!(err.text().contains(said), "{}", err.text());
    }
}

#[test]
fn nobody_says_whose_account_they_are() {
    let id = "0b3c1c1e-5f0e-4a43-9a0e-2f3d6f3f5a11";
    for (by, taken) in [("Ada", true), ("Ada (ward 7)", true), ("Ada (account 99)", false), (" ", false)] {
        for command in [&["erase", "confirm", id][..], &["legal-hold", "lift", id, "--reason", "r"]] {
            let arguments = [&["onward"][..], command, &["--by", by]].concat();
            let parsed = Cli::try_parse_from(&arguments).map_err(|error| error.kind());
            if taken {
                assert!(parsed.is_ok(), "{arguments:?}: {parsed:?}");
            } else {
                assert!(matches!(parsed, Err(ErrorKind::ValueValidation)), "{arguments:?}: {parsed:?}");
            }
        }
    }
}

#[test]
fn the_defaults_are_printed_as_they_are_compiled_in() {
    let (mut terminal, out, _) = capture::terminal();
    assert_eq!(settings::run(&settings::ConfigCommand::Default, &mut terminal).expect("printed"), Exit::Done);
    assert_eq!(out.text(), crate::config::DEFAULTS);
}
