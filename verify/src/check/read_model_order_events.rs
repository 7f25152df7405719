//! `read-model-order-events`: the table `order_events`, one row for each event of an order's streams.

use verify_log::{Property, Table};

use crate::check::{Fold, OrderTable};
use crate::fold;
use crate::read::orders::ORDER_CONTEXTS;

pub static PROPERTY: Property = Property::new(
    "read-model-order-events",
    "likewise the table `order_events`: one row for each event of an order",
);

pub static TABLE: OrderTable = OrderTable {
    table: Table {
        property: &PROPERTY,
        name: "order_events",
        consumer: "query-side.order-events",
        sorted_by: &["order_id", "context", "position"],
    },
    contexts: &ORDER_CONTEXTS,
    fold: Fold::Event(fold::order_events::fold),
};
