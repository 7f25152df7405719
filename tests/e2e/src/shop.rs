//! What a shop does: POSTs commands, GETs answers. Verbs, so that scenarios read like English.
//!
//! Never: an assertion about the platform's inside. Read next: `tests/e2e/tests/story.rs`.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::eventually;

/// A client of both doors and of the payment provider's behaviour.
#[derive(Clone)]
pub struct Shop {
    http: reqwest::Client,
    command_url: String,
    query_url: String,
    provider_url: String,
}

/// Status and JSON body of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    /// How far the query side had come: `X-Tradewind-Position`.
    pub position: Option<String>,
}

impl Answer {
    /// The body, where the status is a success.
    ///
    /// # Panics
    /// With the whole answer, where it is not.
    #[track_caller]
    pub fn accepted(self) -> Value {
        assert!(self.status.is_success(), "wanted a success, got {self:?}");
        self.body
    }

    /// The problem's stable code, where the status is `status`.
    ///
    /// # Panics
    /// With the whole answer, where it is not.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.body["code"].as_str().unwrap_or_else(|| panic!("no code in {self:?}")).to_owned()
    }
}

fn position_of(response: &reqwest::Response) -> Option<String> {
    let value = response.headers().get("x-tradewind-position")?;
    Some(value.to_str().expect("positions are ASCII").to_owned())
}

/// One line of an order.
pub fn line(sku: &str, quantity: i64, unit_price_minor: i64) -> Value {
    json!({"sku": sku, "quantity": quantity, "unit_price_minor": unit_price_minor})
}

impl Shop {
    pub fn new(command_url: String, query_url: String, provider_url: String) -> Self {
        Self { http: reqwest::Client::new(), command_url, query_url, provider_url }
    }

    /// The same shop at another door.
    #[must_use]
    pub fn with_command_url(mut self, command_url: &str) -> Self {
        command_url.clone_into(&mut self.command_url);
        self
    }

    /// The same shop, asking another query side.
    #[must_use]
    pub fn with_query_url(mut self, query_url: &str) -> Self {
        query_url.clone_into(&mut self.query_url);
        self
    }

    async fn send(&self, method: Method, url: String, body: Option<Value>) -> Result<Answer, String> {
        let mut request = self.http.request(method, &url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(|error| format!("{url}: {error:?}"))?;
        let (status, position) = (response.status(), position_of(&response));
        let text = response.text().await.map_err(|error| format!("{url}: {error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body, position })
    }

    /// POST to the command side.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.command_url);
        self.send(Method::POST, url, Some(body)).await.expect("the command side answers")
    }

    /// POST under an `Idempotency-Key`.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn post_under_key(&self, key: &str, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.command_url);
        let request = self.http.post(&url).header("Idempotency-Key", key).json(&body);
        let response = request.send().await.expect("the command side answers");
        let (status, position) = (response.status(), position_of(&response));
        Answer { status, body: response.json().await.expect("an answer is JSON"), position }
    }

    /// POST that outlives the death of a role: repeats itself until somebody answers with anything but a 503.
    pub async fn post_until_answered(&self, path: &str, body: Value) -> Answer {
        eventually(&format!("an answer to POST {path}"), || async {
            let url = format!("{}{path}", self.command_url);
            let answer = self.send(Method::POST, url, Some(body.clone())).await?;
            if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                Err(format!("{answer:?}"))
            } else {
                Ok(answer)
            }
        })
        .await
    }

    /// GET from the query side.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.expect("the query side answers")
    }

    async fn try_get(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, format!("{}{path}", self.query_url), None).await
    }

    pub async fn receives_stock(&self, sku: &str, quantity: i64) -> Value {
        self.post(&format!("/v1/stock/{sku}/receive"), json!({"quantity": quantity})).await.accepted()
    }

    /// An order's body; the caller may change it before posting.
    pub fn order(order_id: Uuid, customer: &str, lines: &[Value]) -> Value {
        json!({
            "order_id": order_id, "customer_id": customer, "currency": "GBP", "lines": lines,
            "shipping_address": {"name": customer, "street": "1 Harbour Road", "city": "Bristol"},
        })
    }

    /// Places an order and returns its id.
    pub async fn places_order(&self, customer: &str, lines: &[Value]) -> Uuid {
        let order_id = Uuid::now_v7();
        let placed = self.post("/v1/orders", Self::order(order_id, customer, lines)).await.accepted();
        assert_eq!(placed["order_id"], json!(order_id));
        order_id
    }

    /// Places an order whatever dies meanwhile. A command side that was killed may have stored it before it could answer: then
    /// the repeat finds it there.
    pub async fn places_though_roles_die(&self, order_id: Uuid, customer: &str, lines: &[Value]) {
        let answer = self.post_until_answered("/v1/orders", Self::order(order_id, customer, lines)).await;
        let stored_before = answer.status == 409 && answer.body["code"] == "order_already_exists";
        assert!(answer.status.is_success() || stored_before, "{answer:?}");
    }

    pub async fn cancels(&self, order_id: Uuid) -> Answer {
        self.post(&format!("/v1/orders/{order_id}/cancel"), json!({"reason": "changed my mind"})).await
    }

    pub async fn dispatches(&self, order_id: Uuid) -> Answer {
        let body = json!({"carrier": "Royal Mail", "tracking": "RM1"});
        eventually("a shipment to dispatch", || async {
            let answer = self.post(&format!("/v1/shipments/{order_id}/dispatch"), body.clone()).await;
            if answer.status == StatusCode::NOT_FOUND { Err(format!("{answer:?}")) } else { Ok(answer) }
        })
        .await
    }

    pub async fn delivers(&self, order_id: Uuid) -> Value {
        self.post(&format!("/v1/shipments/{order_id}/deliver"), json!({})).await.accepted()
    }

    /// The order, once its status is `status`.
    pub async fn sees_order(&self, order_id: Uuid, status: &str) -> Value {
        self.sees(&format!("/v1/orders/{order_id}"), "status", status).await
    }

    /// The payment, once its state is `state`.
    pub async fn sees_payment(&self, order_id: Uuid, state: &str) -> Value {
        self.sees(&format!("/v1/payments/{order_id}"), "state", state).await
    }

    async fn sees(&self, path: &str, field: &str, wanted: &str) -> Value {
        eventually(&format!("{path} with {field} {wanted}"), || async {
            let answer = self.try_get(path).await?;
            if answer.status.is_success() && answer.body[field] == wanted {
                Ok(answer.body)
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await
    }

    /// The order, once the saga has an outcome for it.
    pub async fn waits_for_outcome(&self, order_id: Uuid) -> Value {
        let path = format!("/v1/orders/{order_id}?wait=settled&timeout_ms=5000");
        eventually(&format!("an outcome of {order_id}"), || async {
            let answer = self.try_get(&path).await?;
            if answer.status.is_success() { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        })
        .await
    }

    /// The stock of a SKU, once its four numbers are these.
    pub async fn sees_stock(&self, sku: &str, received: i64, available: i64, reserved: i64, shipped: i64) {
        let path = format!("/v1/stock/{sku}");
        let wanted = json!([received, available, reserved, shipped]);
        eventually(&format!("{path} with {wanted}"), || async {
            let body = self.try_get(&path).await?.body;
            let seen = json!([body["received"], body["available"], body["reserved"], body["shipped"]]);
            if seen == wanted { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
    }

    /// The daily sales, once they are these: (date, orders, revenue in minor units).
    pub async fn sees_daily_sales(&self, wanted: &[(&str, i64, i64)]) {
        let wanted: Vec<Value> =
            wanted.iter().map(|(date, orders, revenue)| json!([date, orders, revenue])).collect();
        eventually(&format!("daily sales of {wanted:?}"), || async {
            let body = self.try_get("/v1/sales/daily").await?.body;
            let days = body["days"].as_array().cloned().unwrap_or_default();
            let seen: Vec<Value> =
                days.iter().map(|day| json!([day["date"], day["orders"], day["revenue_minor"]])).collect();
            if seen == wanted { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
    }

    /// How many orders have this status.
    pub async fn count_orders(&self, status: &str) -> usize {
        let mut count = 0;
        let first = format!("/v1/orders?status={status}&limit=500");
        let mut path = first.clone();
        loop {
            let page = self.get(&path).await.accepted();
            count += page["items"].as_array().map_or(0, Vec::len);
            let Some(cursor) = page["next_cursor"].as_str() else { return count };
            path = format!("{first}&cursor={cursor}");
        }
    }

    /// Waits until the order waits for nothing but its dispatch.
    pub async fn shipment_is_prepared(&self, order_id: Uuid) {
        let path = format!("/v1/orders/{order_id}/process");
        eventually(&format!("{path} to wait for the dispatch"), || async {
            let process = self.try_get(&path).await?.body;
            if process["waiting_for"]["step"] == "dispatch" { Ok(()) } else { Err(process.to_string()) }
        })
        .await;
    }

    /// What is at a URL, whatever it is.
    pub async fn text_at(&self, url: &str) -> String {
        self.http.get(url).send().await.expect("an answer").text().await.expect("text")
    }

    /// The payment provider's own sums.
    pub async fn provider_books(&self) -> Value {
        let url = format!("{}/v1/ledger", self.provider_url);
        self.send(Method::GET, url, None).await.expect("the provider answers").accepted()
    }

    /// Sets how the payment provider treats one customer; everybody else is approved.
    pub async fn provider_treats(&self, customer: &str, mut behaviour: Value) {
        behaviour["customer_id"] = json!(customer);
        let url = format!("{}/v1/behaviour", self.provider_url);
        let now = self.send(Method::GET, url.clone(), None).await.expect("the provider answers").accepted();
        let mut rules = now["rules"].as_array().cloned().unwrap_or_default();
        rules.push(behaviour);
        let body = json!({"default": now["default"], "rules": rules});
        self.send(Method::PUT, url, Some(body)).await.expect("the provider answers").accepted();
    }

    /// What the payment provider's own ledger says.
    pub async fn provider_payment(&self, order_id: Uuid) -> Answer {
        let url = format!("{}/v1/payments/{order_id}", self.provider_url);
        self.send(Method::GET, url, None).await.expect("the provider answers")
    }
}
