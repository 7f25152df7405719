//! Aggregates: state folded from a stream, and decisions on it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;

use crate::{EventFamily, StreamId};

/// State folded from one stream. `Default` is the state of an empty stream.
pub trait State: Default + Clone + Send + Sync + 'static {
    type Event: EventFamily;

    /// The first part of the stream's name: `order` in `order-<uuid>`.
    const CATEGORY: &'static str;

    /// How a snapshot of the state is stored; none if streams stay short.
    const SNAPSHOT: Option<SnapshotForm<Self>> = None;

    /// The state after `event`. It accepts every event of the log: no rule, no wildcard arm.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;
}

/// Decisions that read and write only the aggregate's own stream.
pub trait Aggregate: State {
    type Command;
    type Refusal: Error;

    /// The stream that the command is decided on.
    fn stream(command: &Self::Command) -> StreamId;

    /// The events of `command`, given this state. An empty list means that the command was fulfilled already.
    ///
    /// The refusal: nothing is written, and the caller gets the reason.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;
}

/// A decision that may read other streams than its own, which it declares, and may write to them in the same append.
///
/// Every [`Aggregate`] implements this trait too.
pub trait Decide: State {
    type Command;
    type Refusal: Error;
    /// The state of the other streams; `()` if there are none.
    type Other: State;

    /// The stream that the command is decided on.
    fn own_stream(command: &Self::Command) -> StreamId;

    /// The other streams that the decision reads.
    fn reads(&self, command: &Self::Command) -> Vec<StreamId>;

    /// The events of `command`. `others` holds the state of every stream that [`Self::reads`] names; a stream that is
    /// missing from it is empty.
    ///
    /// # Errors
    /// The refusal: nothing is written.
    fn decide_with(
        &self,
        command: &Self::Command,
        others: &Others<'_, Self::Other>,
    ) -> Result<DecisionOf<Self>, Self::Refusal>;
}

/// The decision of a [`Decide`].
pub type DecisionOf<D> = Decision<<D as State>::Event, <<D as Decide>::Other as State>::Event>;

/// The events of a decision: all of them are appended, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<E, O> {
    /// Events for the stream that the command is decided on.
    pub own: Vec<E>,
    /// Events for other streams; the decision must have declared to read each of them.
    pub others: Vec<(StreamId, Vec<O>)>,
}

impl<E, O> Decision<E, O> {
    pub const NOTHING: Self = Self { own: Vec::new(), others: Vec::new() };

    /// Only events for the own stream.
    pub fn own(events: impl Into<Vec<E>>) -> Self {
        Self { own: events.into(), others: Vec::new() }
    }
}

/// The states of the other streams that a decision reads.
#[derive(Debug)]
pub struct Others<'a, S>(BTreeMap<StreamId, &'a S>);

impl<S> Default for Others<'_, S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'a, S> Others<'a, S> {
    /// None: the stream is empty.
    pub fn get(&self, stream: &StreamId) -> Option<&'a S> {
        self.0.get(stream).copied()
    }
}

impl<'a, S> FromIterator<(StreamId, &'a S)> for Others<'a, S> {
    fn from_iter<I: IntoIterator<Item = (StreamId, &'a S)>>(states: I) -> Self {
        Self(states.into_iter().collect())
    }
}

impl<A: Aggregate> Decide for A {
    type Command = A::Command;
    type Refusal = A::Refusal;
    type Other = ();

    fn own_stream(command: &A::Command) -> StreamId {
        A::stream(command)
    }

    fn reads(&self, _command: &A::Command) -> Vec<StreamId> {
        Vec::new()
    }

    fn decide_with(
        &self,
        command: &A::Command,
        _others: &Others<'_, ()>,
    ) -> Result<Decision<A::Event, Infallible>, A::Refusal> {
        self.decide(command).map(Decision::own)
    }
}

/// The state of a stream that does not exist.
impl State for () {
    type Event = Infallible;
    const CATEGORY: &'static str = "";

    fn evolve(self, event: &Infallible) {
        match *event {}
    }
}

/// How a state is serialised and read back, so that a long stream need not be folded from its beginning. A snapshot can
/// be deleted at any time.
#[derive(Debug)]
pub struct SnapshotForm<S> {
    /// A hash of the sources that folded the state: a snapshot that other sources folded is not used.
    pub shape: i64,
    pub write: fn(&S) -> String,
    /// None if the text is not such a state.
    pub read: fn(&str) -> Option<S>,
}

/// A hash of the sources that decide which state a history produces: the state's own and its events'. A changed comment
/// changes the hash too. That costs one full read of each long stream, and no developer has to maintain a version
/// number.
///
/// Source: FNV-1a, 64 bits (Fowler, Noll, Vo).
#[must_use]
pub const fn shape_of(state: &str, events: &[&str]) -> i64 {
    let mut hash = fold_in(0xcbf2_9ce4_8422_2325, state.as_bytes());
    let mut index = 0;
    while index < events.len() {
        hash = fold_in(hash, events[index].as_bytes());
        index += 1;
    }
    i64::from_ne_bytes(hash.to_ne_bytes())
}

const fn fold_in(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::shape_of;

    #[test]
    fn the_shape_changes_with_the_states_source_and_with_the_events() {
        let shape = shape_of("fn evolve() { a }", &["enum Event { A }"]);
        assert_eq!(shape, shape_of("fn evolve() { a }", &["enum Event { A }"]));
        assert_ne!(shape, shape_of("fn evolve() { b }", &["enum Event { A }"]));
        assert_ne!(shape, shape_of("fn evolve() { a }", &["enum Event { A, B }"]));
    }
}
