//! `read-model-processes`: the table `processes`, one row for each order: what each context did, and the status that results.

use crate::check::shop::{Fold, OrderTable};
use crate::fold;
use crate::read::shop::orders::ORDER_CONTEXTS;
use crate::read::table::Table;
use crate::report::Property;

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
        contexts: &ORDER_CONTEXTS,
    },
    fold: Fold::Order(fold::processes::fold),
};
