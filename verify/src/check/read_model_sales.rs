//! `read-model-sales`: the table `sales`, one row for each order that was ever confirmed.

use events::Context;
use verify_log::{Property, Table};

use crate::check::{Fold, OrderTable};
use crate::fold;

pub static PROPERTY: Property = Property::new("read-model-sales", "likewise the table `sales`");

pub static TABLE: OrderTable = OrderTable {
    table: Table {
        property: &PROPERTY,
        name: "sales",
        consumer: "query-side.sales",
        sorted_by: &["order_id"],
    },
    contexts: &[Context::Orders],
    fold: Fold::Order(fold::sales::fold),
};
