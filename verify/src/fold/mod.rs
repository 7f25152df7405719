//! What each read model must show, folded from the log by this crate's own rules.
//!
//! One file for each table; all have the same form: from the events that its consumer has applied to the row, or to none.
//! Never: a rule taken from the projection that is checked. Read next: `fold/orders.rs`, `row.rs`.

pub mod order_events;
pub mod orders;
pub mod payments;
pub mod processes;
pub mod sales;
pub mod stock;

use crate::report::Property;

/// A table of the read model.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub property: Property,
    pub name: &'static str,
    /// What it has put aside is filed under this.
    pub consumer: &'static str,
    /// The column that its rows are read in the order of.
    pub key: &'static str,
}
