//! Rows 110 to 113: what browsers send for people, byte by byte, and what no browser would.

use onward_tests::authenticator::Authenticator;
use onward_tests::browser::PASSWORD;
use onward_tests::wire::Heard;
use serde_json::{Value, json};

use super::Ground;

/// What a browser says of a form of our own page.
const OURS: &str = "Sec-Fetch-Site: same-origin\r\n";

impl Ground {
    async fn page(&self, method: &str, path: &str, headers: &str, body: &str) -> Heard {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: text/html\r\n", self.host);
        self.wire().say(format!("{head}{headers}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await
    }

    async fn form(&self, path: &str, headers: &str, body: &str) -> Heard {
        self.page("POST", path, &format!("{headers}Content-Type: application/x-www-form-urlencoded\r\n"), body).await
    }

    /// Sends JSON from our own page; the answer, and what it holds.
    async fn script(&self, path: &str, body: &Value) -> (Heard, Value) {
        let headers = format!("{OURS}Content-Type: application/json\r\n");
        let heard = self.page("POST", path, &headers, &body.to_string()).await;
        let value = heard.text().split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        (heard, value.unwrap_or_default())
    }
}

pub(super) async fn rows(ground: &mut Ground) {
    cross_site(ground).await;
    // Before the passkeys: so many failures leave the account's address no further try by password.
    fixed_session(ground).await;
    passkeys(ground).await;
}

async fn cross_site(ground: &mut Ground) {
    let session = ground.person.browser.cookie("__Host-sid").expect("signed in");
    let cookie = format!("Cookie: __Host-sid={session}\r\n");
    for (name, headers) in [
        ("a form of another site", "Sec-Fetch-Site: cross-site\r\n"),
        ("of a neighbour of ours", "Sec-Fetch-Site: same-site\r\n"),
        ("of nobody's page", "Sec-Fetch-Site: none\r\n"),
        ("that says two things", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n"),
        ("of an older browser, from another origin", "Origin: https://evil.example\r\n"),
        ("of a sandbox", "Origin: null\r\n"),
        ("that says nothing", ""),
    ] {
        for path in ["/sign-out", "/sign-in"] {
            let heard = ground.form(path, &format!("{cookie}{headers}"), "x=1").await;
            ground
                .reason(110, &format!("{name}: {path}"), 403, "did not come from a page of this service", &heard)
                .await;
        }
    }
    let heard = ground.page("GET", "/", &cookie, "").await;
    ground.status(110, "the session goes on", 200, &heard).await;
    let heard = ground.form("/session", &format!("{cookie}{OURS}"), "").await;
    ground.status(110, "a form of our own page is taken", 303, &heard).await;
}

async fn passkeys(ground: &mut Ground) {
    let origin = format!("https://{}", ground.host);
    let mut key = Authenticator::new(&origin);
    let json = [("content-type", "application/json")];
    let ask = async |path: &str, body: &Value| ground.person.browser.send("POST", path, &json, body.to_string()).await;
    let options = ask("/account/passkey/challenge", &json!({})).await;
    let made = key.create(&serde_json::from_str(&options.text).expect("options"));
    let registered = ask("/account/passkey", &made).await;
    assert_eq!(registered.status, 200, "{}", registered.text);

    let challenge = async |ground: &Ground| ground.script("/sign-in/passkey/challenge", &json!({})).await.1;
    let options = challenge(ground).await;
    let answer = key.get(&options);
    let (heard, _) = ground.script("/sign-in/passkey", &answer).await;
    ground.status(111, "an answer for the first time is taken", 200, &heard).await;
    let (heard, _) = ground.script("/sign-in/passkey", &answer).await;
    ground.status(111, "an answer again", 401, &heard).await;
    let (heard, _) = ground.script("/sign-in/passkey", &key.get(&options)).await;
    ground.status(111, "a new answer to the same challenge", 401, &heard).await;
    for evil in ["https://onward.evil.example", "http://127.0.0.1", "null"] {
        let options = challenge(ground).await;
        key.origin = evil.to_owned();
        let (heard, _) = ground.script("/sign-in/passkey", &key.get(&options)).await;
        ground.status(112, &format!("an answer made for {evil}"), 401, &heard).await;
        key.origin.clone_from(&origin);
        let (heard, _) = ground.script("/sign-in/passkey", &key.get(&options)).await;
        ground.status(112, "and the challenge is used up", 401, &heard).await;
    }
}

/// An attacker has put a session of their own choice into the browser: it must not be the one that the sign-in begins.
async fn fixed_session(ground: &mut Ground) {
    let fixed = "A".repeat(43);
    let cookie = format!("Cookie: __Host-sid={fixed}\r\n");
    let fields = [
        ("email", ground.person.user.email.as_str()),
        ("password", PASSWORD),
        ("code", &ground.person.code(1)),
        ("next", "/"),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let heard = ground.form("/sign-in", &format!("{cookie}{OURS}"), &form).await;
    ground.status(113, "a sign-in over a fixed session", 303, &heard).await;
    let text = heard.text();
    let set = text.lines().find_map(|line| line.strip_prefix("set-cookie: __Host-sid="));
    let new = set.and_then(|set| set.split(';').next()).expect("a session").to_owned();
    let got = if new == fixed || new.len() < 43 { "the same id, or none" } else { "a new id" };
    ground.row(113, "the session that it begins", "a new id", got).await;
    let heard = ground.page("GET", "/", &cookie, "").await;
    ground.status(113, "the fixed session is nobody's", 303, &heard).await;
    let heard = ground.page("GET", "/", &format!("Cookie: __Host-sid={new}\r\n"), "").await;
    ground.status(113, "the new one is the person's", 200, &heard).await;
}
