//! The table `orders`: one row for each order that was placed. Read next: `fold/payments.rs`.

use events::orders::OrderPlaced;
use events::{Event, OrderEvent};
use serde_json::json;

use super::Table;
use crate::report::Property;
use crate::row::{Cell, Row};
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelOrders,
    name: "orders",
    consumer: "query-side.orders",
    key: "order_id",
};

pub fn fold(applied: &[&Told]) -> Option<Row> {
    let mut row: Option<Row> = None;
    // What the customer gave as the reason to cancel, from when on they did.
    let mut reason: Option<&str> = None;
    for told in applied {
        let Some(Event::Order(event)) = &told.fact else { continue };
        match event {
            OrderEvent::OrderPlaced(placed) => (row, reason) = (Some(begun(placed)), None),
            OrderEvent::OrderCancellationRequested(asked) => reason = Some(&asked.reason),
            OrderEvent::OrderCancelled(done) => reason = Some(&done.reason),
            _ => {}
        }
        let Some(row) = &mut row else { continue };
        for change in changes(event, reason) {
            row.set([change]);
        }
        row.set([("version", told.event.version.into()), ("position", told.event.position.into())]);
    }
    row
}

fn begun(placed: &OrderPlaced) -> Row {
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
    let wish = |state: &str| ("cancellation", Cell::json(&json!({"reason": reason, "state": state})));
    match event {
        OrderEvent::OrderPlaced(_) => vec![("status", "placed".into())],
        OrderEvent::OrderConfirmed(_) => vec![("status", "confirmed".into())],
        OrderEvent::OrderRejected(event) => {
            vec![("status", "rejected".into()), ("rejection", Cell::json(&event.reason))]
        }
        OrderEvent::OrderCancellationRequested(_) => {
            vec![("status", "cancelling".into()), wish("requested")]
        }
        OrderEvent::OrderCancellationRefused(_) => {
            let refused = reason.map(|_| wish("refused"));
            [("status", "confirmed".into())].into_iter().chain(refused).collect()
        }
        OrderEvent::OrderCancelled(_) => vec![("status", "cancelled".into()), wish("done")],
        OrderEvent::OrderShipped(event) => {
            let shipment = json!({"carrier": event.carrier, "tracking": event.tracking});
            vec![("status", "shipped".into()), ("shipment", Cell::json(&shipment))]
        }
        OrderEvent::OrderDelivered(_) => vec![("status", "delivered".into())],
    }
}
