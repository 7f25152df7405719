//! The payment provider over HTTP: `POST /v1/payments`, `/v1/payments/{id}/capture|void|refund`, `GET /v1/payments/{id}`.
//!
//! Never: a retry in here, a redirect followed, or "not done" said of a call that may have arrived.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use events::{CustomerId, Money, OrderId};
use fault::mutant;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::provider::{PaymentProvider, ProviderError, ProviderPayment, Reply};

/// Idle connections that are kept open.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// The URL of the provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProviderUrl {
    #[error("--payment-provider-url must be http://host:port or https://host:port, is {given:?}")]
    Url { given: String },
    #[error("no HTTP client can be made: {0}")]
    Client(#[source] reqwest::Error),
}

/// A provider that is reached at a URL.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    client: Client,
    payments: String,
}

impl HttpProvider {
    /// `timeout`: of one call.
    ///
    /// # Errors
    /// [`InvalidProviderUrl`].
    pub fn new(url: &str, timeout: Duration) -> Result<Self, InvalidProviderUrl> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| InvalidProviderUrl::Url { given: url.to_owned() })?;
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()
            .map_err(InvalidProviderUrl::Client)?;
        Ok(Self { client, payments: format!("{}/v1/payments", parsed.as_str().trim_end_matches('/')) })
    }

    async fn authorise_as(&self, order_id: OrderId, customer_id: &CustomerId, amount: Money) -> Reply {
        let body = json!({
            "payment_id": order_id,
            "customer_id": customer_id,
            "amount_minor": amount.amount_minor(),
            "currency": amount.currency(),
        });
        let request = self.client.post(&self.payments).header("Idempotency-Key", order_id.to_string());
        call(request.json(&body)).await
    }

    async fn act(&self, order_id: OrderId, action: &str) -> Reply {
        call(self.client.post(format!("{}/{order_id}/{action}", self.payments))).await
    }
}

#[async_trait]
impl PaymentProvider for HttpProvider {
    async fn authorise(&self, order_id: OrderId, customer_id: &CustomerId, amount: Money) -> Reply {
        let reply = self.authorise_as(order_id, customer_id, amount).await;
        let unknown = matches!(reply, Err(ProviderError::NoAnswer { .. }));
        if unknown && mutant!("payments::charged_again_with_a_new_key") {
            let another = format!("f{}", &order_id.to_string()[1..]).parse().expect("as long as an id");
            return self.authorise_as(another, customer_id, amount).await;
        }
        reply
    }

    async fn capture(&self, order_id: OrderId) -> Reply {
        self.act(order_id, "capture").await
    }

    async fn void(&self, order_id: OrderId) -> Reply {
        self.act(order_id, "void").await
    }

    async fn refund(&self, order_id: OrderId) -> Reply {
        self.act(order_id, "refund").await
    }

    async fn status(&self, order_id: OrderId) -> Reply {
        call(self.client.get(format!("{}/{order_id}", self.payments))).await
    }
}

async fn call(request: RequestBuilder) -> Reply {
    let response = request.send().await.map_err(|error| {
        let cause = chain(&error);
        // Only a connection that was never established proves that nothing arrived.
        if error.is_connect() {
            ProviderError::Unavailable { cause }
        } else {
            ProviderError::NoAnswer { cause }
        }
    })?;
    match response.status() {
        StatusCode::OK => response
            .json::<ProviderPayment>()
            .await
            .map_err(|error| ProviderError::NoAnswer { cause: chain(&error) }),
        StatusCode::NOT_FOUND => Err(ProviderError::NotFound),
        status @ (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
            Err(ProviderError::Unavailable { cause: format!("status {status}") })
        }
        status if status.is_client_error() => Err(refusal(status, response).await),
        status => Err(ProviderError::NoAnswer { cause: format!("status {status}") }),
    }
}

async fn refusal(status: StatusCode, response: Response) -> ProviderError {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    let code = response.json::<Problem>().await.map_or_else(|_| "unknown".to_owned(), |problem| problem.code);
    ProviderError::Refused { status: status.as_u16(), code }
}

/// The error with all its causes: reqwest's own text says only "error sending request".
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
