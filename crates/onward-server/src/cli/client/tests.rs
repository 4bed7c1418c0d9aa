use std::os::unix::fs::PermissionsExt as _;

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

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `onward client …`; `@name` is a file of the folder.
    async fn client(&self, line: &str) -> (Result<Exit, Exit>, String) {
        let config = self.path("gateway.toml").display().to_string();
        let mut arguments = vec!["onward".to_owned(), "client".to_owned()];
        arguments.extend(line.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        }));
        arguments.extend(["--config".to_owned(), config]);
        let cli = Cli::try_parse_from(&arguments).expect("parses");
        let Command::Client(command) = cli.command else { panic!("another command") };
        let (mut terminal, out, _) = capture::terminal();
        let outcome = run(&command, &mut terminal).await.map_err(|failure| failure.exit);
        (outcome, out.text())
    }

    async fn stored(&self) -> (Vec<Client>, Vec<String>) {
        let config = ConfigArgs { config: Some(self.path("gateway.toml")) };
        let (_, store) = config.existing_store().await.expect("a store");
        let clients = store.clients().await.expect("readable");
        let entries = store.audit_entries(0, 100).await.expect("readable");
        (
            clients,
            entries
                .iter()
                .map(|entry| String::from_utf8(entry.event().expect("kept").to_vec()).expect("JSON"))
                .collect(),
        )
    }
}

const ADD: &str = "add --id northmoor-epr --ods R9Z --role sender --generate-key @epr.pem";

#[tokio::test]
async fn a_new_client_gets_a_private_key_that_only_its_owner_can_read() {
    let place = Place::new();
    let (outcome, out) = place.client(&format!("{ADD} --mesh-mailbox R9ZOT001 --nhs-number-policy hold")).await;
    assert_eq!(outcome, Ok(Exit::Done));
    let key = place.path("epr.pem");
    assert_eq!(std::fs::metadata(&key).expect("made").permissions().mode() & 0o777, 0o600);
    let pem = std::fs::read_to_string(&key).expect("readable");
    let kid = keys::public_jwk(&pem).expect("our own key").common.key_id.expect("a kid");
    assert!(out.contains("northmoor-epr") && out.contains(&kid) && !out.contains("PRIVATE"), "{out}");
    let (clients, entries) = place.stored().await;
    assert_eq!(clients.len(), 1);
    assert_eq!((clients[0].role, clients[0].nhs_number_policy), (Role::Sender, NhsNumberPolicy::Hold));
    assert_eq!(clients[0].mesh_mailbox.as_deref(), Some("R9ZOT001"));
    assert!(clients[0].jwks.contains(&kid) && !clients[0].jwks.contains("\"d\""), "only the public half is stored");
    assert_eq!(entries.len(), 1);
    assert!(entries[0].contains("client northmoor-epr added") && entries[0].contains("operator"), "{}", entries[0]);
    let left = registered::digest(&clients[0]);
    assert!(entries[0].contains(&format!(", keys {kid}; registration {left}")), "{}", entries[0]);
}

#[tokio::test]
async fn neither_a_client_nor_a_key_file_is_overwritten() {
    let place = Place::new();
    assert_eq!(place.client(ADD).await.0, Ok(Exit::Done));
    let before = std::fs::read(place.path("epr.pem")).expect("readable");
    assert_eq!(place.client(ADD).await.0, Err(Exit::No), "the identifier is taken");
    let other = "add --id other --ods R9Z --role sender --generate-key @epr.pem";
    assert_eq!(place.client(other).await.0, Err(Exit::Fault), "the file is there");
    assert_eq!(std::fs::read(place.path("epr.pem")).expect("readable"), before);
    let (clients, entries) = place.stored().await;
    assert_eq!((clients.len(), entries.len()), (1, 1), "what failed left nothing");
}

#[tokio::test]
async fn rotation_replaces_and_disabling_keeps_the_record() {
    let place = Place::new();
    assert_eq!(place.client(ADD).await.0, Ok(Exit::Done));
    let old = kids(&place.stored().await.0[0]);
    assert_eq!(place.client("rotate --id northmoor-epr --generate-key @epr-2.pem").await.0, Ok(Exit::Done));
    let new = kids(&place.stored().await.0[0]);
    assert_ne!(old, new);
    assert_eq!(place.client("disable northmoor-epr").await.0, Ok(Exit::Done));
    let (clients, entries) = place.stored().await;
    assert!(clients[0].disabled && kids(&clients[0]) == new);
    assert_eq!(entries.len(), 3);
    assert!(entries[1].contains(&old[0]) && entries[1].contains(&new[0]), "{}", entries[1]);
    assert_eq!(place.client("rotate --id nobody --generate-key @nobody.pem").await.0, Err(Exit::No));
    assert!(!place.path("nobody.pem").exists());
    assert_eq!(place.client("disable nobody").await.0, Err(Exit::No));
}

/// A key's identifier is its owner's choice; the log also has what follows from the key.
#[tokio::test]
async fn the_entry_of_a_command_has_the_thumbprints_of_keys() {
    let place = Place::new();
    let mut key = keys::public_jwk(&keys::generate_pem().expect("a key")).expect("a JWK");
    let thumbprint = key.common.key_id.replace("mine".to_owned()).expect("made with it");
    std::fs::write(place.path("keys.json"), keys::jwks_json(key).expect("a key set")).expect("writable");
    assert_eq!(place.client("add --id a --ods R9Z --role sender --jwks @keys.json").await.0, Ok(Exit::Done));
    let (_, entries) = place.stored().await;
    assert!(entries[0].contains(&format!(", keys mine ({thumbprint}); registration ")), "{}", entries[0]);
}

#[tokio::test]
async fn keys_that_should_be_secret_are_refused() {
    let place = Place::new();
    let private = r#"{"keys":[{"kty":"EC","crv":"P-384","kid":"a","x":"AA","y":"AA","d":"AA"}]}"#;
    for (name, text) in [("private.json", private), ("empty.json", r#"{"keys":[]}"#), ("none.json", "keys")] {
        std::fs::write(place.path(name), text).expect("writable");
        let line = format!("add --id a --ods R9Z --role sender --jwks @{name}");
        assert_eq!(place.client(&line).await.0, Err(Exit::Usage), "{name}");
    }
}

#[tokio::test]
async fn lists_show_identifiers_and_never_key_material() {
    let place = Place::new();
    let certificate = rcgen::generate_simple_self_signed(["client.example".to_owned()]).expect("a certificate");
    std::fs::write(place.path("client.pem"), certificate.cert.pem()).expect("writable");
    assert_eq!(place.client(&format!("{ADD} --certificate @client.pem")).await.0, Ok(Exit::Done));
    let (outcome, out) = place.client("list --json").await;
    assert_eq!(outcome, Ok(Exit::Done));
    let row: Value = serde_json::from_str(out.trim()).expect("one line of JSON");
    assert_eq!(row["certificate_sha256"], sha256_hex(certificate.cert.der()));
    assert_eq!((row["id"].as_str(), row["ods"].as_str()), (Some("northmoor-epr"), Some("R9Z")));
    assert!(row.get("jwks").is_none());
    let (_, table) = place.client("list").await;
    assert!(table.lines().count() == 2 && table.contains("northmoor-epr") && table.contains("active"), "{table}");
    std::fs::write(place.path("client.pem"), "no certificate").expect("writable");
    let line = "add --id b --ods R9Z --role sender --jwks @gateway.toml --certificate @client.pem";
    assert_eq!(place.client(line).await.0, Err(Exit::Usage));
}

#[tokio::test]
async fn a_key_set_may_be_fetched_from_listed_hosts_only() {
    let place = Place::new();
    let add = |url: &str| format!("add --id a --ods R9Z --role sender --jwks-url {url}");
    for url in [
        "http://api.service.nhs.uk/jwks",
        "https://elsewhere.example/jwks",
        "https://user:word@api.service.nhs.uk/jwks",
        "https://169.254.169.254/jwks",
    ] {
        assert_eq!(place.client(&add(url)).await.0, Err(Exit::Usage), "{url}");
    }
    assert_eq!(place.client(&add("https://api.service.nhs.uk/jwks")).await.0, Ok(Exit::Done));
    let (_, table) = place.client("list").await;
    assert!(table.contains("at https://api.service.nhs.uk/jwks"), "{table}");
}

#[tokio::test]
async fn looking_makes_no_store() {
    let place = Place::new();
    assert_eq!(place.client("list").await.0, Err(Exit::Usage));
    assert!(!place.path("onward.db").exists());
}
