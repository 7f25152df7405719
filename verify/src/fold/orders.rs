//! The table `orders`: one row for each order that was placed. Read next: `fold/payments.rs`.

use events::{Event, OrderEvent};
use serde_json::{Value, json};

use super::{Row, Table, json as value, set};
use crate::report::Property;
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelOrders,
    name: "orders",
    consumer: "query-side.orders",
    key: "order_id",
};

pub fn fold(applied: &[&Told]) -> Option<Row> {
    let mut row: Option<Row> = None;
    for told in applied {
        let Some(Event::Order(event)) = &told.fact else { continue };
        if let OrderEvent::OrderPlaced(placed) = event {
            let mut begun = Row::new();
            set(
                &mut begun,
                [
                    ("order_id", value(placed.order_id)),
                    ("customer_id", value(&placed.customer_id)),
                    ("currency", value(placed.currency)),
                    ("lines", value(&placed.lines)),
                    ("total_minor", placed.total_minor.into()),
                    ("shipping_address", value(&placed.shipping_address)),
                    ("placed_at", value(placed.placed_at)),
                    ("rejection", Value::Null),
                    ("cancellation", Value::Null),
                    ("shipment", Value::Null),
                ],
            );
            row = Some(begun);
        }
        let Some(row) = &mut row else { continue };
        for (column, now) in changes(event, row) {
            row.insert(column.to_owned(), now);
        }
        set(row, [("version", told.event.version.into()), ("position", told.event.position.into())]);
    }
    row
}

fn changes(event: &OrderEvent, row: &Row) -> Vec<(&'static str, Value)> {
    let wish = |reason: Value, state: &str| ("cancellation", json!({"reason": reason, "state": state}));
    match event {
        OrderEvent::OrderPlaced(_) => vec![("status", "placed".into())],
        OrderEvent::OrderConfirmed(_) => vec![("status", "confirmed".into())],
        OrderEvent::OrderRejected(event) => {
            vec![("status", "rejected".into()), ("rejection", value(&event.reason))]
        }
        OrderEvent::OrderCancellationRequested(event) => {
            vec![("status", "cancelling".into()), wish(event.reason.clone().into(), "requested")]
        }
        OrderEvent::OrderCancellationRefused(_) => {
            let refused = row.get("cancellation").filter(|wish| !wish.is_null());
            let refused = refused.map(|asked| wish(asked["reason"].clone(), "refused"));
            [("status", "confirmed".into())].into_iter().chain(refused).collect()
        }
        OrderEvent::OrderCancelled(event) => {
            vec![("status", "cancelled".into()), wish(event.reason.clone().into(), "done")]
        }
        OrderEvent::OrderShipped(event) => {
            let shipment = json!({"carrier": event.carrier, "tracking": event.tracking});
            vec![("status", "shipped".into()), ("shipment", shipment)]
        }
        OrderEvent::OrderDelivered(_) => vec![("status", "delivered".into())],
    }
}
