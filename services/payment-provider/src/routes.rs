//! The acquirer's HTTP API.

use std::collections::HashSet;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fault::crash_point;
use runtime::http::{Json, Path, Query};
use runtime::{Health, Problem, ops_router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::acquirer::Acquirer;
use crate::behaviour::{Behaviour, Fault};
use crate::behaviour_store::{BehaviourSettings, Rule, RuleFields};
use crate::error_responses::database;
use crate::ledger::Books;
use crate::openapi::{self, Document};
use crate::payment::{Payment, Request};
use crate::value::{Amount, Currency, Customer};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const RULES_MAX: usize = 1000;
const PAGE_DEFAULT: u16 = 100;
const PAGE_MAX: u16 = 1000;

/// All routes.
pub fn router(acquirer: Acquirer, health: Health) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(authorise))
        .routes(routes!(status))
        .routes(routes!(capture))
        .routes(routes!(void))
        .routes(routes!(refund))
        .routes(routes!(books))
        .routes(routes!(payments))
        .routes(routes!(behaviour, replace_behaviour))
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
/// Holds the money, or captures it at once if so configured. A declined payment is a 200 too, with the state `declined`. A
/// repeat returns the same payment.
#[utoipa::path(
    post, path = "/v1/payments", tag = "payments", request_body = Authorise,
    params((
        "Idempotency-Key" = String, Header,
        // Not the format `uuid`: generated clients would then pass an object to their HTTP library instead of text.
        pattern = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        description = "The id of the payment, as in the body"
    )),
    responses(
        (status = 200, description = "The payment in its current state", body = Payment),
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
    acquirer.simulate(&behaviour).await?;
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
/// Takes the money that is held. Capturing a captured payment has no effect.
#[utoipa::path(
    post, path = "/v1/payments/{payment_id}/capture", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment in its current state", body = Payment),
        (status = 404, description = "no_such_payment"),
        (status = 409, description = "not_authorised; `state` is the payment's state"),
    ),
)]
async fn capture(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.simulate_for_payment(id).await?;
    let captured = acquirer.ledger.capture(id).await?;
    crash_point!("provider::captured_before_answer");
    Ok(Json(captured))
}

/// Void a payment
///
/// Releases the money that is held. An unknown payment id is declined when its authorisation arrives.
#[utoipa::path(
    post, path = "/v1/payments/{payment_id}/void", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment in its current state", body = Payment),
        (status = 409, description = "already_captured; `state` is the payment's state"),
    ),
)]
async fn void(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.simulate_for_payment(id).await?;
    Ok(Json(acquirer.ledger.void(id).await?))
}

/// Refund a payment
///
/// Returns the money that was taken. Refunding a refunded payment has no effect.
#[utoipa::path(
    post, path = "/v1/payments/{payment_id}/refund", tag = "payments", params(("payment_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The payment in its current state", body = Payment),
        (status = 404, description = "no_such_payment"),
        (status = 409, description = "not_captured; `state` is the payment's state"),
    ),
)]
async fn refund(State(acquirer): State<Acquirer>, Path(id): Path<Uuid>) -> Result<Json<Payment>, Problem> {
    acquirer.simulate_for_payment(id).await?;
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
    acquirer.simulate_for_payment(id).await?;
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
    /// The last payment of the previous page.
    #[serde(default)]
    after: Uuid,
    /// Payments per page; 100 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

#[derive(Serialize, ToSchema)]
struct Payments {
    payments: Vec<Payment>,
    /// The `after` of the next page; null on the last page.
    next_after: Option<Uuid>,
}

/// List payments
///
/// Ordered by id.
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
        let (detail, allowed) = (format!("{limit} is out of range"), format!("1 to {PAGE_MAX}"));
        return Err(Problem::invalid_query().field("limit", detail, allowed));
    }
    let payments = acquirer.ledger.page(page.after, limit.into()).await.map_err(database)?;
    let full = payments.len() == usize::from(limit);
    let next_after = payments.last().filter(|_| full).map(|payment| payment.payment_id);
    Ok(Json(Payments { payments, next_after }))
}

/// Read the behaviour
#[utoipa::path(
    get, path = "/v1/behaviour", tag = "behaviour",
    responses((status = 200, description = "The default and the rules", body = BehaviourSettings)),
)]
async fn behaviour(State(acquirer): State<Acquirer>) -> Result<Json<BehaviourSettings>, Problem> {
    acquirer.behaviours.settings().await.map(Json).map_err(database)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplaceBehaviour {
    /// For customers without a rule.
    #[serde(default)]
    #[schema(required = false)]
    default: Behaviour,
    /// One rule for each customer.
    #[serde(default)]
    #[schema(value_type = Vec<RuleFields>, required = false, max_items = 1000)]
    rules: Vec<Rule>,
}

/// Replace the behaviour
///
/// Replaces the default and all rules.
#[utoipa::path(
    put, path = "/v1/behaviour", tag = "behaviour", request_body = ReplaceBehaviour,
    responses((status = 200, description = "The default and the rules", body = BehaviourSettings)),
)]
async fn replace_behaviour(
    State(acquirer): State<Acquirer>,
    Json(body): Json<ReplaceBehaviour>,
) -> Result<Json<BehaviourSettings>, Problem> {
    if body.rules.len() > RULES_MAX {
        let (detail, allowed) = (format!("has {} rules", body.rules.len()), format!("at most {RULES_MAX}"));
        return Err(Problem::invalid_body().field("rules", detail, allowed));
    }
    let mut customers = HashSet::new();
    for (n, rule) in body.rules.iter().enumerate() {
        if !customers.insert(&rule.customer_id) {
            let field = format!("rules[{n}].customer_id");
            return Err(Problem::invalid_body().field(
                field,
                "has another rule",
                "one rule for each customer",
            ));
        }
    }
    let settings = BehaviourSettings { default: body.default, rules: body.rules };
    acquirer.behaviours.replace(&settings).await.map_err(database)?;
    Ok(Json(settings))
}

/// The idempotency key of an authorisation is the payment's id.
fn check_key(headers: &HeaderMap, payment_id: Uuid) -> Result<(), Problem> {
    let given = headers.get(IDEMPOTENCY_KEY).and_then(|key| Uuid::try_parse(key.to_str().ok()?).ok());
    if given == Some(payment_id) {
        return Ok(());
    }
    let detail = "is missing, or is not the id of the payment";
    Err(Problem::invalid_header().field("Idempotency-Key", detail, payment_id.to_string()))
}
