//! `read-model-processes`: the table `processes`, one row for each order: what each context did, and the status that results.

use verify_log::{Property, Table};

use crate::check::{Fold, OrderTable};
use crate::fold;
use crate::read::orders::ORDER_CONTEXTS;

pub static PROPERTY: Property = Property::new(
    "read-model-processes",
    "likewise the table `processes`: what each context did for an order, and the status of its process",
);

pub static TABLE: OrderTable = OrderTable {
    table: Table {
        property: &PROPERTY,
        name: "processes",
        consumer: "query-side.processes",
        sorted_by: &["order_id"],
    },
    contexts: &ORDER_CONTEXTS,
    fold: Fold::Order(fold::processes::fold),
};
