//! People sign in: invitations, passwords with codes, sessions (trust.md §1 and §6, rows 110 and 113).

use onward_core::people::Role;
use onward_tests::browser::{self, Browser, PASSWORD, Page};
use onward_tests::world::World;

const ADA: &str = "ada@rowan.example";

async fn try_with(browser: &Browser, email: &str, password: &str, code: &str) -> Page {
    browser.post("/sign-in", &[("email", email), ("password", password), ("code", code)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_makes_one_account_once() {
    let world = World::start().await;
    let (_, path) = browser::invited(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let (first, second) = (Browser::new(&world), Browser::new(&world));
    let page = first.get(&path).await;
    assert!(page.text.contains("Person ada, for VMH01") && page.text.contains("<svg"), "{}", page.text);
    let shown = second.get(&path).await;
    assert_ne!(page.key(), shown.key(), "everybody who opens the link gets a key of their own");

    let key = page.key().expect("a key").to_owned();
    let code =
        || onward_server::people::code_at(&key, onward_core::Clock::now(&onward_core::SystemClock)).expect("a key");
    let send = async |form: &str, password: &str, again: &str, code: &str| {
        let fields = [("form", form), ("password", password), ("again", again), ("code", code)];
        first.post(&path, &fields).await
    };
    let mut form = page.field("form").expect("a form").to_owned();
    let wrong = [
        ("short", "short", code(), "12 to 128 characters"),
        (PASSWORD, "kettle lamp orbit ten", code(), "not the same"),
        (PASSWORD, PASSWORD, "000000".to_owned(), "The code is not right"),
        ("a person ada knows", "a person ada knows", code(), "part of your name"),
    ];
    for (password, again, code, problem) in wrong {
        let answer = send(&form, password, again, &code).await;
        assert_eq!(answer.status, 422);
        assert!(answer.text.contains(problem), "{problem}: {}", answer.text);
        assert!(!answer.text.contains(password) || password == "short", "what was typed is not shown again");
        assert_eq!(answer.key(), Some(key.as_str()), "the phone knows this key already");
        let next = answer.field("form").expect("a form").to_owned();
        assert_eq!(send(&form, PASSWORD, PASSWORD, &code).await.status, 303, "a form works once");
        assert_eq!(first.cookie("__Host-sid"), None);
        form = next;
    }
    let done = send(&form, PASSWORD, PASSWORD, &code()).await;
    assert_eq!((done.status, done.location()), (303, Some("/")));
    let start = first.get("/").await;
    assert!(start.text.contains("Signed in as Person ada (care home) for VMH01"), "{}", start.text);

    assert_eq!(second.get(&path).await.status, 404, "the link is used up");
    let late = second.post(&path, &[("form", shown.field("form").expect("a form")), ("password", PASSWORD)]).await;
    assert_eq!((late.status, second.cookie("__Host-sid")), (404, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_pages_are_closed_to_others() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let page = ada.sign_in(&ada.browser).await;
    let cookies: Vec<&str> =
        page.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()).collect();
    let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-sid=")).expect("a session");
    assert!(session.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{session}");
    assert!(
        cookies
            .iter()
            .all(|cookie| cookie.starts_with("__Host-") && cookie.contains("; Secure; HttpOnly; SameSite=Lax"))
    );
    for path in ["/", "/sign-in", "/invitation/none", "/no-such-page"] {
        let page = ada.browser.get(path).await;
        let header = |name: &str| page.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{path}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"), "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff", "no-referrer"), "{path}");
    }
    let secret = session.split(['=', ';']).nth(1).expect("a value");
    let entries = world.gateway().store().audit_entries(0, 1000).await.expect("readable");
    assert!(
        entries.iter().all(|entry| !String::from_utf8_lossy(entry.event().expect("kept")).contains(secret)),
        "only its hash is kept"
    );
}

/// Row 110: nothing that another site sends is done; row 113: a session that was there before is not the one that begins.
#[tokio::test(flavor = "multi_thread")]
async fn rows_110_and_113_forged_forms_and_fixed_sessions() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("sec-fetch-site", "none")]
    {
        for path in ["/sign-out", "/sign-in", "/invitation/none"] {
            let forged = ada.browser.send("POST", path, &[(name, value)], String::new()).await;
            assert_eq!(forged.status, 403, "row 110: {path} {value}");
        }
    }
    assert_eq!(ada.browser.get("/").await.status, 200, "still signed in");

    let fixed = "A".repeat(43);
    let browser = Browser::new(&world);
    browser.set_cookie("__Host-sid", Some(&fixed));
    assert_eq!(browser.get("/").await.status, 303, "a session that nobody began");
    assert_eq!(ada.sign_in(&browser).await.status, 303);
    let begun = browser.cookie("__Host-sid").expect("a session");
    assert_ne!(begun, fixed, "row 113");
    assert_eq!(browser.get("/").await.status, 200);
    let attacker = Browser::new(&world);
    attacker.set_cookie("__Host-sid", Some(&fixed));
    assert_eq!(attacker.get("/").await.status, 303);

    // Signing out ends it for whoever kept the cookie.
    assert_eq!(browser.post("/sign-out", &[]).await.status, 303);
    assert_eq!(browser.cookie("__Host-sid"), None);
    attacker.set_cookie("__Host-sid", Some(&begun));
    let page = attacker.get("/?from=here").await;
    assert_eq!((page.status, page.location()), (303, Some("/sign-in?next=%2F%3Ffrom%3Dhere")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_sign_in_is_not_told_why() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let gone = browser::person(&world, "gone@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let disabled = onward_core::people::User { disabled: true, ..gone.user.clone() };
    let row = world.configured("user disabled");
    assert!(world.gateway().store().put_user(disabled, None, vec![row]).await.expect("stored"));
    assert_eq!(gone.browser.get("/").await.status, 303, "out at once");
    browser::invited(&world, "new@rowan.example", Role::CareHomeUser, &["VMH01"]).await;

    let tries = [
        (ADA, "another password", ada.code(1)),
        (ADA, PASSWORD, "000000".to_owned()),
        (ADA, PASSWORD, ada.used.clone()),
        (ADA, PASSWORD, ada.code(-3)),
        ("gone@rowan.example", PASSWORD, gone.code(1)),
        ("new@rowan.example", PASSWORD, ada.code(1)),
        ("nobody@rowan.example", PASSWORD, ada.code(1)),
        ("", "", String::new()),
    ];
    let mut told = std::collections::BTreeSet::new();
    for (email, password, code) in &tries {
        let browser = Browser::new(&world);
        let page = try_with(&browser, email, password, code).await;
        assert_eq!((page.status, browser.cookie("__Host-sid")), (401, None), "{email}");
        assert!(email.is_empty() || page.text.contains(&format!("value=\"{email}\"")));
        told.insert(page.text.replace(&format!(" value=\"{email}\""), ""));
    }
    told.retain(|text| !text.is_empty());
    assert_eq!(told.len(), 1, "the same answer to all");
    let answer = try_with(&Browser::new(&world), " ADA@rowan.example ", PASSWORD, &ada.code(1)).await;
    assert_eq!(answer.status, 303, "the right one still works");
}

/// Guessing is stopped where it is done, and locks nobody out elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_stopped_without_locking_anybody_out() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let bob = browser::person(&world, "bob@rowan.example", Role::CareHomeUser, &["VMH01"]).await;
    let stranger = Browser::new(&world);
    for _ in 0..5 {
        assert_eq!(try_with(&stranger, ADA, "a wrong password", "000000").await.status, 401);
    }
    let refused = ada.sign_in(&stranger).await;
    assert_eq!(refused.status, 429, "not even with what is right");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(bob.sign_in(&stranger).await.status, 303, "another account from the same address");
    assert_eq!(ada.sign_in(&ada.browser).await.status, 303, "a browser that the account has signed in from");

    // From everywhere at once: enough that strangers must wait, and still not the browser that is known.
    let account = "SELECT account FROM sign_in_failures LIMIT 1";
    world.tamper(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
         INSERT INTO sign_in_failures (account, address, second_factor, at)
         SELECT ({account}), randomblob(32), 0, (SELECT max(at) FROM sign_in_failures) FROM n;
         DELETE FROM sign_in_failures WHERE address = (SELECT address FROM sign_in_failures LIMIT 1);
         UPDATE passwords SET totp_step = 0;"
    ));
    assert_eq!(ada.sign_in(&Browser::new(&world)).await.status, 429);
    assert_eq!(ada.sign_in(&ada.browser).await.status, 303);
}

/// Whoever guesses in many requests at once gets no more guesses than one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_wait_together_are_counted_together() {
    let world = World::start().await;
    browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let stranger = std::sync::Arc::new(Browser::new(&world));
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let stranger = std::sync::Arc::clone(&stranger);
        tries.spawn(async move { try_with(&stranger, ADA, "a wrong password", "000000").await.status });
    }
    let statuses = tries.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    let judged = statuses.iter().filter(|status| **status == 401).count();
    // Five, and whoever was being judged beside the fifth.
    assert!((5..=6).contains(&judged), "{judged} were judged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_idle_old_or_its_person_changes() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let minutes = |minutes: i64| minutes * 60 * 1_000_000;
    world.tamper(&format!("UPDATE sessions SET last_seen = last_seen - {}", minutes(14)));
    assert_eq!(ada.browser.get("/").await.status, 200, "fourteen minutes are not idle");
    world.tamper(&format!("UPDATE sessions SET last_seen = last_seen - {}", minutes(14)));
    assert_eq!(ada.browser.get("/").await.status, 200, "being used kept it alive");
    world.tamper(&format!("UPDATE sessions SET last_seen = last_seen - {}", minutes(16)));
    assert_eq!(ada.browser.get("/").await.status, 303, "idle");

    assert_eq!(ada.sign_in(&ada.browser).await.status, 303);
    world.tamper(&format!("UPDATE sessions SET authenticated = authenticated - {}", minutes(12 * 60 + 1)));
    assert_eq!(ada.browser.get("/").await.status, 303, "however much it is used");
    world.tamper(&format!("UPDATE sessions SET authenticated = authenticated + {}", minutes(12 * 60 + 1)));
    assert_eq!(ada.browser.get("/").await.status, 200);

    let moved = onward_core::people::User { organisations: vec!["VMH02".parse().expect("a code")], ..ada.user.clone() };
    let row = world.configured("user moved");
    assert!(world.gateway().store().put_user(moved, None, vec![row]).await.expect("stored"));
    assert_eq!(ada.browser.get("/").await.status, 303, "what it rested on has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_back_to_our_own_pages_only() {
    let world = World::start().await;
    let ada = browser::person(&world, ADA, Role::CareHomeUser, &["VMH01"]).await;
    let browser = Browser::new(&world);
    let page = browser.get("/sign-in?next=//evil.example/").await;
    assert_eq!(page.field("next"), Some("/"));
    let page = browser.get("/sign-in?next=%2F%22%3E%3Cscript%3E").await;
    assert_eq!(page.text.matches("<script").count(), 2, "our own: {}", page.text);
    let fields = [("email", ADA), ("password", PASSWORD), ("code", &ada.code(1)), ("next", "https://evil.example/")];
    let answer = browser.post("/sign-in", &fields).await;
    assert_eq!((answer.status, answer.location()), (303, Some("/")));
    assert_eq!(browser.get("/sign-in?next=/x").await.location(), Some("/x"), "whoever is signed in is led on");
    let again = browser.get("/sign-in?next=/x&again=1").await;
    assert_eq!((again.status, again.field("again")), (200, Some("1")), "unless it has to be done again");
    let wrong = [("email", ADA), ("password", "not mine at all"), ("code", "000000"), ("next", "/x"), ("again", "1")];
    let answer = browser.post("/sign-in", &wrong).await;
    assert_eq!((answer.status, answer.field("again"), answer.field("next")), (401, Some("1"), Some("/x")));
}
