//! The form of a projection: a pure fold from events to the rows of one table.

use std::fmt::Debug;

use event_log::{ContextName, Envelope, EventSet, Version};
use fault::mutant;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A read model: which events it takes, which row each of them touches, and how the event changes the row.
///
/// The functions are pure: what cannot be computed from the row and the event cannot be in the row. So a rebuild gives the same
/// table.
pub trait Projection: Send + Sync + 'static {
    /// The name that `tradewind replay` takes; the projection's parked events are filed under `<consumer>.<name>`.
    const NAME: &'static str;
    /// The table, without a schema: the same code writes the live table and its shadow.
    const TABLE: &'static str;
    /// The text column that is the table's primary key.
    const KEY_COLUMN: &'static str;
    /// The contexts whose topics the projection reads.
    const CONTEXTS: &'static [ContextName];
    const SOURCE: RowSource<Self::Row>;
    /// A condition in SQL on the table's columns, when requests may wait for a row to change: it holds for a row that ends a
    /// wait. Each change that this process applies wakes the requests that wait for the row; the condition finds the rows that
    /// other processes changed, and may hold for too many rows. None: no request waits for a row.
    const WAIT_ENDS_WHEN: Option<&'static str> = None;

    /// All events of the process, as [`contexts!`](event_log::contexts) declares them.
    type Events: EventSet;
    /// The events that the projection takes: [`Self::Events`], or the events of one aggregate. It is never given another one.
    type Event: PartOf<Self::Events>;
    /// One row: its fields are the table's columns, in any order, and none is left out of its JSON.
    type Row: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync;

    /// The key of the row that the event touches; none when it touches no row.
    fn key(event: &Self::Event, envelope: &Envelope<Self::Events>) -> Option<String>;

    /// The row after the event. None when there is no row yet and the event does not begin one.
    ///
    /// Events of one stream come in order. Those of several streams that feed one row come in any order, so each stream writes
    /// fields of its own, and what is computed from several is computed again each time.
    fn apply(
        row: Option<Self::Row>,
        event: &Self::Event,
        envelope: &Envelope<Self::Events>,
    ) -> Option<Self::Row>;
}

/// Which events feed one row. It decides how rows are locked, and how an event that was applied before is recognised.
#[derive(Debug, Clone, Copy)]
pub enum RowSource<R> {
    /// A row is one event. It is written once.
    OneEvent,
    /// A row is fed by one stream, and knows the version of the last event that it has applied. An event with that version or an
    /// earlier one is skipped. The process that holds the checkpoint of the stream's partition is the row's only writer.
    OneStream(fn(&R) -> Version),
    /// A row is fed by several streams, whose partitions may belong to different processes: rows are locked while they are
    /// folded. The table has a default for every column but the key. [`Projection::apply`] itself must skip an event that the
    /// row has applied.
    SeveralStreams,
}

/// Some of the events `S`: all of them, or those of one aggregate.
pub trait PartOf<S>: Sized + 'static {
    /// The event as one of this part; none when it belongs to another.
    fn of(event: &S) -> Option<&Self>;
}

impl<S, T: 'static> PartOf<S> for T
where
    for<'a> &'a T: TryFrom<&'a S>,
{
    fn of(event: &S) -> Option<&T> {
        event.try_into().ok()
    }
}

/// The key of the row that the event touches; none when the projection does not take the event.
pub fn key_of<P: Projection>(envelope: &Envelope<P::Events>) -> Option<String> {
    P::key(P::Event::of(&envelope.event)?, envelope)
}

/// The row after the event. It does not change when the projection does not take the event, or the row has applied it before.
pub fn fold<P: Projection>(row: Option<P::Row>, envelope: &Envelope<P::Events>) -> Option<P::Row> {
    let Some(event) = P::Event::of(&envelope.event) else { return row };
    let is_applied = match (P::SOURCE, &row) {
        (RowSource::OneStream(version), Some(row)) => version(row) >= envelope.version,
        (RowSource::OneStream(_) | RowSource::OneEvent | RowSource::SeveralStreams, _) => false,
    };
    if is_applied && !mutant!("projector::version_not_checked") {
        return row;
    }
    P::apply(row, event, envelope)
}
