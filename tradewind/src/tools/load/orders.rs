//! Sends the orders: each invoice is POSTed once, with an id and an idempotency key derived from its number. Invalid
//! orders are sent too, because the server decides what is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::client::{ApiClient, Response};
use super::invoices::{Invoice, Line};
use super::progress::Stage;

/// The namespace of all ids of this tool.
const NAMESPACE: Uuid = Uuid::from_u128(0x7452_4144_4557_494e_4420_6c6f_6164_0001);
const CURRENCY: &str = "GBP";

/// The outcome of the POSTs.
#[derive(Debug, Default)]
pub struct Sent {
    /// The response time of each accepted order.
    pub accepted: Vec<Duration>,
    /// Of the accepted orders, those that an earlier attempt or run had placed.
    pub placed_before: usize,
    /// Refused orders by reason.
    pub refused: BTreeMap<String, usize>,
    /// Orders without a response, by cause.
    pub failed: BTreeMap<String, usize>,
    /// From the first POST to the last response.
    pub took: Duration,
}

/// An accepted order that has not settled yet.
#[derive(Debug)]
pub struct AcceptedOrder {
    pub id: Uuid,
    pub sent_at: Instant,
}

enum Outcome {
    Accepted { waited: Duration, before: bool },
    Refused(String),
    Failed(String),
}

/// Sends every invoice and passes the accepted orders to `accepted`, which has room for all.
pub async fn send(
    client: &ApiClient,
    invoices: &[Invoice],
    run: &str,
    concurrency: usize,
    accepted: mpsc::Sender<AcceptedOrder>,
    bar: &Stage,
) -> Sent {
    let started = Instant::now();
    let mut sent = Sent::default();
    let mut outcomes = futures::stream::iter(invoices)
        .map(|invoice| place(client, invoice, run, accepted.clone()))
        .buffer_unordered(concurrency);
    while let Some(outcome) = outcomes.next().await {
        bar.step();
        match outcome {
            Outcome::Accepted { waited, before } => {
                sent.accepted.push(waited);
                sent.placed_before += usize::from(before);
            }
            Outcome::Refused(reason) => *sent.refused.entry(reason).or_default() += 1,
            Outcome::Failed(cause) => *sent.failed.entry(cause).or_default() += 1,
        }
    }
    sent.took = started.elapsed();
    sent
}

async fn place(
    client: &ApiClient,
    invoice: &Invoice,
    run: &str,
    mut accepted: mpsc::Sender<AcceptedOrder>,
) -> Outcome {
    let id = id_of(run, "order", &invoice.number);
    let sent_at = Instant::now();
    match client.post("/v1/orders", id, body(id, invoice)).await {
        Err(cause) => Outcome::Failed(cause.to_string()),
        Ok(response) if response.status.is_success() || already_exists(&response) => {
            // With --no-wait there is no receiver.
            let _ = accepted.try_send(AcceptedOrder { id, sent_at });
            let before = response.replayed || already_exists(&response);
            Outcome::Accepted { waited: sent_at.elapsed(), before }
        }
        Ok(response) if response.status.is_client_error() => Outcome::Refused(reason(&response.body)),
        Ok(response) => Outcome::Failed(format!("{} {}", response.status.as_u16(), reason(&response.body))),
    }
}

/// The platform has deleted the idempotency key and still has the order.
fn already_exists(response: &Response) -> bool {
    response.status == StatusCode::CONFLICT && response.body["code"] == "order_already_exists"
}

/// An id that is the same for the same run, kind and name.
pub fn id_of(run: &str, kind: &str, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{run}\n{kind}\n{name}").as_bytes())
}

#[derive(Serialize)]
struct Body<'a> {
    order_id: Uuid,
    customer_id: &'a str,
    currency: &'static str,
    lines: Vec<BodyLine<'a>>,
    shipping_address: &'a str,
    placed_at: String,
}

#[derive(Serialize)]
struct BodyLine<'a> {
    sku: &'a str,
    quantity: i64,
    /// The digits as in the file, even if they are not a whole number.
    unit_price_minor: Box<RawValue>,
}

fn body(order_id: Uuid, invoice: &Invoice) -> String {
    let body = Body {
        order_id,
        customer_id: &invoice.customer_id,
        currency: CURRENCY,
        lines: invoice.lines.iter().map(body_line).collect(),
        shipping_address: &invoice.country,
        placed_at: invoice.placed_at.to_rfc3339(),
    };
    serde_json::to_string(&body).expect("an order is plain data")
}

fn body_line(line: &Line) -> BodyLine<'_> {
    let digits = line.unit_price_minor.to_string();
    let unit_price_minor = RawValue::from_string(digits).expect("a decimal is a JSON number");
    BodyLine { sku: &line.sku, quantity: line.quantity, unit_price_minor }
}

/// The code and the faulty fields of a problem, without the values and indexes of this order.
pub fn reason(problem: &Value) -> String {
    let code = problem["code"].as_str().unwrap_or("no problem code");
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fields: BTreeSet<String> = errors
        .iter()
        .map(|error| {
            let detail = error["detail"].as_str().unwrap_or_default();
            let general = [", is ", ", has "].iter().find_map(|given| detail.split_once(given));
            format!(
                "{} {}",
                without_indexes(error["field"].as_str().unwrap_or_default()),
                general.map_or(detail, |(before, _)| before)
            )
        })
        .collect();
    [code.to_owned()].into_iter().chain(fields).collect::<Vec<_>>().join("; ")
}

/// `lines[3].quantity` → `lines[].quantity`.
fn without_indexes(field: &str) -> String {
    field
        .split('[')
        .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join("[")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_invoice_has_the_same_id_only_in_the_same_run() {
        let id = id_of("first", "order", "536365");
        assert_eq!(id_of("first", "order", "536365"), id);
        for other in [
            id_of("second", "order", "536365"),
            id_of("first", "order", "536366"),
            id_of("first", "stock", "536365"),
        ] {
            assert_ne!(other, id);
        }
    }

    #[test]
    fn a_price_that_is_not_a_whole_number_is_sent_unchanged() {
        let line = |price: &str| Line {
            sku: "BANK CHARGES".to_owned(),
            quantity: -3,
            unit_price_minor: price.parse().expect("a decimal"),
        };
        let invoice = Invoice {
            number: "1".to_owned(),
            customer_id: "guest".to_owned(),
            placed_at: "2010-12-01T08:26:00Z".parse().expect("a time"),
            country: "EIRE".to_owned(),
            lines: vec![line("12.5"), line("-1106206"), line("0")],
        };
        let sent: Value = serde_json::from_str(&body(Uuid::nil(), &invoice)).expect("JSON");
        assert_eq!(
            sent,
            json!({
                "order_id": Uuid::nil(),
                "customer_id": "guest",
                "currency": "GBP",
                "lines": [
                    {"sku": "BANK CHARGES", "quantity": -3, "unit_price_minor": 12.5},
                    {"sku": "BANK CHARGES", "quantity": -3, "unit_price_minor": -1_106_206},
                    {"sku": "BANK CHARGES", "quantity": -3, "unit_price_minor": 0},
                ],
                "shipping_address": "EIRE",
                "placed_at": "2010-12-01T08:26:00+00:00",
            })
        );
    }

    #[test]
    fn orders_with_the_same_fault_have_one_reason() {
        let problem = |index: usize, given: i64| {
            json!({"code": "invalid_body", "errors": [
                {"field": format!("lines[{index}].quantity"), "detail": format!("must be 1 to 1000000000, is {given}")},
                {"field": "lines[0].quantity", "detail": "must be 1 to 1000000000, is 0"},
            ]})
        };
        let one = reason(&problem(3, -3));
        assert_eq!(one, "invalid_body; lines[].quantity must be 1 to 1000000000");
        assert_eq!(reason(&problem(12, 0)), one);
    }

    #[test]
    fn a_problem_without_fields_is_its_code() {
        assert_eq!(reason(&json!({"code": "order_already_exists"})), "order_already_exists");
        assert_eq!(reason(&json!("<html>")), "no problem code");
    }
}
