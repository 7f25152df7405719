//! The acquirer's HTTP surface, and where it misbehaves as it was told.
//!
//! Never: a step of the ledger begun after the fault that forbids it. Read next: `/sagas/src/payments`, the other end.

use std::collections::HashSet;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use deadpool_postgres::PoolError;
use fault::crash_point;
use runtime::Problem;
use runtime::http::{Json, Path, Query, hang_up};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::behaviour::{Behaviour, DelayMs, Fault};
use crate::behaviours::{Behaviours, Rule, Told};
use crate::ledger::{Books, Ledger, LedgerError};
use crate::payment::{Payment, PaymentState, Request};
use crate::value::{Amount, Currency, Customer};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RULES_MAX: usize = 1000;
const PAGE_DEFAULT: u16 = 100;
const PAGE_MAX: u16 = 1000;

#[derive(Clone)]
pub struct Acquirer {
    pub ledger: Ledger,
    pub behaviours: Behaviours,
    /// How long a call is held that is to time out.
    pub time_out: Duration,
    /// Ends the waits.
    pub shutdown: CancellationToken,
}

pub fn router(acquirer: Acquirer) -> Router {
    Router::new()
        .route("/v1/payments", post(authorise))
        .route("/v1/payments/{payment_id}", get(status))
        .route("/v1/payments/{payment_id}/capture", post(capture))
        .route("/v1/payments/{payment_id}/void", post(void))
        .route("/v1/payments/{payment_id}/refund", post(refund))
        .route("/v1/ledger", get(books))
        .route("/v1/ledger/payments", get(payments))
        .route("/v1/behaviour", get(behaviour).put(tell))
        .with_state(acquirer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorise {
    payment_id: Uuid,
    customer_id: Customer,
    amount_minor: Amount,
    currency: Currency,
}

async fn authorise(
    State(acquirer): State<Acquirer>,
    headers: HeaderMap,
    Json(body): Json<Authorise>,
) -> Result<Response, Problem> {
    check_key(&headers, body.payment_id)?;
    let behaviour = acquirer.behaviours.of_customer(&body.customer_id).await.map_err(database)?;
    acquirer.pace(&behaviour).await?;
    if behaviour.fault == Fault::TimeOutBeforeAcceptance {
        return Ok(acquirer.hold_and_hang_up().await);
    }
    let decision = behaviour.decide(body.payment_id);
    let request = Request {
        payment_id: body.payment_id,
        customer: body.customer_id,
        amount: body.amount_minor,
        currency: body.currency,
    };
    let payment = acquirer.ledger.authorise(&request, &decision).await?;
    crash_point!("provider::charged_before_answer");
    if behaviour.fault == Fault::TimeOutAfterAcceptance {
        return Ok(acquirer.hold_and_hang_up().await);
    }
    Ok(Json(payment).into_response())
}

async fn capture(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    let captured = acquirer.ledger.capture(id).await?;
    crash_point!("provider::captured_before_answer");
    Ok(Json(captured))
}

async fn void(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    Ok(Json(acquirer.ledger.void(id).await?))
}

async fn refund(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    Ok(Json(acquirer.ledger.refund(id).await?))
}

async fn status(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    Ok(Json(acquirer.ledger.find(id).await?))
}

async fn books(State(acquirer): State<Acquirer>) -> Result<Json<Books>, Problem> {
    acquirer.ledger.books().await.map(Json).map_err(database)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: Uuid,
    limit: Option<u16>,
}

#[derive(Serialize)]
struct Payments {
    payments: Vec<Payment>,
    /// Where the next page begins; nothing on the last.
    next_after: Option<Uuid>,
}

async fn payments(
    State(acquirer): State<Acquirer>,
    Query(page): Query<Page>,
) -> Result<Json<Payments>, Problem> {
    let limit = page.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let problem =
            Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "The query is not what is asked for");
        return Err(problem.field("limit", format!("{limit} is out of range"), format!("1 to {PAGE_MAX}")));
    }
    let payments = acquirer.ledger.page(page.after, limit.into()).await.map_err(database)?;
    let full = payments.len() == usize::from(limit);
    let next_after = payments.last().filter(|_| full).map(|payment| payment.payment_id);
    Ok(Json(Payments { payments, next_after }))
}

async fn behaviour(State(acquirer): State<Acquirer>) -> Result<Json<Told>, Problem> {
    acquirer.behaviours.told().await.map(Json).map_err(database)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tell {
    #[serde(default)]
    default: Behaviour,
    #[serde(default)]
    rules: Vec<Rule>,
}

async fn tell(State(acquirer): State<Acquirer>, Json(body): Json<Tell>) -> Result<Json<Told>, Problem> {
    let invalid =
        || Problem::new(StatusCode::BAD_REQUEST, "invalid_body", "The body is not what is asked for");
    if body.rules.len() > RULES_MAX {
        let given = format!("{} rules are too many", body.rules.len());
        return Err(invalid().field("rules", given, format!("at most {RULES_MAX}")));
    }
    let mut customers = HashSet::new();
    for (n, rule) in body.rules.iter().enumerate() {
        if !customers.insert(&rule.customer_id) {
            let field = format!("rules[{n}].customer_id");
            return Err(invalid().field(field, "has a rule already", "one rule for each customer"));
        }
    }
    let told = Told { default: body.default, rules: body.rules };
    acquirer.behaviours.tell(&told).await.map_err(database)?;
    Ok(Json(told))
}

impl Acquirer {
    /// The longest that a call can be made to wait.
    pub fn longest_wait(&self) -> Duration {
        self.time_out + Duration::from_millis(DelayMs::MAX.into())
    }

    async fn pace_payment(&self, payment_id: Uuid) -> Result<(), Problem> {
        let behaviour = self.behaviours.of_payment(payment_id).await.map_err(database)?;
        self.pace(&behaviour).await
    }

    /// What comes before every call about a payment: the delay, or the refusal.
    async fn pace(&self, behaviour: &Behaviour) -> Result<(), Problem> {
        if behaviour.fault == Fault::Unavailable {
            return Err(Problem::unavailable("unavailable", "The provider takes no calls", RETRY_AFTER)
                .detail("it was told so; nothing was done"));
        }
        self.wait(Duration::from_millis(behaviour.delay_ms.get().into())).await;
        Ok(())
    }

    /// As a network does that lost the answer: nothing for longer than a client waits, then the end.
    async fn hold_and_hang_up(&self) -> Response {
        self.wait(self.time_out).await;
        hang_up()
    }

    async fn wait(&self, duration: Duration) {
        if !duration.is_zero() {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(duration) => {}
            }
        }
    }
}

/// The key of an authorisation is the payment's id: that is what makes it one.
fn check_key(headers: &HeaderMap, payment_id: Uuid) -> Result<(), Problem> {
    let given = headers.get(IDEMPOTENCY_KEY).and_then(|key| Uuid::try_parse(key.to_str().ok()?).ok());
    if given == Some(payment_id) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_header", "A header is not what is asked for").field(
        "Idempotency-Key",
        "absent, or not the id of the payment",
        payment_id.to_string(),
    ))
}

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
fn database(error: PoolError) -> Problem {
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
