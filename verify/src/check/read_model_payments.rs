//! `read-model-payments`: the table `payments`, one row for each payment.

use events::Context;
use verify_log::{Property, Table};

use crate::check::{Fold, OrderTable};
use crate::fold;

pub static PROPERTY: Property = Property::new("read-model-payments", "likewise the table `payments`");

pub static TABLE: OrderTable = OrderTable {
    table: Table {
        property: &PROPERTY,
        name: "payments",
        consumer: "query-side.payments",
        sorted_by: &["payment_id"],
    },
    contexts: &[Context::Payments],
    fold: Fold::Order(fold::payments::fold),
};
