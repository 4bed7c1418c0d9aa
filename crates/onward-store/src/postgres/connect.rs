//! How PostgreSQL is reached: the address, TLS, and the settings of every connection.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::{OpenError, PostgresSettings};

/// How long a connection may take to come about, or an operation may wait for one that is free (trust.md §7, fault 16).
const WAIT: Duration = Duration::from_secs(5);
/// Of every connection. Statements are short and transactions shorter: what takes longer is stuck, and what is idle inside a
/// transaction belongs to a node that was stopped. Durability is asked for whatever the role's or the server's default is.
const OPTIONS: &str = "-c statement_timeout=15s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s \
    -c synchronous_commit=on";

/// What bounds how long the server keeps a connection, and with it locks, whose network has died without a word: until what it has sent is
/// acknowledged, or a question whether anybody is there (milliseconds and seconds). While it cannot send, none of its other limits ends
/// a session. Set for each connection by whoever knows it: an engine that has no such setting is one that is asked nothing.
const BOUNDS: &str = "SELECT set_config(s.name, b.value, false) FROM pg_settings s JOIN (VALUES
        ('tcp_user_timeout', '10000'), ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '2')
    ) b (name, value) ON b.name = s.name";

/// Why an address cannot be used, or nothing.
#[must_use]
pub fn address_problem(url: &Url) -> Option<String> {
    address(url).err()
}

/// The address as the client library wants it, and whether TLS is spoken.
fn address(url: &Url) -> Result<(Config, bool), String> {
    let mut bare = url.clone();
    let mut mode = None;
    let rest: Vec<(String, String)> =
        url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    bare.set_query(None);
    for (key, value) in rest {
        match key.as_str() {
            "sslmode" => mode = Some(value),
            "application_name" | "connect_timeout" => drop(bare.query_pairs_mut().append_pair(&key, &value)),
            _ => {
                return Err(format!(
                    "the parameter {key} is not known; known are sslmode, application_name, \
                connect_timeout"
                ));
            }
        }
    }
    let config = Config::from_str(bare.as_str()).map_err(|_| "it is no address of PostgreSQL".to_owned())?;
    if config.get_user().is_none() || config.get_dbname().is_none() {
        return Err("expected postgres://USER@HOST/DATABASE".to_owned());
    }
    let near = config.get_hosts().iter().all(is_near);
    match mode.as_deref() {
        None if near => Ok((config, false)),
        None | Some("verify-full" | "require") => Ok((config, true)),
        Some("disable") if near => Ok((config, false)),
        Some("disable") => {
            Err("sslmode=disable is for a database on this machine only; it carries patient data".to_owned())
        }
        Some(_) => Err("sslmode is verify-full (or require, which verifies as well), or disable".to_owned()),
    }
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// A pool of at most `size` connections; none is made yet.
pub(super) fn pool(settings: &PostgresSettings, size: usize) -> Result<Pool, OpenError> {
    let (mut config, tls) = address(&settings.url).map_err(OpenError::Address)?;
    if let Some(password) = &settings.password {
        config.password(password.as_bytes());
    }
    if config.get_application_name().is_none() {
        // Earlier programs have no number.
        config.application_name(format!("onward/{}", super::open::MIGRATIONS.len()));
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(WAIT);
    }
    // Claims and sign-ins must not read a standby that lags behind.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.keepalives_idle(Duration::from_secs(30));
    config.keepalives_interval(Duration::from_secs(5));
    config.keepalives_retries(3);
    config.tcp_user_timeout(Duration::from_secs(20));
    config.options(OPTIONS);
    let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = if tls {
        config.ssl_mode(SslMode::Require);
        Manager::from_config(config, MakeRustlsConnect::new(client_tls(settings)?), how)
    } else {
        config.ssl_mode(SslMode::Disable);
        Manager::from_config(config, NoTls, how)
    };
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT))
        .create_timeout(Some(WAIT))
        .post_create(Hook::async_fn(|client, _| Box::pin(bound(client))))
        .build()
        .map_err(|_| OpenError::Address("the pool of connections cannot be made".to_owned()))
}

/// Sets the [`BOUNDS`] of a connection. One that does not take them serves all the same.
async fn bound(client: &ClientWrapper) -> Result<(), HookError> {
    match client.simple_query(BOUNDS).await {
        Err(error) if error.as_db_error().is_none() => Err(HookError::Backend(error)),
        Err(error) => {
            let code = error.code().map(SqlState::code);
            tracing::warn!(code, "the server takes no bounds for a network that dies: locks may outlast it");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// The operating system's authorities, and those of the file. The server's name is always verified.
fn client_tls(settings: &PostgresSettings) -> Result<ClientConfig, OpenError> {
    let mut roots = RootCertStore::empty();
    let problem = |text: &str| OpenError::Tls(text.to_owned());
    match &settings.ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| problem("store.ca_file is not PEM"))?;
                roots.add(certificate).map_err(|_| problem("store.ca_file holds something that is no authority"))?;
            }
            if roots.is_empty() {
                return Err(problem("store.ca_file holds no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&settings.tls))
        .with_safe_default_protocol_versions()
        .map_err(|_| problem("no version of TLS is to be had"))?
        .with_root_certificates(roots);
    let Some((chain, key)) = &settings.client_pem else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| problem("store.key_file is no key, PEM"))?;
    builder
        .with_client_auth_cert(chain.map_err(|_| problem("store.certificate_file is not PEM"))?, key)
        .map_err(|_| problem("store.certificate_file and store.key_file do not belong together"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(text: &str) -> Result<bool, String> {
        address(&text.parse().expect("a URL")).map(|(_, tls)| tls)
    }

    #[test]
    fn patient_data_leaves_the_machine_by_tls_only() {
        assert_eq!(tls("postgres://onward@db.example/onward"), Ok(true));
        assert_eq!(tls("postgres://onward@db.example/onward?sslmode=verify-full"), Ok(true));
        assert_eq!(tls("postgres://onward@10.0.0.7/onward?sslmode=require"), Ok(true));
        for plain in ["disable", "prefer", "allow", "verify-ca"] {
            assert!(tls(&format!("postgres://onward@db.example/onward?sslmode={plain}")).is_err(), "{plain}");
        }
        for near in ["127.0.0.1", "localhost", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(tls(&format!("postgres://onward@{near}/onward")), Ok(false), "{near}");
            assert_eq!(tls(&format!("postgres://onward@{near}/onward?sslmode=require")), Ok(true), "{near}");
        }
    }

    #[test]
    fn what_the_address_lacks_or_may_not_have_is_said() {
        for wrong in [
            "postgres://db.example/onward",
            "postgres://onward@db.example",
            "postgres://onward@db.example/onward?options=-csynchronous_commit%3Doff",
            "postgres://onward@db.example/onward?host=elsewhere",
        ] {
            assert!(tls(wrong).is_err(), "{wrong}");
        }
    }
}
