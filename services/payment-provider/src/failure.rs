//! What a caller hears of a step that was refused, and of a database that failed.
//!
//! Never: a cause that is ours to mend in an answer; it goes to the log. Read next: `ledger.rs`.

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
                Self::new(StatusCode::NOT_FOUND, "no_such_payment", "There is no such payment").detail(detail)
            }
            LedgerError::AnotherRequest(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The id belongs to another payment",
            )
            .detail(detail),
            LedgerError::WrongState { payment, asks, .. } => {
                let (code, title) = match (payment.state, asks) {
                    (PaymentState::Captured, _) => ("already_captured", "The money was taken already"),
                    (_, PaymentState::Captured) => ("not_captured", "No money was taken"),
                    _ => ("not_authorised", "No money is held"),
                };
                Self::new(StatusCode::CONFLICT, code, title).detail(detail).with("state", payment.state)
            }
            LedgerError::Database(error) => database(error),
        }
    }
}

/// An engine that is away passes; anything else is ours to mend.
pub fn database(error: PoolError) -> Problem {
    let away = match &error {
        PoolError::Backend(error) => {
            let unreachable =
                std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>());
            unreachable || error.is_closed() || error.code().is_some_and(is_shutting_down)
        }
        PoolError::Timeout(_) | PoolError::Closed => true,
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => false,
    };
    if away {
        tracing::warn!(%error, "database does not answer");
        Problem::unavailable("database_unavailable", "The database does not answer", RETRY_AFTER)
    } else {
        tracing::error!(?error, "database refused");
        Problem::internal()
    }
}

/// Class 57: the server was told to stop, or is starting. Class 53: it has no more connections, memory or disk.
fn is_shutting_down(code: &tokio_postgres::error::SqlState) -> bool {
    ["57P", "53"].iter().any(|class| code.code().starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_refuses_connections_is_away_and_not_our_mistake() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
        let Err(refused) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
            panic!("nobody listens on port {port}");
        };
        assert_eq!(database(PoolError::Backend(refused)).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
