//! The form that every projection has: a pure fold from events to the rows of one table.
//!
//! Never: a clock, a query, a call. What cannot be computed from the row and the event cannot be in the row; that is why
//! a rebuild gives the same table. Read next: [`crate::projections::orders`].

use std::fmt::Debug;

use events::{Context, Envelope};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A read model: which events it hears, which row each one touches, and what becomes of the row.
pub trait Projection: Send + Sync + 'static {
    /// The name that `tradewind replay` takes; its parked events are filed under `query-side.<name>`.
    const NAME: &'static str;
    /// The table, without a schema: the same code writes the live table and its shadow.
    const TABLE: &'static str;
    /// The text column that is the table's primary key.
    const KEY: &'static str;
    const CONTEXTS: &'static [Context];
    const FED_BY: FedBy;
    /// One row: its fields are the table's columns, in any order, and none is left out of its JSON.
    type Row: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync;

    /// The row that the event touches; none when the event is nothing to this projection.
    fn key(event: &Envelope) -> Option<String>;

    /// The row after the event. None when there is no row yet and the event does not begin one.
    ///
    /// Events of one stream come in order. Those of several streams that feed one row come in any order, so each
    /// context writes columns of its own, and what is computed from several is computed anew each time.
    /// An event that the row knows already (by its stream's version) changes nothing.
    fn apply(row: Option<Self::Row>, event: &Envelope) -> Option<Self::Row>;
}

/// Who may write a row at the same time as we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FedBy {
    /// A row is one event. It is written once.
    OneEvent,
    /// A row is fed by one stream: whoever holds the checkpoint of the stream's partition is its only writer.
    OneStream,
    /// A row is fed by streams of several contexts, whose partitions may be with different processes: rows are locked
    /// while they are folded. The table has a default for every column but the key.
    SeveralStreams,
}
