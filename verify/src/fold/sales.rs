//! The table `sales`: one row for each order that was ever confirmed.

use events::{Context, Event, OrderEvent};
use verify_log::Row;

use crate::read::orders::Applied;

pub fn fold(_id: &str, applied: &Applied<'_>) -> Option<Row> {
    let mut row: Option<Row> = None;
    for logged in applied.of(Context::Orders) {
        match (&logged.fact, &mut row) {
            (Ok(Event::Order(OrderEvent::OrderConfirmed(confirmed))), row) => {
                let row = row.get_or_insert_default();
                let units: i64 = confirmed.items.iter().map(|item| item.quantity.get()).sum();
                row.set([
                    ("order_id", confirmed.order_id.to_string().into()),
                    ("placed_on", confirmed.placed_at.date_naive().into()),
                    ("currency", confirmed.total.currency().as_str().into()),
                    ("units", units.into()),
                    ("revenue_minor", confirmed.total.amount_minor().into()),
                    ("counted", true.into()),
                ]);
            }
            (Ok(Event::Order(OrderEvent::OrderCancelled(_))), Some(row)) => {
                row.set([("counted", false.into())]);
            }
            _ => continue,
        }
        if let Some(row) = &mut row {
            row.set([("version", logged.event.version.into()), ("position", logged.event.position.into())]);
        }
    }
    row
}
