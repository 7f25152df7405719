//! The form that every aggregate has. Read next: [`crate::orders`].

use events::{Event, StreamId};

/// State folded from one stream, and the rules on it.
///
/// `Default` is the state of an empty stream.
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    type Command;
    type Event: Clone + Into<Event>;
    type Refusal: std::error::Error;

    /// What the events of `command` are, given this state. An empty list: the command is already fulfilled.
    ///
    /// # Errors
    /// The refusal: nothing happens, and the caller is told why.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// The state after `event`. Accepts history: no rule, no wildcard arm.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// This aggregate's event, or none when the event is another aggregate's.
    fn event_of(event: Event) -> Option<Self::Event>;

    /// How this aggregate is kept between its events; none where streams stay short.
    const SNAPSHOT: Option<SnapshotForm<Self>> = None;
}

/// How the state of an aggregate is written down and read back, so that a long stream need not be folded from its
/// beginning. A snapshot is a shortcut and never a truth: it may be thrown away at any time.
#[derive(Debug)]
pub struct SnapshotForm<A> {
    /// Of the sources that the state was folded by: a snapshot that other sources made is not read.
    pub shape: i64,
    pub write: fn(&A) -> String,
    /// None when the text is not such a state.
    pub read: fn(&str) -> Option<A>,
}

/// A hash of what decides which state a history gives: the aggregate's own source, and the events'. A changed comment
/// changes it too; that costs one reading of each long stream, and nobody has to remember anything.
///
/// Source: FNV-1a, 64 bits (Fowler, Noll, Vo).
#[must_use]
pub const fn shape_of(aggregate: &str, events: &[&str]) -> i64 {
    let mut hash = fold_in(0xcbf2_9ce4_8422_2325, aggregate.as_bytes());
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
    fn another_source_has_another_shape() {
        let shape = shape_of("fn evolve() { a }", &["enum Event { A }"]);
        assert_eq!(shape, shape_of("fn evolve() { a }", &["enum Event { A }"]));
        assert_ne!(shape, shape_of("fn evolve() { b }", &["enum Event { A }"]));
        assert_ne!(shape, shape_of("fn evolve() { a }", &["enum Event { A, B }"]));
    }
}

/// Events that a decision over several streams adds to one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub stream: StreamId,
    pub events: Vec<Event>,
}
