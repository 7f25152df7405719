//! `read-model-order-events`: the table `order_events`, one row for each event of an order's streams.

use crate::check::shop::{Fold, OrderTable};
use crate::fold;
use crate::read::shop::orders::ORDER_CONTEXTS;
use crate::read::table::Table;
use crate::report::Property;

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
        contexts: &ORDER_CONTEXTS,
    },
    fold: Fold::Event(fold::order_events::fold),
};
