//! A query that could not be answered, as a client sees it.
//!
//! Never: the database's message in an answer; it is in the log. Read next: [`super::read`].

use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use runtime::Problem;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why the read models could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no connection to the read models: {0}")]
    Pool(#[from] PoolError),
    #[error("the read models fail: {0}")]
    Postgres(#[from] tokio_postgres::Error),
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let away = match &error {
            ReadError::Pool(_) => true,
            // No SQLSTATE: the connection broke. Class 57: the server is being shut down or comes up.
            ReadError::Postgres(error) => error.code().is_none_or(|state| state.code().starts_with("57")),
        };
        if away {
            tracing::warn!(%error, "read models out of reach");
            return Self::unavailable(
                "read_models_unavailable",
                "The read models cannot be reached",
                RETRY_AFTER,
            );
        }
        tracing::error!(%error, "query failed");
        Self::internal()
    }
}

/// # Errors
/// [`ReadError::Pool`], within the pool's limits.
pub async fn connection(pool: &Pool) -> Result<Object, ReadError> {
    Ok(pool.get().await?)
}
