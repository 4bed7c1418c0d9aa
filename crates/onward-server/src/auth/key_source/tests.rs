//! Against a server on loopback, with a clock that is turned by hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use onward_connect::egress::EgressHost;
use onward_connect::http::HttpConfig;
use onward_connect::strength::RSA_BITS_MIN;
use onward_core::SystemClock;
use onward_core::client::{NhsNumberPolicy, Role};

use super::*;

struct TurnedClock(Mutex<Timestamp>);

impl TurnedClock {
    fn turn(&self, seconds: i64) {
        let mut now = self.0.lock().expect("whole");
        *now += SignedDuration::from_secs(seconds);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("whole")
    }
}

/// What the client's server answers.
#[derive(Clone)]
enum Says {
    Keys(Vec<&'static str>),
    Status(StatusCode),
    Elsewhere,
    Text(String),
}

struct Bench {
    source: KeySource,
    clock: Arc<TurnedClock>,
    says: Arc<Mutex<Says>>,
    fetched: Arc<AtomicUsize>,
    elsewhere: Arc<AtomicUsize>,
    client: Client,
}

fn key_set(kids: &[&str]) -> String {
    let pem = keys::generate_pem().expect("a key");
    let keys = kids.iter().map(|kid| {
        let mut jwk = keys::public_jwk(&pem).expect("a JWK");
        jwk.common.key_id = Some((*kid).to_owned());
        jwk
    });
    serde_json::to_string(&JwkSet { keys: keys.collect() }).expect("JSON")
}

fn answer(says: &Says) -> Response {
    match says {
        Says::Keys(kids) => key_set(kids).into_response(),
        Says::Status(status) => (*status, key_set(&["one"])).into_response(),
        Says::Elsewhere => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        Says::Text(text) => text.clone().into_response(),
    }
}

impl Bench {
    async fn set_up(says: Says) -> Self {
        let says = Arc::new(Mutex::new(says));
        let (fetched, elsewhere) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (told, count, other) = (Arc::clone(&says), Arc::clone(&fetched), Arc::clone(&elsewhere));
        let app = Router::new()
            .route(
                "/jwks",
                get(move || async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    answer(&told.lock().expect("whole"))
                }),
            )
            .route(
                "/elsewhere",
                get(move || async move {
                    other.fetch_add(1, Ordering::SeqCst);
                    key_set(&["one"])
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url: Url = format!("http://{}/jwks", listener.local_addr().expect("bound")).parse().expect("a URL");
        tokio::spawn(async move { axum::serve(listener, app).await });
        let http = HttpClient::new(&HttpConfig {
            egress: vec![EgressHost { host: "127.0.0.1".to_owned(), internal: true }],
            allow_plain_loopback: true,
            response_bytes_max: KEY_SET_BYTES_MAX,
            ..HttpConfig::default()
        })
        .expect("a client");
        let clock = Arc::new(TurnedClock(Mutex::new(SystemClock.now())));
        let client = Client {
            id: "northmoor-epr".to_owned(),
            ods: "R9Z".parse().expect("an ODS code"),
            role: Role::Sender,
            jwks: at(&url),
            certificate_sha256: None,
            mesh_mailbox: None,
            nhs_number_policy: NhsNumberPolicy::Refuse,
            disabled: false,
            under: None,
        };
        let source = KeySource::new(http, Arc::clone(&clock) as Arc<dyn Clock>, RSA_BITS_MIN);
        Self { source, clock, says, fetched, elsewhere, client }
    }

    fn say(&self, says: Says) {
        *self.says.lock().expect("whole") = says;
    }

    /// The kids that are known, `None` when the client cannot sign in.
    async fn kids(&self) -> Option<Vec<String>> {
        let keys = self.source.of(&self.client).await.ok()?;
        Some(keys.keys.iter().filter_map(|key| key.common.key_id.clone()).collect())
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fetch_a_minute_whatever_the_flood() {
    let bench = Arc::new(Bench::set_up(Says::Keys(vec!["one"])).await);
    for minute in 1..=3 {
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let bench = Arc::clone(&bench);
            flood.spawn(async move { bench.kids().await });
        }
        assert!(flood.join_all().await.into_iter().all(|kids| kids == Some(vec!["one".to_owned()])));
        assert_eq!(bench.fetched(), minute);
        bench.clock.turn(59);
        assert!(bench.kids().await.is_some());
        assert_eq!(bench.fetched(), minute, "before the minute has passed");
        bench.clock.turn(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_known_and_an_old_one_forgotten_within_a_minute() {
    let bench = Bench::set_up(Says::Keys(vec!["old"])).await;
    assert_eq!(bench.kids().await, Some(vec!["old".to_owned()]));
    bench.say(Says::Keys(vec!["new"]));
    bench.clock.turn(60);
    assert_eq!(bench.kids().await, Some(vec!["new".to_owned()]));
}

/// What a key vouched for ends with it: within a minute of its withdrawal, and within two where the URL is held down meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_vouches_for_nothing_after_a_minute() {
    let published = key_set(&["one"]);
    let keys: JwkSet = serde_json::from_str(&published).expect("JSON");
    let print = thumbprint(&keys.keys[0]).expect("a thumbprint");
    for (then, seconds) in [(Says::Keys(vec!["one"]), 60), (Says::Status(StatusCode::BAD_GATEWAY), 120)] {
        let bench = Bench::set_up(Says::Text(published.clone())).await;
        assert!(bench.source.publishes(&bench.client, &print).await);
        assert!(!bench.source.publishes(&bench.client, "another").await);
        bench.say(then);
        bench.clock.turn(59);
        assert!(bench.source.publishes(&bench.client, &print).await, "not asked yet");
        bench.clock.turn(seconds - 59);
        assert!(!bench.source.publishes(&bench.client, &print).await, "{seconds} s: the same name does not help");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_bridged_for_a_while() {
    let bench = Bench::set_up(Says::Keys(vec!["one"])).await;
    assert!(bench.kids().await.is_some());
    bench.say(Says::Status(StatusCode::SERVICE_UNAVAILABLE));
    bench.clock.turn(119);
    assert!(bench.kids().await.is_some(), "one fetch that failed is bridged");
    bench.clock.turn(1);
    assert_eq!(bench.kids().await, None, "after two minutes");
    bench.say(Says::Keys(vec!["one"]));
    assert_eq!(bench.kids().await, None, "not asked again at once");
    bench.clock.turn(60);
    assert!(bench.kids().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_set_is_none() {
    let right = key_set(&["one"]);
    let large = right.replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(KEY_SET_BYTES_MAX)), 1);
    for (name, says) in [
        ("a redirect", Says::Elsewhere),
        ("an error that brings keys", Says::Status(StatusCode::FORBIDDEN)),
        ("more than 64 KB", Says::Text(large)),
        ("no JSON", Says::Text("<html/>".to_owned())),
        ("no keys", Says::Text("{\"keys\":[]}".to_owned())),
        ("a kid twice", Says::Keys(vec!["one", "one"])),
        ("a private key", Says::Text(right.replacen("\"kty\"", "\"d\":\"AA\",\"kty\"", 1))),
        ("a symmetric key", Says::Text(r#"{"keys":[{"kty":"oct","kid":"one","k":"AA"}]}"#.to_owned())),
    ] {
        let bench = Bench::set_up(says).await;
        assert_eq!(bench.kids().await, None, "{name}");
        assert_eq!((bench.fetched(), bench.elsewhere.load(Ordering::SeqCst)), (1, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_url_is_asked_at_once_and_an_unlisted_host_never() {
    let mut bench = Bench::set_up(Says::Keys(vec!["one"])).await;
    assert!(bench.kids().await.is_some());
    let listed = bench.client.jwks.clone();
    bench.client.jwks = listed.replace("127.0.0.1", "127.0.0.2");
    assert_eq!(bench.kids().await, None, "keys of the former URL are not used");
    bench.client.jwks = listed;
    assert!(bench.kids().await.is_some());
    assert_eq!(bench.fetched(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_keys_are_never_fetched() {
    let mut bench = Bench::set_up(Says::Keys(vec!["one"])).await;
    bench.client.jwks = key_set(&["registered"]);
    assert_eq!(bench.kids().await, Some(vec!["registered".to_owned()]));
    assert_eq!(bench.fetched(), 0);
}
