//! The form that every aggregate has. Read next: [`crate::order`].

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
}

/// Events that a decision over several streams adds to one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub stream: StreamId,
    pub events: Vec<Event>,
}
