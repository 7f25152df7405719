//! `read-model-stock`: the table `stock`, one row for each SKU. `stock.rs` checks it on its way through the SKUs.

use events::Context;
use verify_log::{Property, Table};

pub static PROPERTY: Property =
    Property::new("read-model-stock", "likewise the table `stock`: the numbers of each SKU");

pub static TABLE: Table =
    Table { property: &PROPERTY, name: "stock", consumer: "query-side.stock", sorted_by: &["sku"] };

/// The contexts whose logs the second fold reads.
pub static CONTEXTS: [Context; 1] = [Context::Inventory];
