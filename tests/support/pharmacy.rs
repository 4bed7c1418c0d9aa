//! The delivering pharmacy's system, to which copies are pushed: writes down what comes, and answers as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use onward_server::listener;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::world::World;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It has what came, and says so.
    Takes,
    /// 503, and nothing is written down.
    Refuses,
    /// It has what came, and says so when it is told to take things.
    Hangs,
}

/// A delivery as it came. Its `Debug` would show what is in it, so it has none.
#[derive(Clone)]
pub struct Came {
    /// Identifier of the copy.
    pub delivery: String,
    /// The bytes.
    pub body: Bytes,
    /// `Authorization`, empty where there was none.
    pub authorization: String,
}

/// The system; it ends with this value.
pub struct Pharmacy {
    came: Arc<watch::Sender<Vec<Came>>>,
    answers: Arc<watch::Sender<Answers>>,
    bodies: Arc<Mutex<BTreeMap<String, Bytes>>>,
    _stop: watch::Sender<bool>,
}

impl Pharmacy {
    /// Serves on loopback, and brings its address into the directory: two copies of every message go there.
    ///
    /// # Panics
    /// When that cannot be done.
    pub async fn start(world: &World, answers: Answers) -> Self {
        let bound = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/in", bound.local_addr().expect("bound"));
        let (came, answers) = (Arc::new(watch::Sender::new(Vec::new())), Arc::new(watch::Sender::new(answers)));
        let (own, told) = (Arc::clone(&came), Arc::clone(&answers));
        let bodies = Arc::new(Mutex::new(BTreeMap::<String, Bytes>::new()));
        let known = Arc::clone(&bodies);
        let app = Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
            let text =
                |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            let mut answers = told.subscribe();
            if *answers.borrow_and_update() == Answers::Refuses {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            let delivery = text("onward-delivery");
            // What comes again under an identifier that is known must be what came.
            let same = *known.lock().expect("whole").entry(delivery.clone()).or_insert_with(|| body.clone()) == body;
            let authorization = text(header::AUTHORIZATION.as_str());
            own.send_modify(|came| came.push(Came { delivery, body, authorization }));
            let taken = answers.wait_for(|answers| *answers != Answers::Hangs).await.is_ok();
            if same && taken { StatusCode::OK } else { StatusCode::CONFLICT }
        });
        let (stop, stopped) = watch::channel(false);
        let tls = Some(Arc::new(world.tls()));
        tokio::spawn(listener::serve(bound, tls, app, listener::Patience::default(), stopped));
        world
            .import_directory(&format!(
                "[[pharmacy]]\nods = \"FZZ01\"\nname = \"Station Road Pharmacy\"\nexpires = \"2099-12-31\"\n\
                 endpoint = {{ transport = \"https\", url = \"{url}\" }}\n"
            ))
            .await;
        Self { came, answers, bodies, _stop: stop }
    }

    /// From now on it answers so.
    pub fn does(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }

    /// What came so far, in this order.
    #[must_use]
    pub fn came(&self) -> Vec<Came> {
        self.came.borrow().clone()
    }

    /// What came, when it is so; deliveries by identifier come again.
    ///
    /// # Panics
    /// Never: what is waited for is kept here.
    pub async fn until(&self, so: impl Fn(&[Came]) -> bool) -> Vec<Came> {
        self.came.subscribe().wait_for(|came| so(came)).await.expect("it is kept here").clone()
    }

    /// The copies that came, each once.
    ///
    /// # Panics
    /// When a request panicked.
    #[must_use]
    pub fn has(&self) -> BTreeMap<String, Bytes> {
        self.bodies.lock().expect("whole").clone()
    }
}
