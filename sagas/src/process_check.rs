//! Holds a process table to its rules, before the first event is read.

use std::collections::{BTreeMap, BTreeSet};

use events::processes::{Holds, ProcessTable, Reaction, Step, StepOrder, TakenBy, Trigger, WhyFinal};
use events::{Context, Event};

/// The rule that a table breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error(
        "{event} of {context} neither triggers a reaction nor is a final event: the process would lose it"
    )]
    NotConsumed { context: Context, event: &'static str },
    #[error("{event} triggers a reaction and is listed as a final event as well")]
    ConsumedAndFinal { event: &'static str },
    #[error("{place} names {event}, which no context writes")]
    UnknownEvent { place: &'static str, event: &'static str },
    #[error("the final event {event} belongs to {context}, which takes no part in the process")]
    ForeignFinalEvent { context: Context, event: &'static str },
    #[error("two steps are called {step}")]
    SameName { step: &'static str },
    #[error("{context} reacts twice to {trigger:?}")]
    SameReaction { context: Context, trigger: Trigger },
    #[error("{context} reacts to {event}, which no reaction gives and no person causes")]
    Unreachable { context: Context, event: &'static str },
    #[error("{place} belongs to {context}, which does not write {event}")]
    ForeignEvent { place: &'static str, context: Context, event: &'static str },
    #[error("nothing takes the step {step}: no reaction of its context gives an event of it")]
    NeverTaken { step: &'static str },
    #[error("a person takes the step {step}, and none of its events is an entry event")]
    NoEntry { step: &'static str },
    #[error("{step} holds stock or money and names no step that gives it back")]
    NotUndone { step: &'static str },
    #[error(
        "{step} is undone by {compensation}, which is not a step of the same context that is taken if needed"
    )]
    NoSuchCompensation { step: &'static str, compensation: &'static str },
    #[error("{place} waits for the deadline {deadline}, on which no reaction acts")]
    UnheardDeadline { place: &'static str, deadline: &'static str },
    #[error("a reaction acts on the deadline {deadline}, which no reaction sets")]
    DeadlineNeverSet { deadline: &'static str },
    #[error("{event} is said to be appended with {carrier}, but no reaction gives both")]
    NotAppendedWith { event: &'static str, carrier: &'static str },
    #[error("from {event} no final event can be reached: the process would never end")]
    NoExit { event: &'static str },
    #[error("{context} reacts in {process}, which has no react function for it")]
    NoReactFunction { process: &'static str, context: Context },
}

/// Checks a table: every event of the contexts that take part triggers a reaction or is final, every hold has its
/// compensation, every deadline is set and acted on, and from every event a final one can be reached.
///
/// # Errors
/// The first rule that is broken, and by what.
pub fn check(table: &ProcessTable) -> Result<(), TableError> {
    let owners: BTreeMap<&'static str, Context> =
        Event::catalogue().into_iter().map(|(context, event, _)| (event, context)).collect();
    let check = Check { table, contexts: table.contexts(), owners };
    check.reactions_are_known()?;
    check.steps_are_known()?;
    check.every_event_is_consumed_or_final()?;
    check.every_trigger_can_come()?;
    check.every_step_is_taken()?;
    check.every_hold_can_be_given_back()?;
    check.every_deadline_is_set_and_acted_on()?;
    check.every_event_leads_to_an_end()
}

struct Check<'a> {
    table: &'a ProcessTable,
    /// Those that take part.
    contexts: BTreeSet<Context>,
    /// Of every event of the shop.
    owners: BTreeMap<&'static str, Context>,
}

impl Check<'_> {
    fn known(&self, place: &'static str, event: &'static str) -> Result<Context, TableError> {
        self.owners.get(event).copied().ok_or(TableError::UnknownEvent { place, event })
    }

    /// The event exists, and `context` writes it.
    fn own(&self, place: &'static str, context: Context, event: &'static str) -> Result<(), TableError> {
        if self.known(place, event)? == context {
            Ok(())
        } else {
            Err(TableError::ForeignEvent { place, context, event })
        }
    }

    /// The events of the contexts that take part.
    fn events(&self) -> impl Iterator<Item = (&'static str, Context)> {
        let part = |(_, context): &(&&str, &Context)| self.contexts.contains(*context);
        self.owners.iter().filter(part).map(|(event, context)| (*event, *context))
    }

    fn final_event(&self, event: &str) -> Option<WhyFinal> {
        self.table.final_events.iter().find(|(name, _)| *name == event).map(|(_, why)| *why)
    }

    fn triggered_by(&self, event: &str) -> impl Iterator<Item = &Reaction> {
        let triggers =
            move |reaction: &&Reaction| matches!(reaction.trigger, Trigger::Event(name) if name == event);
        self.table.reactions.iter().filter(triggers)
    }

    fn reactions_are_known(&self) -> Result<(), TableError> {
        let mut known = BTreeSet::new();
        for &Reaction { trigger, context, command, gives, .. } in self.table.reactions {
            if !known.insert((context, trigger)) {
                return Err(TableError::SameReaction { context, trigger });
            }
            if let Trigger::Event(event) = trigger {
                self.known(command, event)?;
            }
            gives.iter().try_for_each(|event| self.own(command, context, event))?;
        }
        for event in self.table.entry_events {
            self.known("an entry event", event)?;
        }
        for &(event, _) in self.table.final_events {
            let context = self.known("a final event", event)?;
            if !self.contexts.contains(&context) {
                return Err(TableError::ForeignFinalEvent { context, event });
            }
        }
        Ok(())
    }

    fn steps_are_known(&self) -> Result<(), TableError> {
        let mut names = BTreeSet::new();
        for step in self.table.steps {
            if !names.insert(step.name) {
                return Err(TableError::SameName { step: step.name });
            }
            let mut events = step.ended_by.iter().chain(step.progress);
            events.try_for_each(|event| self.own(step.name, step.context, event))?;
        }
        Ok(())
    }

    fn every_event_is_consumed_or_final(&self) -> Result<(), TableError> {
        for (event, context) in self.events() {
            match (self.triggered_by(event).next(), self.final_event(event)) {
                (None, None) => return Err(TableError::NotConsumed { context, event }),
                (Some(_), Some(_)) => return Err(TableError::ConsumedAndFinal { event }),
                (Some(_), None) | (None, Some(_)) => {}
            }
        }
        for &(event, why) in self.table.final_events {
            if let WhyFinal::AppendedWith(carrier) = why
                && !self
                    .table
                    .reactions
                    .iter()
                    .any(|reaction| gives(reaction, event) && gives(reaction, carrier))
            {
                return Err(TableError::NotAppendedWith { event, carrier });
            }
        }
        Ok(())
    }

    fn every_trigger_can_come(&self) -> Result<(), TableError> {
        for reaction in self.table.reactions {
            if let Trigger::Event(event) = reaction.trigger
                // An event of a context that takes no part comes from another process.
                && self.contexts.contains(&self.owners[event])
                && !self.can_come(event)
            {
                return Err(TableError::Unreachable { context: reaction.context, event });
            }
        }
        Ok(())
    }

    fn can_come(&self, event: &str) -> bool {
        self.table.entry_events.contains(&event)
            || self.table.reactions.iter().any(|reaction| gives(reaction, event))
    }

    fn every_step_is_taken(&self) -> Result<(), TableError> {
        for step in self.table.steps {
            let given = |event: &&str| self.table.reactions.iter().any(|reaction| gives(reaction, event));
            let mut own = step.ended_by.iter().filter(|event| self.belongs(step, event));
            match step.taken_by {
                TakenBy::System if !own.any(given) => {
                    return Err(TableError::NeverTaken { step: step.name });
                }
                TakenBy::Customer | TakenBy::Staff
                    if !own.any(|event| self.table.entry_events.contains(event)) =>
                {
                    return Err(TableError::NoEntry { step: step.name });
                }
                TakenBy::System | TakenBy::Customer | TakenBy::Staff => {}
            }
        }
        Ok(())
    }

    fn belongs(&self, step: &Step, event: &str) -> bool {
        self.table.step_of(event).is_some_and(|owner| owner.name == step.name)
    }

    fn every_hold_can_be_given_back(&self) -> Result<(), TableError> {
        for step in self.table.steps {
            if step.holds != Holds::Nothing && step.undone_by.is_empty() {
                return Err(TableError::NotUndone { step: step.name });
            }
            for &compensation in step.undone_by {
                let fits = |other: &Step| other.context == step.context && other.order == StepOrder::IfNeeded;
                if !self.table.step(compensation).is_some_and(fits) {
                    return Err(TableError::NoSuchCompensation { step: step.name, compensation });
                }
            }
        }
        Ok(())
    }

    fn every_deadline_is_set_and_acted_on(&self) -> Result<(), TableError> {
        let reactions = self.table.reactions;
        let is_set = |deadline| reactions.iter().any(|reaction| reaction.sets_deadline == Some(deadline));
        let is_heard =
            |deadline| reactions.iter().any(|reaction| reaction.trigger == Trigger::Deadline(deadline));
        let of_reactions = reactions.iter().map(|reaction| (reaction.command, reaction.sets_deadline));
        let of_steps = self.table.steps.iter().map(|step| (step.name, step.deadline));
        for (place, deadline) in of_reactions.chain(of_steps) {
            if let Some(deadline) = deadline.filter(|deadline| !is_heard(*deadline)) {
                return Err(TableError::UnheardDeadline { place, deadline });
            }
        }
        for reaction in reactions {
            if let Trigger::Deadline(deadline) = reaction.trigger
                && !is_set(deadline)
            {
                return Err(TableError::DeadlineNeverSet { deadline });
            }
        }
        Ok(())
    }

    /// Grows the set of events from which a final event can be reached until it grows no more. A deadline is no way out: what it
    /// triggers must lead to an end by itself.
    fn every_event_leads_to_an_end(&self) -> Result<(), TableError> {
        let mut ending: BTreeSet<&str> = self.table.final_events.iter().map(|(event, _)| *event).collect();
        loop {
            let leads_on = |event: &str| {
                self.triggered_by(event)
                    .any(|reaction| reaction.gives.iter().any(|next| ending.contains(next)))
            };
            let more: Vec<&'static str> = self
                .events()
                .map(|(event, _)| event)
                .filter(|event| !ending.contains(event) && leads_on(event))
                .collect();
            if more.is_empty() {
                break;
            }
            ending.extend(more);
        }
        match self.events().find(|(event, _)| !ending.contains(event)) {
            Some((event, _)) => Err(TableError::NoExit { event }),
            None => Ok(()),
        }
    }
}

fn gives(reaction: &Reaction, event: &str) -> bool {
    reaction.gives.contains(&event)
}
