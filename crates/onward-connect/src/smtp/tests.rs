//! A mail server as a script, honest and otherwise.

use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::egress::EgressHost;

/// What the server does other than a good one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Vice {
    #[default]
    None,
    OffersNoTls,
    RefusesTls,
    SpeaksOn,
    HangsAfterGreeting,
    ClosesAfterTls,
    NoSmtp,
}

/// Its answers under TLS, by command; others get 250.
type Answers = &'static [(&'static str, &'static str)];

/// The server, and everything that it was told, by line; before TLS with a `-`.
struct Server {
    port: u16,
    authority: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(vice: Vice, answers: Answers, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (authority, tls) = certified(name);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, vice, answers, tls.clone(), Arc::clone(&kept)));
            }
        });
        Self { port, authority, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("whole").clone()
    }

    fn client(&self, host: &str, credentials: bool) -> Smtp {
        let http = HttpConfig {
            egress: vec![EgressHost { host: host.to_owned(), internal: true }],
            extra_roots_pem: self.authority.clone().into_bytes(),
            system_roots: false,
            total_timeout: Duration::from_secs(60),
            ..HttpConfig::default()
        };
        self.client_of(&http, host, credentials)
    }

    fn client_of(&self, http: &HttpConfig, host: &str, credentials: bool) -> Smtp {
        let config = SmtpConfig {
            host: host.to_owned(),
            port: self.port,
            from: "Onward <onward@gateway.example>".to_owned(),
            credentials: credentials.then(|| ("onward".to_owned(), Secret::new("pass word".to_owned()))),
        };
        Smtp::new(config, http).expect("set up")
    }
}

/// An authority's certificate, and TLS with a certificate of its for this name.
fn certified(name: &str) -> (String, TlsAcceptor) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = authority.self_signed(&key).expect("an authority").pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let own = own.signed_by(&key, &issuer).expect("a certificate").pem();
    let chain = vec![CertificateDer::from_pem_slice(own.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    (root, TlsAcceptor::from(Arc::new(config)))
}

async fn serve(mut tcp: TcpStream, vice: Vice, answers: Answers, tls: TlsAcceptor, heard: Arc<Mutex<Vec<String>>>) {
    let greeting: &[u8] = if vice == Vice::NoSmtp { b"SSH-2.0-x\r\n" } else { b"220 mail.example ESMTP\r\n" };
    tcp.write_all(greeting).await.expect("written");
    if vice == Vice::HangsAfterGreeting {
        return std::future::pending().await;
    }
    let mut reader = BufReader::new(tcp);
    loop {
        let Some(line) = line_of(&mut reader).await else { return };
        heard.lock().expect("whole").push(format!("- {line}"));
        let offer = if vice == Vice::OffersNoTls { "250 8BITMIME\r\n" } else { "250-8BITMIME\r\n250 STARTTLS\r\n" };
        let answer = match line.as_str() {
            "STARTTLS" if vice == Vice::RefusesTls => "454 TLS not available\r\n".to_owned(),
            "STARTTLS" if vice == Vice::SpeaksOn => "220 go\r\n250 all is well\r\n".to_owned(),
            "STARTTLS" => "220 go\r\n".to_owned(),
            _ => format!("250-mail.example\r\n{offer}"),
        };
        if reader.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if line == "STARTTLS" && vice != Vice::RefusesTls {
            break;
        }
    }
    let Ok(stream) = tls.accept(reader.into_inner()).await else { return };
    if vice != Vice::ClosesAfterTls {
        under_tls(BufReader::new(stream), answers, &heard).await;
    }
}

async fn under_tls(
    mut reader: BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    answers: Answers,
    heard: &Mutex<Vec<String>>,
) {
    let mut content = false;
    while let Some(line) = line_of(&mut reader).await {
        heard.lock().expect("whole").push(line.clone());
        if content && line != "." {
            continue;
        }
        let scripted = answers.iter().find(|(command, _)| line.starts_with(command)).map(|(_, answer)| *answer);
        let usual = match line.split(' ').next() {
            Some("EHLO") => "250-mail.example\r\n250 AUTH PLAIN LOGIN",
            Some("AUTH") => "235 welcome",
            Some("DATA") => "354 go on",
            Some("QUIT") => "221 bye",
            _ => "250 fine",
        };
        let answer = scripted.unwrap_or(usual);
        content = line == "DATA" && answer.starts_with("354");
        if reader.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn line_of(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn telling() -> Telling {
    Telling {
        id: uuid::Uuid::from_u128(7),
        address: "coordinator@home.example".to_owned(),
        subject: "Somebody is coming from hospital".to_owned(),
        text: "Sign in to see it: https://gateway.example/transfers/1\n.\nThis names nobody.\n".to_owned(),
        event: "{}".to_owned(),
    }
}

async fn told(vice: Vice, answers: Answers) -> (Result<(), SendError>, Vec<String>) {
    let server = Server::start(vice, answers, "localhost").await;
    let outcome = server.client("localhost", true).tell(&telling()).await;
    (outcome, server.heard())
}

fn reason(outcome: &Result<(), SendError>) -> &str {
    match outcome {
        Err(SendError::Transient { reason, .. }) => reason,
        other => panic!("it was to be tried again: {other:?}"),
    }
}

#[tokio::test]
async fn an_email_goes_under_tls_and_after_signing_in() {
    let (outcome, heard) = told(Vice::None, &[]).await;
    assert_eq!(outcome, Ok(()));
    let clear: Vec<_> = heard.iter().filter(|line| line.starts_with("- ")).collect();
    assert_eq!(clear, ["- EHLO gateway.example", "- STARTTLS"], "nothing else goes in the clear");
    let at = |start: &str| heard.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}"));
    assert!(at("AUTH PLAIN") < at("MAIL FROM:<onward@gateway.example>"));
    assert!(at("RCPT TO:<coordinator@home.example>") < at("DATA"));
    assert!(heard.contains(&"Message-ID: <00000000-0000-0000-0000-000000000007@gateway.example>".to_owned()));
    assert!(heard.contains(&"..".to_owned()), "a dot alone does not end it: {heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("QUIT"));
}

#[tokio::test]
async fn nothing_is_said_to_a_server_without_tls() {
    for (vice, why) in [
        (Vice::OffersNoTls, "offers no STARTTLS"),
        (Vice::RefusesTls, "answered 454"),
        (Vice::SpeaksOn, "somebody may be in between"),
        (Vice::NoSmtp, "does not speak SMTP"),
        (Vice::ClosesAfterTls, "ended"),
    ] {
        let (outcome, heard) = told(vice, &[]).await;
        assert!(reason(&outcome).contains(why), "{why}: {outcome:?}");
        let secret = |line: &String| line.contains("AUTH") || line.contains("MAIL") || line.contains("home.example");
        assert!(!heard.iter().any(secret), "{heard:?}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_or_from_nobody_is_not_trusted() {
    let server = Server::start(Vice::None, &[], "other.example").await;
    let outcome = server.client("localhost", true).tell(&telling()).await;
    assert!(reason(&outcome).contains("for another name"), "{outcome:?}");
    let stranger = Server::start(Vice::None, &[], "localhost").await;
    let client = Server { authority: stranger.authority.clone(), ..server }.client("localhost", true);
    let outcome = client.tell(&telling()).await;
    assert!(reason(&outcome).contains("no trust"), "{outcome:?}");
    assert!(!stranger.heard().iter().any(|line| line.contains("AUTH")));
}

#[tokio::test]
async fn answers_are_sorted_by_what_helps() {
    for (answers, permanent, code) in [
        (&[("RCPT", "550 no such person, coordinator@home.example")] as Answers, true, "550"),
        (&[("RCPT", "450 busy")], false, "450"),
        (&[("MAIL", "421 going down")], false, "421"),
        (&[("DATA", "554 no")], false, "554"),
        (&[(".", "552 too much")], true, "552"),
        (&[("AUTH", "535 wrong password")], false, "535"),
    ] {
        let (outcome, heard) = told(Vice::None, answers).await;
        let text = match &outcome {
            Err(SendError::Permanent { reason }) if permanent => reason,
            Err(SendError::Transient { reason, .. }) if !permanent => reason,
            other => panic!("{code}: {other:?}"),
        };
        assert!(text.contains(code) && !text.contains("home.example"), "{text}");
        assert!(code != "535" || !heard.iter().any(|line| line.starts_with("MAIL")), "{heard:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let server = Server::start(Vice::HangsAfterGreeting, &[], "localhost").await;
    let http = HttpConfig {
        egress: vec![EgressHost { host: "localhost".to_owned(), internal: true }],
        extra_roots_pem: server.authority.clone().into_bytes(),
        system_roots: false,
        total_timeout: Duration::from_millis(300),
        ..HttpConfig::default()
    };
    let outcome = server.client_of(&http, "localhost", false).tell(&telling()).await;
    assert!(reason(&outcome).contains("in time"), "{outcome:?}");
}

#[tokio::test]
async fn only_a_listed_host_is_connected_to_and_only_an_address_is_written_to() {
    let server = Server::start(Vice::None, &[], "localhost").await;
    let http = HttpConfig {
        egress: vec![EgressHost { host: "localhost".to_owned(), internal: false }],
        extra_roots_pem: server.authority.clone().into_bytes(),
        ..HttpConfig::default()
    };
    let outcome = server.client_of(&http, "localhost", false).tell(&telling()).await;
    assert!(reason(&outcome).contains("not allowed"), "{outcome:?}");
    for address in ["", "nobody", "a@b.example\r\nBcc: c@d.example", "a@b.example>, <c@d.example"] {
        let telling = Telling { address: address.to_owned(), ..telling() };
        let outcome = server.client("localhost", false).tell(&telling).await;
        assert!(matches!(outcome, Err(SendError::Permanent { .. })), "{address:?}: {outcome:?}");
        assert!(!is_address(address));
    }
    assert!(server.heard().is_empty(), "{:?}", server.heard());
}
