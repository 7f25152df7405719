//! `read-model-orders`: the table `orders`, one row for each order that was placed.

use events::Context;
use verify_log::{Property, Table};

use crate::check::{Fold, OrderTable};
use crate::fold;

pub static PROPERTY: Property = Property::new(
    "read-model-orders",
    "the table `orders`, row by row and column by column, equals a fold of the logs up to the read models' \
     checkpoints; here as in all read models, events of streams that the projection has parked \
     wait, and discarded events are left out",
);

pub static TABLE: OrderTable = OrderTable {
    table: Table {
        property: &PROPERTY,
        name: "orders",
        consumer: "query-side.orders",
        sorted_by: &["order_id"],
    },
    contexts: &[Context::Orders],
    fold: Fold::Order(fold::orders::fold),
};
