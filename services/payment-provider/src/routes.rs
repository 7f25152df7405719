//! The acquirer's HTTP surface, and where it misbehaves as it was told.
//!
//! Never: a step of the ledger begun after the fault that forbids it. Read next: `/sagas/src/payments`, the other end.

use std::collections::HashSet;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fault::crash_point;
use runtime::http::{Json, Path, Query, hang_up};
use runtime::{Health, Problem, ops_router};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::behaviour::{Behaviour, DelayMs, Fault};
use crate::behaviours::{Behaviours, Rule, RuleFields, Told};
use crate::failure::{RETRY_AFTER, database};
use crate::ledger::{Books, Ledger};
use crate::openapi::{self, Document};
use crate::payment::{Payment, Request};
use crate::value::{Amount, Currency, Customer};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
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

/// Everything that is served.
pub fn router(acquirer: Acquirer, health: Health) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(authorise))
        .routes(routes!(status))
        .routes(routes!(capture))
        .routes(routes!(void))
        .routes(routes!(refund))
        .routes(routes!(books))
        .routes(routes!(payments))
        .routes(routes!(behaviour, tell))
        .split_for_parts();
    let document = openapi::completed(&document);
    routes
        .with_state(acquirer)
        .route("/openapi.json", get(async move || Json(document)))
        .merge(ops_router(health))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Authorise {
    payment_id: Uuid,
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    customer_id: Customer,
    #[schema(value_type = i64, minimum = 1)]
    amount_minor: Amount,
    #[schema(value_type = String, pattern = "^[A-Z]{3}$")]
    currency: Currency,
}

/// Authorise a payment
///
/// Holds the money, or takes it at once where the provider was told so. A payment that is declined is answered 200 too:
/// its state says so. A repeat is answered as the first was.
#[utoipa::path(
    post, path = "/v1/payments", tag = "payments", request_body = Authorise,
    params((
        "Idempotency-Key" = String, Header,
        // Not the format `uuid`: clients are generated that then give their HTTP library what is no text.
        pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        description = "The payment's id, as in the body"
    )),
    responses(
        (status = 200, description = "The payment as it is now", body = Payment),
        (status = 422, description = "idempotency_key_reused"),
    ),
)]
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

/// Capture a payment
///
/// Takes the money that is held. A payment that was captured stays as it is.
#[utoipa::path(
    post, path = "/v1/payments/{payment_id}/capture", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment as it is now", body = Payment),
        (status = 404, description = "no_such_payment"),
        (status = 409, description = "not_authorised: `state` says what the payment is"),
    ),
)]
async fn capture(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    let captured = acquirer.ledger.capture(id).await?;
    crash_point!("provider::captured_before_answer");
    Ok(Json(captured))
}

/// Void a payment
///
/// Releases the money that is held. A payment that is not known yet will be declined when it comes.
#[utoipa::path(
    post, path = "/v1/payments/{payment_id}/void", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment as it is now", body = Payment),
        (status = 409, description = "already_captured: `state` says what the payment is"),
    ),
)]
async fn void(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    Ok(Json(acquirer.ledger.void(id).await?))
}

/// Refund a payment
///
/// Gives back the money that was taken. A payment that was refunded stays as it is.
#[utoipa::path(
    post, path = "/v1/payments/{payment_id}/refund", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment as it is now", body = Payment),
        (status = 404, description = "no_such_payment"),
        (status = 409, description = "not_captured: `state` says what the payment is"),
    ),
)]
async fn refund(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    Ok(Json(acquirer.ledger.refund(id).await?))
}

/// Read a payment
#[utoipa::path(
    get, path = "/v1/payments/{payment_id}", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment", body = Payment),
        (status = 404, description = "no_such_payment"),
    ),
)]
async fn status(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.pace_payment(id).await?;
    Ok(Json(acquirer.ledger.find(id).await?))
}

/// Read the totals of the ledger
#[utoipa::path(
    get, path = "/v1/ledger", tag = "ledger", responses((status = 200, description = "The totals", body = Books)),
)]
async fn books(State(acquirer): State<Acquirer>) -> Result<Json<Books>, Problem> {
    acquirer.ledger.books().await.map(Json).map_err(database)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// The last payment of the page before.
    #[serde(default)]
    after: Uuid,
    /// Payments on a page; 100 when it is absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

#[derive(Serialize, ToSchema)]
struct Payments {
    payments: Vec<Payment>,
    /// Where the next page begins; nothing on the last.
    next_after: Option<Uuid>,
}

/// List payments
///
/// By id.
#[utoipa::path(
    get, path = "/v1/ledger/payments", tag = "ledger", params(Page),
    responses((status = 200, description = "One page of payments", body = Payments)),
)]
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

/// Read what the provider was told
#[utoipa::path(
    get, path = "/v1/behaviour", tag = "behaviour",
    responses((status = 200, description = "What it was told", body = Told)),
)]
async fn behaviour(State(acquirer): State<Acquirer>) -> Result<Json<Told>, Problem> {
    acquirer.behaviours.told().await.map(Json).map_err(database)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Tell {
    /// What customers without a rule meet.
    #[serde(default)]
    #[schema(required = false)]
    default: Behaviour,
    /// One rule for each customer.
    #[serde(default)]
    #[schema(value_type = Vec<RuleFields>, required = false, max_items = 1000)]
    rules: Vec<Rule>,
}

/// Tell the provider what to do
///
/// Replaces all that it was told before.
#[utoipa::path(
    put, path = "/v1/behaviour", tag = "behaviour", request_body = Tell,
    responses((status = 200, description = "What it was told", body = Told)),
)]
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
