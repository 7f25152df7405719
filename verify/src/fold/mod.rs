//! What each read model must show, folded from the log by this crate's own rules.
//!
//! One file for each table; all have the same form: from the events that its consumer has applied to the row, or to none.
//! Never: a rule taken from the projection that is checked. Read next: `fold/orders.rs`, `compare.rs`.

pub mod order_events;
pub mod orders;
pub mod payments;
pub mod processes;
pub mod sales;
pub mod stock;

use serde_json::{Map, Value};

use crate::report::Property;

/// A row: its columns by name.
pub type Row = Map<String, Value>;

/// A table of the read model.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub property: Property,
    pub name: &'static str,
    pub consumer: &'static str,
    /// The column that its rows are read in the order of.
    pub key: &'static str,
}

/// Sets columns of a row.
pub(crate) fn set<const N: usize>(row: &mut Row, columns: [(&str, Value); N]) {
    for (name, value) in columns {
        row.insert(name.to_owned(), value);
    }
}

/// As serde writes it: the events' own value types.
pub(crate) fn json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
