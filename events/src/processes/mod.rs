//! The processes of the shop as tables: which event makes which context decide, what may come of it, and which steps
//! a process has.
//!
//! `sagas` checks its reactions against these tables, and `query-side` computes from them how far a process has come. `verify`
//! has a separate table on purpose: it must not share what it checks. Never: a decision, or a reaction; those are code in
//! `domain` and in `sagas`. Read next: [`order_fulfilment`].

pub mod order_fulfilment;

use std::collections::BTreeSet;

use crate::{Context, Event};

/// One process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessTable {
    pub name: &'static str,
    /// The steps in the order in which they are taken, then those that undo them.
    pub steps: &'static [Step],
    /// Which event makes which context decide.
    pub reactions: &'static [Reaction],
    /// The events that no context reacts to, and why not.
    pub final_events: &'static [(&'static str, WhyFinal)],
    /// The events that a person causes, through the API: where the process is entered.
    pub entry_events: &'static [&'static str],
}

/// One step of a process, as it is shown: done, waited for, or still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What the API calls it.
    pub name: &'static str,
    /// The context whose events it consists of.
    pub context: Context,
    pub taken_by: TakenBy,
    pub order: StepOrder,
    /// Each of these events ends the step. An event may end several steps; it belongs to the first of them.
    pub ended_by: &'static [&'static str],
    /// Events of the step that do not end it.
    pub progress: &'static [&'static str],
    /// What the step holds until the process ends or gives it back.
    pub holds: Holds,
    /// The names of the steps that give back what this one holds.
    pub undone_by: &'static [&'static str],
    /// The deadline after which the step is given up.
    pub deadline: Option<&'static str>,
}

/// Who takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBy {
    /// A reaction, or the payment provider: a step that takes long means that something is wrong.
    System,
    /// A customer's request; the process never waits for one.
    Customer,
    /// The warehouse or the carrier: the process waits for as long as they need.
    Staff,
}

/// When a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOrder {
    /// After the step before it: a later event proves that it was taken.
    InSequence,
    /// After the steps in sequence, beside the other parallel ones.
    Parallel,
    /// Only when the process is cancelled, or fails.
    IfNeeded,
}

/// What a step holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Nothing,
    Stock,
    Money,
}

/// On `trigger`, `context` decides on `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    pub trigger: Trigger,
    pub context: Context,
    /// The name of the command.
    pub command: &'static str,
    /// Every event that may come of it. An empty decision is always possible: the command is fulfilled already.
    pub gives: &'static [&'static str],
    /// The deadline that is set together with the events.
    pub sets_deadline: Option<&'static str>,
    /// Whether the command carries what the world outside answered. Then the context's gateway reacts in place of its reactor: it
    /// makes the call, and repeats it until there is an answer.
    pub outside_call: bool,
}

/// What starts a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    Event(&'static str),
    /// A deadline of this name has passed.
    Deadline(&'static str),
}

/// Why no context reacts to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyFinal {
    /// Nothing follows.
    End,
    /// A person takes the next step; the text says which.
    WaitsForPerson(&'static str),
    /// It is appended together with this event, which the process follows from.
    AppendedWith(&'static str),
    /// It belongs to no instance of this process.
    Unrelated,
}

impl ProcessTable {
    /// The contexts that take part: those that a step or a reaction belongs to.
    pub fn contexts(&self) -> BTreeSet<Context> {
        let of_steps = self.steps.iter().map(|step| step.context);
        of_steps.chain(self.reactions.iter().map(|reaction| reaction.context)).collect()
    }

    /// The contexts whose topics the reactor of `context` reads; none where it never reacts.
    pub fn sources_of(&self, context: Context) -> BTreeSet<Context> {
        self.reactions
            .iter()
            .filter(|reaction| reaction.context == context && !reaction.outside_call)
            .filter_map(|reaction| match reaction.trigger {
                Trigger::Event(event) => owner_of(event),
                Trigger::Deadline(_) => None,
            })
            .collect()
    }

    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&'static Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The step that an event belongs to; none for an event that is no part of the process.
    pub fn step_of(&self, event: &str) -> Option<&'static Step> {
        self.steps.iter().find(|step| step.ended_by.contains(&event) || step.progress.contains(&event))
    }
}

/// The context that writes the event; none when there is no such event.
pub fn owner_of(event: &str) -> Option<Context> {
    Event::catalogue().into_iter().find(|(_, name, _)| *name == event).map(|(context, ..)| context)
}

/// A step that the system takes and that holds nothing.
pub const fn step(
    name: &'static str,
    context: Context,
    order: StepOrder,
    ended_by: &'static [&'static str],
) -> Step {
    Step {
        name,
        context,
        taken_by: TakenBy::System,
        order,
        ended_by,
        progress: &[],
        holds: Holds::Nothing,
        undone_by: &[],
        deadline: None,
    }
}

impl Step {
    pub const fn taken_by(self, taken_by: TakenBy) -> Self {
        Self { taken_by, ..self }
    }

    pub const fn progress(self, progress: &'static [&'static str]) -> Self {
        Self { progress, ..self }
    }

    pub const fn holds(self, holds: Holds, undone_by: &'static [&'static str]) -> Self {
        Self { holds, undone_by, ..self }
    }

    pub const fn given_up_at(self, deadline: &'static str) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

/// A reaction of the context's reactor.
pub const fn on(
    trigger: Trigger,
    context: Context,
    command: &'static str,
    gives: &'static [&'static str],
) -> Reaction {
    Reaction { trigger, context, command, gives, sets_deadline: None, outside_call: false }
}

impl Reaction {
    pub const fn sets_deadline(self, deadline: &'static str) -> Self {
        Self { sets_deadline: Some(deadline), ..self }
    }

    pub const fn by_outside_call(self) -> Self {
        Self { outside_call: true, ..self }
    }
}
