//! Sign-in and sign-out through an identity provider that is not ours: npm's oidc-provider, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use onward_tests::signer::Signer;
use url::Url;

use super::*;

/// The provider; it ends with this value.
struct Peer {
    issuer: String,
    process: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Peer {
    /// A world that knows the provider as `cis2`, and the provider; `None`, loudly, where it is not installed.
    async fn with_world() -> Option<(World, Self)> {
        let modules = crate::journeys::installed()?;
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let issuer = format!("https://127.0.0.1:{port}");
        let client_key = keys::generate_pem().expect("a key");
        let world = World::start_with_issuer(&issuer, CLIENT, &client_key).await;
        let mut key = json!(Signer::new(CLIENT, &client_key, "").public_jwk());
        key["kid"] = "our-key".into();
        let at = |path: &str| String::from(world.base().join(path).expect("a path"));
        let file = |name: &str| world.folder().join(name);
        let told = json!({
            "modules": modules, "issuer": issuer, "port": port, "client": CLIENT, "key": key,
            "redirect": at("/sign-in/return"), "logout": at("/sign-in/logout/cis2"),
            "tlsKey": file("server.key"), "tlsCertificate": file("server.pem"),
        });
        std::fs::write(file("provider.json"), told.to_string()).expect("written");
        let mut process = Command::new("node")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/federation/provider.mjs"))
            .arg(file("provider.json"))
            .env("NODE_EXTRA_CA_CERTS", file("ca.pem"))
            .env("NODE_ENV", "test")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let tell = process.stdin.take().expect("piped");
        let hear = BufReader::new(process.stdout.take().expect("piped"));
        let mut peer = Self { issuer, process, tell, hear };
        assert_eq!(peer.answer()["ready"], true);
        Some((world, peer))
    }

    /// Where this person's browser ends up that follows a link to the provider and presses what it finds there.
    fn walk(&mut self, subject: &str, url: &str) -> Value {
        // It calls our server meanwhile: the threads of the runtime must go on.
        tokio::task::block_in_place(|| {
            writeln!(self.tell, "{}", json!({ "subject": subject, "url": url })).expect("it listens");
            self.answer()
        })
    }

    fn answer(&mut self) -> Value {
        loop {
            let mut line = String::new();
            let read = self.hear.read_line(&mut line).expect("readable");
            assert_ne!(read, 0, "the provider ended");
            if let Some(answer) = serde_json::from_str(&line).ok().filter(Value::is_object) {
                return answer;
            }
        }
    }

    /// Away to the provider's, and back.
    async fn sign_in(&mut self, browser: &Browser, query: &str, subject: &str) -> Page {
        let away = browser.get(&format!("/sign-in/with/cis2{query}")).await;
        assert_eq!(away.status, 303, "{}", away.text);
        let led = self.walk(subject, away.location().expect("a location"));
        let back = Url::parse(led["location"].as_str().unwrap_or_else(|| panic!("{led}"))).expect("a URL");
        assert!(back.query_pairs().any(|(name, value)| name == "iss" && value == self.issuer.as_str()), "RFC 9207");
        browser.get(&format!("{}?{}", back.path(), back.query().unwrap_or_default())).await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; its end is all that matters.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_ours_vouches_and_ends_what_it_vouched_for() {
    let Some((world, mut peer)) = Peer::with_world().await else { return };
    let (_, path) = browser::invited(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let token = path.trim_start_matches("/invitation/");
    let ada = Browser::new(&world);
    let page = peer.sign_in(&ada, &format!("?invitation={token}"), "ada").await;
    assert_eq!((page.status, page.location()), (303, Some("/")), "{}", page.text);
    assert!(ada.get("/").await.text.contains("Signed in as Person ada"));

    // Again, by the session that the provider still has; and somebody whom nobody invited.
    let again = Browser::new(&world);
    assert_eq!(peer.sign_in(&again, "", "ada").await.status, 303);
    assert_eq!(again.get("/").await.status, 200);
    let stranger = Browser::new(&world);
    assert_eq!(peer.sign_in(&stranger, "", "mallory").await.status, 403);
    assert_eq!(stranger.cookie("__Host-sid"), None);
    // Whom the provider knows less well than the configuration asks.
    let (_, path) = browser::invited(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let token = path.trim_start_matches("/invitation/");
    let page = peer.sign_in(&Browser::new(&world), &format!("?invitation={token}"), "weak-bob").await;
    assert_eq!(page.status, 403, "{}", page.text);

    // A code is good once, whoever brings it.
    let away = ada.get("/sign-in/with/cis2").await;
    let led = peer.walk("ada", away.location().expect("a location"));
    let back = Url::parse(led["location"].as_str().expect("a location")).expect("a URL");
    let back = format!("{}?{}", back.path(), back.query().expect("a code"));
    assert_eq!(ada.get(&back).await.status, 303);
    assert_eq!(ada.get(&back).await.status, 401);

    // Ada signs out there: the provider's server tells ours.
    let url = format!("{}/session/end", peer.issuer);
    let led = peer.walk("ada", &url);
    assert!(led.get("error").is_none(), "{led}");
    for browser in [&ada, &again] {
        assert_eq!(browser.get("/").await.status, 303, "out at once");
    }
}
