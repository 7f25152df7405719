//! The processes that run here, and what a context does about an event in all of them.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use domain::AnyCommand;
use events::processes::ProcessTable;
use events::{Context, Envelope, ValueError};

use crate::order_fulfilment;
use crate::process_check::{TableError, check};

/// Every process. A new one is a folder, a table and a line here.
pub static PROCESSES: &[Process] = &[order_fulfilment::PROCESS];

/// A process: its table, and the reactions of each context that takes part.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pub table: &'static ProcessTable,
    pub reactions: &'static [(Context, React)],
}

/// The commands of a context on its own aggregates that follow from an event. Pure: a test holds it to the table, event by event.
///
/// # Errors
/// [`ValueError`] when the event carries what no aggregate of ours would have written: it is parked.
pub type React = fn(&Envelope, &ReactionContext) -> Result<Vec<AnyCommand>, ValueError>;

/// What a reaction may know besides the event.
#[derive(Debug, Clone, Copy)]
pub struct ReactionContext {
    /// By the database's clock, in a context that sets deadlines; elsewhere the epoch of Unix.
    pub now: DateTime<Utc>,
    /// How long a payment may stay without an outcome.
    pub payment_deadline: TimeDelta,
}

/// What `context` does about `trigger`.
///
/// # Errors
/// As [`React`].
pub fn react(
    context: Context,
    trigger: &Envelope,
    known: &ReactionContext,
) -> Result<Vec<AnyCommand>, ValueError> {
    let mut commands = Vec::new();
    for process in PROCESSES {
        for (_, react) in process.reactions.iter().filter(|(acting, _)| *acting == context) {
            commands.extend(react(trigger, known)?);
        }
    }
    Ok(commands)
}

/// The contexts whose events `context` reacts to; none where it takes no part in any process.
pub fn sources_of(context: Context) -> BTreeSet<Context> {
    PROCESSES.iter().flat_map(|process| process.table.sources_of(context)).collect()
}

/// Whether a reaction of the context sets a deadline.
pub(crate) fn sets_deadlines(context: Context) -> bool {
    let mut reactions = PROCESSES.iter().flat_map(|process| process.table.reactions);
    reactions.any(|reaction| reaction.context == context && reaction.sets_deadline.is_some())
}

/// Checks every table before the first event is read.
///
/// # Errors
/// The first rule that a table breaks.
pub(crate) fn check_all() -> Result<(), TableError> {
    PROCESSES.iter().try_for_each(|process| {
        check(process.table)?;
        let has_code = |context: Context| process.reactions.iter().any(|(acting, _)| *acting == context);
        let process = process.table.name;
        match Context::ALL.into_iter().find(|context| !sources_of(*context).is_empty() && !has_code(*context))
        {
            Some(context) => Err(TableError::NoReactFunction { process, context }),
            None => Ok(()),
        }
    })
}
