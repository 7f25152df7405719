//! The form of a row of the story.
//!
//! Never: a row; those are in [`super::STORY`]. Read next: [`super::check`].

pub use events::Context;

/// One row: on `trigger`, `context` decides on `command`; `gives` is all that may come of it, if anything does.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub name: &'static str,
    pub trigger: Trigger,
    pub context: Context,
    pub command: &'static str,
    pub gives: &'static [&'static str],
    pub takes: Takes,
    /// The names of the steps that give back what this one takes.
    pub undone_by: &'static [&'static str],
    pub wait: Wait,
}

/// What sets a step off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    Event(&'static str),
    /// A row of `deadlines` that came due.
    Deadline(&'static str),
}

/// What a step holds for the order: it must name what gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Stock,
    Money,
}

/// Who is waited for before the story goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nobody: the log and Kafka carry the outcome on.
    Internal,
    /// Somebody who may never answer: the deadline of this name is set with the event.
    Deadline(&'static str),
    /// The payment provider: asked by the gateway again and again, with back-off, until it has answered.
    Provider,
    /// A person, for as long as it takes.
    Person,
}

/// Why no step reacts to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is to come.
    End,
    /// A person has the next word.
    Person(&'static str),
    /// It stands in one append with this event, which carries the story on.
    Together(&'static str),
    /// The stock's own book: no order is concerned.
    Book,
}

/// A step that takes nothing and waits for nobody.
pub const fn step(
    name: &'static str,
    trigger: Trigger,
    context: Context,
    command: &'static str,
    gives: &'static [&'static str],
) -> Step {
    Step {
        name,
        trigger,
        context,
        command,
        gives,
        takes: Takes::Nothing,
        undone_by: &[],
        wait: Wait::Internal,
    }
}

impl Step {
    pub const fn takes(self, takes: Takes, undone_by: &'static [&'static str]) -> Self {
        Self { takes, undone_by, ..self }
    }

    pub const fn waits(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }
}
