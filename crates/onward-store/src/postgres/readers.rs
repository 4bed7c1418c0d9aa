//! Reads: each in one snapshot of the primary, by a connection of the readers' own pool. A read is tried once more when its
//! connection turns out to be closed.

use std::sync::Arc;

use deadpool_postgres::Pool;
use futures_util::future::BoxFuture;
use onward_core::store::StoreError;

use super::failure::{Failure, told};
use super::keyed::Keyed;
use super::session;
use crate::sealing::Vault;

/// What a read does, with its input.
pub(super) type Look<I, T> = for<'a> fn(&'a Keyed, &'a I) -> BoxFuture<'a, Result<T, Failure>>;

/// Runs the reads in one snapshot.
pub(super) async fn run<I, T>(pool: &Pool, vault: &Arc<Vault>, input: I, look: Look<I, T>) -> Result<T, StoreError> {
    let outcome = match snapshot(pool, vault, &input, look).await {
        Err(failure) if failure.is_connection() || failure.is_passing() => snapshot(pool, vault, &input, look).await,
        outcome => outcome,
    };
    outcome.map_err(|failure| {
        if let Failure::Sql(error) = &failure {
            tracing::warn!(error = told(error), "a read of the store failed");
        }
        StoreError::from(&failure)
    })
}

async fn snapshot<I, T>(pool: &Pool, vault: &Arc<Vault>, input: &I, look: Look<I, T>) -> Result<T, Failure> {
    let keyed = Keyed::begin(pool, session::READ, vault).await?;
    match look(&keyed, input).await {
        Ok(value) => {
            keyed.into_session().commit().await?;
            Ok(value)
        }
        Err(failure) => {
            keyed.into_session().rollback().await;
            Err(failure)
        }
    }
}
