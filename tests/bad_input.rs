//! The corpus of hostile input (trust.md §6) against the real listener: every row sent to one gateway process, which
//! must give the exact answer, stay healthy after each, never panic and not grow by more than 64 MB.
//!
//! Where a row is corrected by a clause, the row says so. `cargo test -p onward-tests bad_input -- --nocapture` prints
//! the whole table.

mod fhir;
mod http;
mod http2;
mod json;
mod tls;
mod token;
mod web;
mod xml;

use onward_core::client::Role;
use onward_core::people::Role as PersonRole;
use onward_server::listener::sha256_hex;
use onward_tests::authority::{Authority, Identity, Kind};
use onward_tests::browser::{self, Person};
use onward_tests::leaks::Session;
use onward_tests::process::Process;
use onward_tests::signer::Signer;
use onward_tests::wire::{Heard, Wire};
use onward_tests::world::World;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Growth of the gateway's memory over the whole corpus, its highest point included (trust.md §2, N1).
const GROWTH_MAX: usize = 64 * 1024 * 1024;

/// One row with its answer.
struct Row {
    number: u16,
    name: String,
    expected: String,
    got: String,
}

/// The gateway under attack, and those who attack it.
struct Ground {
    world: World,
    process: Process,
    rows: Vec<Row>,
    host: String,
    hospital: Session,
    home: Session,
    signer: Signer,
    /// A client that must show a certificate.
    bound: Signer,
    certificates: Certificates,
    /// Somebody of the care home.
    person: Person,
}

struct Certificates {
    right: Identity,
    revoked: Identity,
    expired: Identity,
    for_servers: Identity,
    foreign: Identity,
    under_stale_list: Identity,
}

impl Ground {
    async fn prepare() -> Self {
        let [authority, stale, foreign] = ["An authority", "One that forgot its list", "Another"].map(Authority::new);
        let certificates = Certificates {
            right: authority.issue(1, Kind::Right),
            revoked: authority.issue(2, Kind::Right),
            expired: authority.issue(3, Kind::Expired),
            for_servers: authority.issue(4, Kind::ForServers),
            foreign: foreign.issue(1, Kind::Right),
            under_stale_list: stale.issue(1, Kind::Right),
        };
        let authorities = format!("{}{}", authority.certificate(), stale.certificate());
        let lists = format!("{}{}", authority.crl(&[2], 2099), stale.crl(&[], 2021));
        let mut world = World::start_with_client_authorities(&authorities, &lists).await;
        let (hospital, home) = (world.hospital().await, world.care_home().await);
        let signer = world.signer("signing", "R9Z", Role::Sender, None).await;
        let shown = CertificateDer::from_pem_slice(certificates.right.certificate.as_bytes()).expect("a certificate");
        let bound = world.signer("bound", "R9Z", Role::Sender, Some(sha256_hex(&shown))).await;
        let person = browser::person(&world, "ada@rowan.example", PersonRole::CareHomeUser, &["VMH01"]).await;
        let host = format!("127.0.0.1:{}", world.port());
        let process = Process::take_over(&mut world).await;
        Self { world, process, rows: Vec::new(), host, hospital, home, signer, bound, certificates, person }
    }

    fn wire(&self) -> Wire {
        self.world.wire()
    }

    /// A request without body.
    fn get(&self, target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host)
    }

    /// A request to the token endpoint, with these header lines.
    fn post(&self, headers: &str, body: &str) -> Vec<u8> {
        let host = &self.host;
        format!("POST /oauth2/token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
    }

    /// A message of the hospital, with these header lines beside those that it needs.
    async fn message(&self, headers: &str, body: &[u8]) -> Heard {
        let token = self.hospital.token().await.expect("signed in");
        let head = format!(
            "POST /fhir/R4/$process-message HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.wire().say(&[head.as_bytes(), body].concat()).await
    }

    /// Notes an answer by its status, and that the gateway is well after it.
    async fn status(&mut self, number: u16, name: &str, expected: u16, heard: &Heard) {
        let status = heard.status();
        let got = if status == expected || status == 0 {
            status.to_string()
        } else {
            // Enough of the answer to see what went another way.
            let text = heard.text();
            format!("{status}: {}", text.chars().skip(text.len().saturating_sub(400)).collect::<String>())
        };
        self.row(number, name, &expected.to_string(), got).await;
    }

    /// The same; the answer must give this reason, so that no other one is taken for it.
    async fn reason(&mut self, number: u16, name: &str, expected: u16, reason: &str, heard: &Heard) {
        let text = heard.text();
        let got =
            if text.contains(reason) { heard.status().to_string() } else { format!("for no such reason: {text}") };
        self.row(number, name, &expected.to_string(), got).await;
    }

    /// Notes any answer, and that the gateway is well after it.
    async fn row(&mut self, number: u16, name: &str, expected: &str, got: impl Into<String>) {
        let row = Row { number, name: name.to_owned(), expected: expected.to_owned(), got: got.into() };
        let well = self.wire().say(self.get("/fhir/R4/metadata").as_bytes()).await.status();
        assert_eq!(well, 200, "not well after bad_input_{number:03} {name} (expected {expected}, got {})", row.got);
        row.print();
        self.rows.push(row);
    }
}

impl Row {
    fn right(&self) -> bool {
        self.expected == self.got
    }

    fn print(&self) {
        let Self { number, name, expected, got } = self;
        let verdict = if self.right() { "ok   " } else { "WRONG" };
        println!("{verdict} bad_input_{number:03} {name}: expected {expected}, got {got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_corpus() {
    let mut ground = Ground::prepare().await;
    // What every first use of a part makes it keep is no growth.
    fhir::warm(&mut ground).await;
    let (before, _) = ground.process.memory();
    let (head, body) = http::dripped(&ground);
    let drips = tokio::spawn(http::drips(ground.wire(), head, body));
    web::rows(&mut ground).await;
    http::rows(&mut ground).await;
    http2::rows(&mut ground).await;
    tls::rows(&mut ground).await;
    token::rows(&mut ground).await;
    json::rows(&mut ground).await;
    xml::rows(&mut ground).await;
    fhir::rows(&mut ground).await;
    for ((number, name, got), expected) in drips.await.expect("they end").into_iter().zip(["closed", "408"]) {
        ground.row(number, name, expected, got).await;
    }
    let (after, highest) = ground.process.memory();

    let growth = highest.saturating_sub(before);
    println!("memory: {} MB before, {} MB after, {} MB at its highest", before >> 20, after >> 20, highest >> 20);
    let wrong: Vec<_> = ground.rows.iter().filter(|row| !row.right()).collect();
    println!("{} rows, {} wrong", ground.rows.len(), wrong.len());
    wrong.iter().for_each(|row| row.print());
    assert_eq!(wrong.len(), 0);
    for number in 1..=113 {
        assert!(ground.rows.iter().any(|row| row.number == number), "bad_input_{number:03} is not sent");
    }
    assert!(growth <= GROWTH_MAX, "the gateway grew by {} MB", growth >> 20);
    assert!(ground.process.runs());
    let log = ground.process.log();
    assert!(!log.contains("panic"), "{log}");
}
