//! The table `sales`: one row for each order that was ever confirmed. Read next: `fold/stock.rs`.

use events::{Event, OrderEvent};

use super::Table;
use crate::report::Property;
use crate::row::Row;
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelSales,
    name: "sales",
    consumer: "query-side.sales",
    key: "order_id",
};

pub fn fold(applied: &[&Told]) -> Option<Row> {
    let mut row: Option<Row> = None;
    for told in applied {
        match (&told.fact, &mut row) {
            (Some(Event::Order(OrderEvent::OrderConfirmed(confirmed))), row) => {
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
            (Some(Event::Order(OrderEvent::OrderCancelled(_))), Some(row)) => {
                row.set([("counted", false.into())]);
            }
            _ => continue,
        }
        if let Some(row) = &mut row {
            row.set([("version", told.event.version.into()), ("position", told.event.position.into())]);
        }
    }
    row
}
