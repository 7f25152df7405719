//! What each read model must show, folded from the logs a second time, by this crate's own rules.
//!
//! One file for each table; all have the same form: from the events that the table's consumer has applied to a row, or to none.
//! A context without a file here has no second fold; the report says so.
//! Never: a rule taken from the projection that is checked. Read next: `orders.rs`, `order_process.rs`.

pub mod order_events;
pub mod order_process;
pub mod orders;
pub mod payments;
pub mod processes;
pub mod sales;
pub mod stock;
