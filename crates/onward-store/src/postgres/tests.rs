//! The contract on PostgreSQL, and what is PostgreSQL's own: several nodes, lost connections, leases by the database's clock.

#[expect(unreachable_pub, dead_code, reason = "the file belongs to the support crate too")]
#[path = "../../../../tests/support/postgres.rs"]
mod cluster;

use std::sync::Arc;

use jiff::Timestamp;
use onward_core::Clock;

use super::{LeaseClock, PostgresSettings, PostgresStore};
use crate::contract::{Shared, at};
use cluster::Cluster;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        at(0)
    }
}

fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        url: url.parse().expect("a URL"),
        password: Some(cluster::PASSWORD.to_owned()),
        ca_pem: None,
        fsync_off_allowed: true,
    }
}

async fn node(url: &str, clock: LeaseClock) -> PostgresStore {
    PostgresStore::open_with(&settings(url), Arc::new(FixedClock), clock).await.expect("opens")
}

/// A database of its own; the guard is its server and address.
async fn fresh_shared() -> Option<((&'static Cluster, String), Shared)> {
    let cluster = cluster::shared()?;
    let url = cluster.database();
    let store: Shared = Arc::new(node(&url, LeaseClock::Caller).await);
    Some(((cluster, url), store))
}

mod contract {
    crate::contract::every_contract!(super::fresh_shared);
}
