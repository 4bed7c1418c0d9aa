use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, RsaKeySize};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::loopback::{IMPATIENCE, Partner, Reply, loopback_config};

async fn get(config: &HttpConfig, url: Url) -> Result<Answer, HttpFault> {
    HttpClient::new(config).expect("a client").send(Method::GET, url, HeaderMap::new(), Bytes::new()).await
}

fn lookup(config: &HttpConfig, address: &str) -> HttpClient {
    let address: IpAddr = address.parse().expect("an address");
    HttpClient::with_lookup(config, Lookup::Fixed(vec![address])).expect("a client")
}

fn listed(host: &str, internal: bool) -> HttpConfig {
    HttpConfig { egress: vec![EgressHost { host: host.to_owned(), internal }], ..loopback_config() }
}

#[tokio::test]
async fn names_that_lead_inside_are_refused_after_resolution() {
    let partner = Partner::start(vec![Reply::new("200 OK", &[], b"")]).await;
    let url: Url = format!("https://partner.example:{}/", partner.port()).parse().expect("a URL");
    for (address, internal) in
        [("127.0.0.1", false), ("10.1.2.3", false), ("169.254.169.254", false), ("169.254.169.254", true)]
    {
        let client = lookup(&listed("partner.example", internal), address);
        let fault = client.send(Method::GET, url.clone(), HeaderMap::new(), Bytes::new()).await.expect_err("refused");
        let refusal = EgressRefusal::Address { host: "partner.example".to_owned() };
        assert_eq!(fault, HttpFault::Egress(refusal), "{address} {internal}");
        assert!(matches!(fault.of_send(), SendError::Permanent { .. }));
    }
    // Listed as internal the connection is made; the partner then speaks no TLS.
    let config = HttpConfig { connect_timeout: IMPATIENCE, ..listed("partner.example", true) };
    let client = lookup(&config, "127.0.0.1");
    let fault = client.send(Method::GET, url, HeaderMap::new(), Bytes::new()).await.expect_err("no TLS");
    assert!(matches!(fault, HttpFault::NotConnected(_)), "{fault:?}");
    assert!(partner.seen().is_empty());
}

#[tokio::test]
async fn the_operating_systems_resolver_is_guarded_too() {
    let url: Url = "https://localhost:9/".parse().expect("a URL");
    let fault = get(&listed("localhost", false), url).await.expect_err("refused");
    assert_eq!(fault, HttpFault::Egress(EgressRefusal::Address { host: "localhost".to_owned() }));
}

#[tokio::test]
async fn unlisted_hosts_and_literals_are_refused_before_any_socket() {
    let partner = Partner::start(vec![Reply::new("200 OK", &[], b"")]).await;
    for (config, url) in [
        (listed("other.example", true), partner.url("/")),
        (listed("127.0.0.1", false), partner.url("/")),
        (HttpConfig { allow_plain_loopback: false, ..loopback_config() }, partner.url("/")),
        (loopback_config(), "https://169.254.169.254/latest/meta-data/".parse().expect("a URL")),
    ] {
        assert!(matches!(get(&config, url).await, Err(HttpFault::Egress(_))));
    }
    assert!(partner.seen().is_empty());
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = Partner::start(vec![Reply::new("200 OK", &[], b"")]).await;
    let location = format!("location: {}", target.url("/inside"));
    let partner = Partner::start(vec![Reply::new("301 Moved Permanently", &[&location], b"")]).await;
    let answer = get(&loopback_config(), partner.url("/")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY);
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn answers_are_read_up_to_the_bound() {
    let config = HttpConfig { response_bytes_max: 10, ..loopback_config() };
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n";
    for (reply, expected) in [
        (Reply::new("200 OK", &[], b"0123456789"), Ok(Bytes::from_static(b"0123456789"))),
        (Reply::new("200 OK", &[], b"0123456789A"), Err(HttpFault::TooLarge { bytes_max: 10 })),
        (Reply::Raw(chunked.to_vec()), Err(HttpFault::TooLarge { bytes_max: 10 })),
    ] {
        let partner = Partner::start(vec![reply]).await;
        assert_eq!(get(&config, partner.url("/")).await.expect("a head").bytes().await, expected);
    }
}

#[tokio::test]
async fn faults_tell_what_the_partner_can_have_seen() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let url = format!("http://{nobody}/").parse().expect("a URL");
    let fault = get(&loopback_config(), url).await.expect_err("nobody listens");
    assert!(matches!(fault, HttpFault::NotConnected(_)), "{fault:?}");
    assert!(matches!(fault.of_send(), SendError::Transient { .. }));

    for reply in [Reply::Hang, Reply::Close, Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())] {
        let partner = Partner::start(vec![reply]).await;
        let fault = get(&partner.config(), partner.url("/secret-path")).await.expect_err("no answer");
        assert!(matches!(fault, HttpFault::Interrupted(_)), "{fault:?}");
        assert!(!fault.to_string().contains("secret-path"));
        assert_eq!(partner.seen().len(), 1, "one request, no silent repeat");
        assert!(matches!(fault.clone().of_send(), SendError::Unknown { .. }));
        assert!(matches!(fault.of_repeatable(), SendError::Transient { .. }));
    }
    // A head without its whole body.
    let partner = Partner::start(vec![Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec())]).await;
    let answer = get(&loopback_config(), partner.url("/")).await.expect("a head");
    assert!(matches!(answer.bytes().await, Err(HttpFault::Interrupted(_))));
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority") }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        self.issue_for(name, KeyPair::generate().expect("key"))
    }

    fn issue_for(&self, name: &str, key: KeyPair) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        (params.signed_by(&key, &self.issuer).expect("signed"), key)
    }

    fn server(&self, name: &str, clients: Option<&Self>) -> rustls::ServerConfig {
        self.server_with(name, clients, KeyPair::generate().expect("key"))
    }

    fn server_with(&self, name: &str, clients: Option<&Self>, key: KeyPair) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (certificate, key) = self.issue_for(name, key);
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.issuer.der().clone()).expect("root");
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("verifier"))
            }
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("server")
    }
}

/// Trusts the authority only, and finds `partner.example` on loopback.
fn trusting(authority: &Authority, client: Option<&Authority>) -> HttpClient {
    lookup(&trusting_config(authority, client), "127.0.0.1")
}

fn trusting_config(authority: &Authority, client: Option<&Authority>) -> HttpConfig {
    let client_certificate = client.map(|clients| {
        let (certificate, key) = clients.issue("gateway.example");
        ClientCertificate { chain_pem: certificate.pem().into_bytes(), key_pem: Secret::new(key.serialize_pem()) }
    });
    HttpConfig {
        system_roots: false,
        extra_roots_pem: authority.issuer.pem().into_bytes(),
        client_certificate,
        ..listed("partner.example", true)
    }
}

async fn tls_exchange(client: &HttpClient, server: rustls::ServerConfig) -> Result<StatusCode, HttpFault> {
    let partner = Partner::start_tls(vec![Reply::new("200 OK", &[], b"")], server).await;
    let url = format!("https://partner.example:{}/", partner.port()).parse().expect("a URL");
    let answer = client.send(Method::POST, url, HeaderMap::new(), Bytes::from_static(b"x")).await;
    assert_eq!(partner.seen().len(), usize::from(answer.is_ok()), "only the trusted partner sees a request");
    answer.map(|answer| answer.status())
}

#[tokio::test]
async fn a_listener_of_our_own_may_show_any_certificate() {
    let authority = Authority::new();
    let client = HttpClient::new(&HttpConfig { any_certificate: true, ..loopback_config() }).expect("a client");
    let partner =
        Partner::start_tls(vec![Reply::new("200 OK", &[], b"")], authority.server("another.example", None)).await;
    let url = format!("https://127.0.0.1:{}/", partner.port()).parse().expect("a URL");
    let answer = client.send(Method::GET, url, HeaderMap::new(), Bytes::new()).await;
    assert_eq!(answer.map(|answer| answer.status()), Ok(StatusCode::OK));
}

#[tokio::test]
async fn fault_028_a_wrong_certificate_needs_a_person() {
    let (ours, other) = (Authority::new(), Authority::new());
    let client = trusting(&ours, None);
    assert_eq!(tls_exchange(&client, ours.server("partner.example", None)).await, Ok(StatusCode::OK));
    for server in [ours.server("another.example", None), other.server("partner.example", None)] {
        let fault = tls_exchange(&client, server).await.expect_err("not trusted");
        assert!(matches!(fault, HttpFault::Trust(_)), "{fault:?}");
        assert!(matches!(fault.of_send(), SendError::Permanent { .. }));
    }
}

/// The same partner, with a certificate for an RSA key: as large as is asked for, and not.
#[tokio::test]
async fn a_partner_with_a_small_rsa_key_is_not_trusted() {
    let authority = Authority::new();
    let server = |size: RsaKeySize| {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("a key");
        authority.server_with("partner.example", None, key)
    };
    let asking = |rsa_bits_min| HttpConfig { rsa_bits_min, ..trusting_config(&authority, None) };
    for (bits_min, size, taken) in
        [(2048, RsaKeySize::_2048, true), (3072, RsaKeySize::_3072, true), (3072, RsaKeySize::_2048, false)]
    {
        let answer = tls_exchange(&lookup(&asking(bits_min), "127.0.0.1"), server(size)).await;
        match answer {
            Ok(status) => assert!(taken && status == StatusCode::OK, "{bits_min}"),
            Err(fault) => assert!(!taken && matches!(fault, HttpFault::Trust(_)), "{bits_min}: {fault:?}"),
        }
    }
    // Keys of other kinds are as before.
    let answer = tls_exchange(&lookup(&asking(3072), "127.0.0.1"), authority.server("partner.example", None)).await;
    assert_eq!(answer, Ok(StatusCode::OK));
}

#[tokio::test]
async fn client_certificates_are_shown_and_their_refusal_needs_a_person() {
    let (ours, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let server = || ours.server("partner.example", Some(&clients));
    assert_eq!(tls_exchange(&trusting(&ours, Some(&clients)), server()).await, Ok(StatusCode::OK));
    for client in [trusting(&ours, None), trusting(&ours, Some(&other))] {
        let fault = tls_exchange(&client, server()).await.expect_err("not accepted");
        assert!(matches!(fault, HttpFault::Trust(_)), "{fault:?}");
    }
}

#[test]
fn bad_certificates_are_refused_at_the_start() {
    let broken = |config: HttpConfig| HttpClient::new(&config).expect_err("refused");
    let nothing = HttpConfig { system_roots: false, ..HttpConfig::default() };
    assert!(matches!(broken(nothing.clone()), HttpSetupError::NoRoots));
    let text = HttpConfig { extra_roots_pem: b"not PEM".to_vec(), ..nothing.clone() };
    assert!(matches!(broken(text), HttpSetupError::Roots(_)));
    let authority = Authority::new();
    let (certificate, _) = authority.issue("a.example");
    let certificate = ClientCertificate {
        chain_pem: certificate.pem().into_bytes(),
        key_pem: Secret::new(KeyPair::generate().expect("key").serialize_pem()),
    };
    let mismatch = HttpConfig {
        extra_roots_pem: authority.issuer.pem().into_bytes(),
        client_certificate: Some(certificate),
        ..nothing
    };
    assert!(matches!(broken(mismatch), HttpSetupError::ClientCertificate(_)));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).expect("a value"));
        retry_after_seconds(&headers, now)
    };
    assert_eq!(read("120"), Some(120));
    assert_eq!(read(" 0 "), Some(0));
    assert_eq!(read("99999999999999999999999"), Some(u64::MAX));
    assert_eq!(read("Sat, 31 Jan 2026 12:01:30 GMT"), Some(90));
    assert_eq!(read("Sat, 31 Jan 2026 11:00:00 GMT"), Some(0));
    for nonsense in ["", "-5", "1.5", "soon", "Sat, 99 Foo 2026"] {
        assert_eq!(read(nonsense), None, "{nonsense:?}");
    }
    assert_eq!(retry_after_seconds(&HeaderMap::new(), now), None);
}
