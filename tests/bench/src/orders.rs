//! The orders of the benchmarks: two lines each; the event with its metadata has about 500 bytes.

use chrono::{DateTime, Utc};
use event_store::{Append, NewEvent, StreamWrite};
use events::orders::{OrderLine, OrderPlaced};
use events::{Address, Metadata, OrderEvent, OrderId, Quantity, Sku};
use serde::Serialize;
use uuid::Uuid;

const ADDRESS: &str = "Mrs A. Customer, 12 Long Lane, Upper Somewhere, Some County, SW1A 9ZZ, United Kingdom";

pub fn metadata() -> Metadata {
    Metadata {
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        depends_on: events::Positions::default(),
        actor: "bench".to_owned(),
        traceparent: None,
        idempotency_key: None,
    }
}

pub fn sku(name: &str) -> Sku {
    name.parse().expect("the bench's SKUs are short")
}

pub fn pieces(count: i64) -> Quantity {
    Quantity::try_from(count).expect("from 1 on")
}

pub fn placed(order_id: OrderId) -> OrderPlaced {
    let line =
        |sku_name: &str| OrderLine { sku: sku(sku_name), quantity: pieces(2), unit_price_minor: 1_295 };
    OrderPlaced {
        order_id,
        customer_id: "customer-17850".parse().expect("a short name"),
        currency: "GBP".parse().expect("a currency in circulation"),
        lines: vec![line("WHITE-HANGING-HEART-T-LIGHT-HOLDER"), line("CREAM-CUPID-HEARTS-COAT-HANGER")],
        total_minor: 5_180,
        shipping_address: Address::Text(ADDRESS.to_owned()),
        placed_at: DateTime::<Utc>::UNIX_EPOCH,
    }
}

/// One command with one event of about 500 bytes, on a new stream.
pub fn append_one() -> Append {
    let order_id = OrderId(Uuid::now_v7());
    let event = OrderEvent::from(placed(order_id));
    let write = StreamWrite {
        stream: events::orders::stream(order_id),
        expected_version: 0,
        events: vec![NewEvent::new(&event, metadata())],
    };
    Append { writes: vec![write], ..Append::default() }
}

/// The body of `POST /v1/orders`: one piece of each SKU.
pub fn body(order_id: Uuid, skus: &[impl AsRef<str>]) -> String {
    let line = |sku| Line { sku, quantity: 1, unit_price_minor: 1_295 };
    let body = Body {
        order_id,
        customer_id: "customer-17850",
        currency: "GBP",
        lines: skus.iter().map(AsRef::as_ref).map(line).collect(),
        shipping_address: ADDRESS,
    };
    serde_json::to_string(&body).expect("plain data")
}

#[derive(Serialize)]
struct Body<'a> {
    order_id: Uuid,
    customer_id: &'static str,
    currency: &'static str,
    lines: Vec<Line<'a>>,
    shipping_address: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    sku: &'a str,
    quantity: i64,
    unit_price_minor: i64,
}

#[cfg(test)]
mod tests {
    use events::Event;

    use super::*;

    #[test]
    fn an_event_with_its_metadata_is_about_500_bytes() {
        let payload = Event::from(OrderEvent::from(placed(OrderId(Uuid::now_v7())))).payload().get().len();
        let metadata = serde_json::to_string(&metadata()).expect("plain data").len();
        assert!((450..=550).contains(&(payload + metadata)), "{payload} + {metadata}");
    }
}
