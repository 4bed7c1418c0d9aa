//! TLS with a real server: whom we trust, and who we say that we are.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;

const TLS_USER: &str = "onward_tls";
const RULES: &str = "hostssl all onward_tls all cert\nhost all all 127.0.0.1/32 password\n";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// Certificate and key, PEM: of a host, or of a user of PostgreSQL.
fn issued(authority: &CertifiedIssuer<'_, KeyPair>, hosts: &[&str], user: &str) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, user);
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, authority).expect("issued").pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_verified_and_takes_our_certificate_instead_of_a_password() {
    let (ours, strangers) = (authority(), authority());
    let (chain, key) = issued(&ours, &["localhost"], "server");
    let options = "-c ssl=on -c ssl_cert_file=server.crt -c ssl_key_file=server.key -c ssl_ca_file=ca.crt \
                   -c hba_file={data}/rules.conf";
    let ca = ours.pem();
    let files = [("server.crt", &*chain), ("server.key", &*key), ("ca.crt", &*ca), ("rules.conf", RULES)];
    let Some(cluster) = cluster::Cluster::start_with(options, &files) else { return };
    let made = cluster.database();
    let name = made.rsplit('/').next().expect("a database");
    cluster.tamper(&made, &format!("CREATE ROLE {TLS_USER} LOGIN; ALTER DATABASE {name} OWNER TO {TLS_USER}"));
    let (_, rest) = made.split_once('@').expect("a host");
    let named = rest.replace("127.0.0.1", "localhost");
    let pem = |(chain, key): (String, String)| Some((chain.into_bytes(), key.into()));
    let settings = |host: &str, ca: &str, client_pem| PostgresSettings {
        url: format!("postgres://{TLS_USER}@{host}?sslmode=verify-full").parse().expect("a URL"),
        password: None,
        ca_pem: Some(ca.as_bytes().to_vec()),
        client_pem,
        tls: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        fsync_off_allowed: true,
    };
    let own = || pem(issued(&ours, &[], TLS_USER));

    let open = async |settings: PostgresSettings| PostgresStore::open(&settings, keys(), Arc::new(FixedClock)).await;
    let store = open(settings(&named, &ca, own())).await.expect("both sides trust each other");
    store.ready().await.expect("it commits");
    let encrypted = cluster.tamper(
        &made,
        &format!("SELECT bool_and(s.ssl) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename = '{TLS_USER}'"),
    );
    assert_eq!(encrypted, ["t"], "every connection is encrypted");

    for (what, refused) in [
        ("no certificate of ours", settings(&named, &ca, None)),
        ("another user's certificate", settings(&named, &ca, pem(issued(&ours, &[], "somebody")))),
        ("a certificate of an unknown authority", settings(&named, &ca, pem(issued(&strangers, &[], TLS_USER)))),
        ("a server of an unknown authority", settings(&named, &strangers.pem(), own())),
        ("a server of another name", settings(rest, &ca, own())),
    ] {
        assert!(open(refused).await.is_err(), "{what}");
    }
    let mixed = (issued(&ours, &[], TLS_USER).0.into_bytes(), issued(&ours, &[], TLS_USER).1.into());
    let error = open(settings(&named, &ca, Some(mixed))).await.map(drop).expect_err("key of another certificate");
    assert!(error.to_string().contains("do not belong together"), "{error}");
}
