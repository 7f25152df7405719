//! `read-model-stock`: the table `stock`, one row for each SKU. `stock.rs` checks it on its way through the SKUs.

use events::Context;

use crate::read::table::Table;
use crate::report::Property;

pub static PROPERTY: Property =
    Property::new("read-model-stock", "likewise the table `stock`: the numbers of each SKU");

pub static TABLE: Table = Table {
    property: &PROPERTY,
    name: "stock",
    consumer: "query-side.stock",
    sorted_by: &["sku"],
    contexts: &[Context::Inventory],
};
