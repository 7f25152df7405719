//! A query that could not be answered, as a client sees it. The database's message is in the log, never in the answer.

use deadpool_postgres::PoolError;
use runtime::Problem;

use super::wait::RETRY_AFTER;

/// Why the read models could not be queried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("no connection to the read models: {0}")]
    Pool(#[from] PoolError),
    #[error("the read models fail: {0}")]
    Postgres(#[from] tokio_postgres::Error),
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let is_unavailable = match &error {
            QueryError::Pool(_) => true,
            // No SQLSTATE: the connection broke. Class 57: the server is being shut down or comes up.
            QueryError::Postgres(error) => error.code().is_none_or(|state| state.code().starts_with("57")),
        };
        if is_unavailable {
            tracing::warn!(%error, "read models unavailable");
            return Self::unavailable("read_models_unavailable", "Read models are unavailable", RETRY_AFTER);
        }
        tracing::error!(%error, "query failed");
        Self::internal()
    }
}
