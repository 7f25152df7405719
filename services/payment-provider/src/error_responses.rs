//! The problems for refused steps and for database failures.
//!
//! Never: the cause of a failure of ours in a response; it is logged.

use std::time::Duration;

use axum::http::StatusCode;
use deadpool_postgres::PoolError;
use runtime::Problem;

use crate::ledger::LedgerError;
use crate::payment::PaymentState;

pub const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let detail = error.to_string();
        match error {
            LedgerError::NotFound(_) => {
                Self::new(StatusCode::NOT_FOUND, "no_such_payment", "Payment not found").detail(detail)
            }
            LedgerError::IdReused(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "Payment id already used",
            )
            .detail(detail),
            LedgerError::WrongState { payment, required, .. } => {
                let (code, title) = match (payment.state, required) {
                    (PaymentState::Captured, _) => ("already_captured", "Payment already captured"),
                    (_, PaymentState::Captured) => ("not_captured", "Payment not captured"),
                    _ => ("not_authorised", "Payment not authorised"),
                };
                Self::new(StatusCode::CONFLICT, code, title).detail(detail).with("state", payment.state)
            }
            LedgerError::Database(error) => database(error),
        }
    }
}

/// An unreachable database is temporary. Any other error is a fault of ours.
pub fn database(error: PoolError) -> Problem {
    let is_unavailable = match &error {
        PoolError::Backend(error) => {
            let unreachable =
                std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>());
            unreachable || error.is_closed() || error.code().is_some_and(is_temporary)
        }
        PoolError::Timeout(_) | PoolError::Closed => true,
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => false,
    };
    if is_unavailable {
        tracing::warn!(%error, "database unavailable");
        Problem::unavailable("database_unavailable", "Database unavailable", RETRY_AFTER)
    } else {
        tracing::error!(?error, "database error");
        Problem::internal()
    }
}

/// Class 57P: the server is stopping or starting. Class 53: it has no more connections, memory or disk.
fn is_temporary(code: &tokio_postgres::error::SqlState) -> bool {
    ["57P", "53"].iter().any(|class| code.code().starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_refuses_connections_is_unavailable_and_no_internal_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
        let Err(refused) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
            panic!("nothing listens on port {port}");
        };
        assert_eq!(database(PoolError::Backend(refused)).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
