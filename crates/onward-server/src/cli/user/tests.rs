use clap::Parser as _;
use tempfile::TempDir;

use super::*;
use crate::cli::terminal::capture;
use crate::cli::{Cli, Command};

/// A folder with a configuration, and the commands that are run on it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = "[identity]\nods = \"R9Z\"\nname = \"Northmoor\"\n";
        std::fs::write(folder.path().join("gateway.toml"), config).expect("writable");
        crate::store_keys::add_key(&folder.path().join("store.key"), crate::cli::open::now()).expect("a key");
        Self(folder)
    }

    fn config(&self) -> ConfigArgs {
        ConfigArgs { config: Some(self.0.path().join("gateway.toml")) }
    }

    async fn user(&self, arguments: &[&str]) -> (Result<Exit, Exit>, String) {
        let config = self.0.path().join("gateway.toml").display().to_string();
        let arguments = ["onward", "user"].iter().chain(arguments).copied().chain(["--config", &config]);
        let cli = Cli::try_parse_from(arguments).expect("parses");
        let Command::User(command) = cli.command else { panic!("another command") };
        let (mut terminal, out, _) = capture::terminal();
        let outcome = run(&command, &mut terminal).await.map_err(|failure| failure.exit);
        (outcome, out.text())
    }
}

const ADD: [&str; 9] =
    ["add", "--name", "Ada Example", "--email", "Ada@Rowan.example", "--role", "care-home-user", "--ods", "VMH01"];

#[tokio::test]
async fn a_person_is_added_listed_invited_again_and_disabled() {
    let place = Place::new();
    let (outcome, out) = place.user(&ADD).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let token = out.split("/invitation/").nth(1).expect("a link").split_whitespace().next().expect("a token");
    assert_eq!(token.len(), 43, "256 bits");
    let (_, store) = place.config().existing_store().await.expect("a store");
    let entries = store.audit_entries(0, 10).await.expect("readable");
    let log: String =
        entries.iter().map(|entry| String::from_utf8_lossy(entry.event().expect("kept")).into_owned()).collect();
    assert!(log.contains("care-home-user of VMH01") && !log.contains(token) && !log.contains("ada@"), "{log}");

    assert_eq!(place.user(&ADD).await.0, Err(Exit::No), "the address is taken");
    let (_, again) = place.user(&["invite", "ada@rowan.example", "--json"]).await;
    let again: Value = serde_json::from_str(&again).expect("JSON");
    assert!(again["invitation"].as_str().is_some_and(|link| link.starts_with("https://localhost:8443/invitation/")));
    let (_, listed) = place.user(&["list"]).await;
    assert!(listed.contains("ada@rowan.example") && listed.contains("active") && !listed.contains("invitation"));
    assert_eq!(place.user(&["disable", "ada@rowan.example"]).await.0, Ok(Exit::Done));
    let user = store.user_by_email("ada@rowan.example").await.expect("readable").expect("there");
    assert!(user.disabled);
    assert_eq!(place.user(&["invite", "ada@rowan.example"]).await.0, Err(Exit::No));
    assert_eq!(place.user(&["disable", "bob@rowan.example"]).await.0, Err(Exit::No));
    assert_eq!(store.audit_entries(0, 10).await.expect("readable").len(), 3);
}

#[test]
fn names_and_addresses_are_those_of_people() {
    for bad in ["", "onward", "operator", "mesh:X26ABC1", "Ada\nExample", &"a".repeat(121)] {
        assert!(person_name(bad).is_err(), "{bad:?}");
    }
    assert_eq!(person_name(" Ada O\u{2019}Example ").as_deref(), Ok("Ada O\u{2019}Example"));
    for bad in ["", "ada", "ada@", "@rowan.example", "ada@rowan", "ada lovelace@rowan.example", "a@b@c.example"] {
        assert!(email(bad).is_err(), "{bad:?}");
    }
    assert_eq!(email("Ada.O'Example@Rowan.example").as_deref(), Ok("ada.o'example@rowan.example"));
}
