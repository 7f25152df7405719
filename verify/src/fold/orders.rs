//! The table `orders`: one row for each order that was placed.

use events::orders::OrderPlaced;
use events::{Context, Event, OrderEvent};
use serde_json::json;
use verify_log::{Cell, Row};

use crate::read::orders::Applied;

pub fn fold(_id: &str, applied: &Applied<'_>) -> Option<Row> {
    let mut row: Option<Row> = None;
    // The reason for a cancellation, once one was requested.
    let mut reason: Option<&str> = None;
    for logged in applied.of(Context::Orders) {
        let Ok(Event::Order(event)) = &logged.fact else { continue };
        match event {
            OrderEvent::OrderPlaced(placed) => (row, reason) = (Some(first(placed)), None),
            OrderEvent::OrderCancellationRequested(requested) => reason = Some(&requested.reason),
            OrderEvent::OrderCancelled(cancelled) => reason = Some(&cancelled.reason),
            _ => {}
        }
        let Some(row) = &mut row else { continue };
        for change in changes(event, reason) {
            row.set([change]);
        }
        row.set([("version", logged.event.version.into()), ("position", logged.event.position.into())]);
    }
    row
}

fn first(placed: &OrderPlaced) -> Row {
    Row::new([
        ("order_id", placed.order_id.to_string().into()),
        ("customer_id", placed.customer_id.as_str().into()),
        ("currency", placed.currency.as_str().into()),
        ("lines", Cell::json(&placed.lines)),
        ("total_minor", placed.total_minor.into()),
        ("shipping_address", Cell::json(&placed.shipping_address)),
        ("placed_at", placed.placed_at.into()),
        ("rejection", Cell::Null),
        ("cancellation", Cell::Null),
        ("shipment", Cell::Null),
    ])
}

fn changes(event: &OrderEvent, reason: Option<&str>) -> Vec<(&'static str, Cell)> {
    let cancellation = |state: &str| ("cancellation", Cell::json(&json!({"reason": reason, "state": state})));
    match event {
        OrderEvent::OrderPlaced(_) => vec![("status", "placed".into())],
        OrderEvent::OrderConfirmed(_) => vec![("status", "confirmed".into())],
        OrderEvent::OrderRejected(event) => {
            vec![("status", "rejected".into()), ("rejection", Cell::json(&event.reason))]
        }
        OrderEvent::OrderCancellationRequested(_) => {
            vec![("status", "cancelling".into()), cancellation("requested")]
        }
        OrderEvent::OrderCancellationRefused(_) => {
            let refused = reason.map(|_| cancellation("refused"));
            [("status", "confirmed".into())].into_iter().chain(refused).collect()
        }
        OrderEvent::OrderCancelled(_) => vec![("status", "cancelled".into()), cancellation("done")],
        OrderEvent::OrderShipped(event) => {
            let shipment = json!({"carrier": event.carrier, "tracking": event.tracking});
            vec![("status", "shipped".into()), ("shipment", Cell::json(&shipment))]
        }
        OrderEvent::OrderDelivered(_) => vec![("status", "delivered".into())],
    }
}
