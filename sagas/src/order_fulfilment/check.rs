//! Holds a story to its own rules, before the first event is read.
//!
//! Never: a rule about one particular step. Read next: `sagas/tests/story/table.rs` (each rule seen to fail).

use std::collections::{BTreeMap, BTreeSet};

use events::{Context, Event};

use super::step::{Rest, Step, Takes, Trigger, Wait};

/// What is wrong with the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoryError {
    #[error("{event} is neither the trigger of a step nor listed as a rest: the story would lose it")]
    Unheard { event: &'static str },
    #[error("{event} is the trigger of a step and listed as a rest as well")]
    HeardAndResting { event: &'static str },
    #[error("{place} names {event}, which no context can write")]
    UnknownEvent { place: &'static str, event: &'static str },
    #[error("two steps are called {step}")]
    SameName { step: &'static str },
    #[error("{step} is set off by {event}, which no step gives and no door lets in")]
    Unreachable { step: &'static str, event: &'static str },
    #[error("{step} is a step of {context}, which cannot write {event}")]
    ForeignEvent { step: &'static str, context: Context, event: &'static str },
    #[error("{step} takes stock or money and names no step that gives it back")]
    NotUndone { step: &'static str },
    #[error("{step} is undone by {compensation}, which is not a step of the same context")]
    NoSuchCompensation { step: &'static str, compensation: &'static str },
    #[error("{step} waits for the deadline {deadline}, on which no step acts")]
    DeafDeadline { step: &'static str, deadline: &'static str },
    #[error("{step} acts on the deadline {deadline}, which no step sets")]
    DeadlineNeverSet { step: &'static str, deadline: &'static str },
    #[error("{event} is said to come together with {carrier}, but no step gives both")]
    NotTogether { event: &'static str, carrier: &'static str },
    #[error("from {event} no end can be reached: the story would go round for ever")]
    NoExit { event: &'static str },
}

/// The topics that the reactor of `context` reads.
pub fn topics_of(context: Context, story: &[Step]) -> Vec<Context> {
    let owners = owners();
    let topics: BTreeSet<Context> = story
        .iter()
        .filter(|step| step.context == context && step.wait != Wait::Provider)
        .filter_map(|step| match step.trigger {
            Trigger::Event(event) => owners.get(event).copied(),
            Trigger::Deadline(_) => None,
        })
        .collect();
    topics.into_iter().collect()
}

/// # Errors
/// The first rule that is broken, with the step or the event that breaks it.
pub fn check(
    story: &[Step],
    rests: &[(&'static str, Rest)],
    doors: &[&'static str],
) -> Result<(), StoryError> {
    let table = Table { story, rests, doors, owners: owners() };
    table.names_are_known()?;
    table.every_event_is_heard()?;
    table.every_trigger_can_come()?;
    table.what_is_taken_can_be_given_back()?;
    table.every_deadline_is_set_and_heard()?;
    table.every_event_leads_to_an_end()
}

fn owners() -> BTreeMap<&'static str, Context> {
    Event::catalogue().into_iter().map(|(context, event, _)| (event, context)).collect()
}

struct Table<'a> {
    story: &'a [Step],
    rests: &'a [(&'static str, Rest)],
    doors: &'a [&'static str],
    owners: BTreeMap<&'static str, Context>,
}

impl Table<'_> {
    fn known(&self, place: &'static str, event: &'static str) -> Result<(), StoryError> {
        self.owners.get(event).map(|_| ()).ok_or(StoryError::UnknownEvent { place, event })
    }

    fn rest(&self, event: &str) -> Option<Rest> {
        self.rests.iter().find(|(name, _)| *name == event).map(|(_, rest)| *rest)
    }

    fn set_off_by(&self, event: &str) -> impl Iterator<Item = &Step> {
        self.story.iter().filter(move |step| matches!(step.trigger, Trigger::Event(name) if name == event))
    }

    fn names_are_known(&self) -> Result<(), StoryError> {
        let mut names = BTreeSet::new();
        for step in self.story {
            if !names.insert(step.name) {
                return Err(StoryError::SameName { step: step.name });
            }
            if let Trigger::Event(event) = step.trigger {
                self.known(step.name, event)?;
            }
            for &event in step.gives {
                self.known(step.name, event)?;
                if self.owners[event] != step.context {
                    return Err(StoryError::ForeignEvent { step: step.name, context: step.context, event });
                }
            }
        }
        self.doors.iter().try_for_each(|door| self.known("a door", door))?;
        self.rests.iter().try_for_each(|(event, _)| self.known("a rest", event))
    }

    fn every_event_is_heard(&self) -> Result<(), StoryError> {
        for &event in self.owners.keys() {
            match (self.set_off_by(event).next(), self.rest(event)) {
                (None, None) => return Err(StoryError::Unheard { event }),
                (Some(_), Some(_)) => return Err(StoryError::HeardAndResting { event }),
                (Some(_), None) | (None, Some(_)) => {}
            }
        }
        for &(event, rest) in self.rests {
            if let Rest::Together(carrier) = rest
                && !self.story.iter().any(|step| gives(step, event) && gives(step, carrier))
            {
                return Err(StoryError::NotTogether { event, carrier });
            }
        }
        Ok(())
    }

    fn every_trigger_can_come(&self) -> Result<(), StoryError> {
        for step in self.story {
            if let Trigger::Event(event) = step.trigger
                && !self.doors.contains(&event)
                && !self.story.iter().any(|earlier| gives(earlier, event))
            {
                return Err(StoryError::Unreachable { step: step.name, event });
            }
        }
        Ok(())
    }

    fn what_is_taken_can_be_given_back(&self) -> Result<(), StoryError> {
        for step in self.story {
            if step.takes != Takes::Nothing && step.undone_by.is_empty() {
                return Err(StoryError::NotUndone { step: step.name });
            }
            for &compensation in step.undone_by {
                let found = |other: &Step| other.name == compensation && other.context == step.context;
                if !self.story.iter().any(found) {
                    return Err(StoryError::NoSuchCompensation { step: step.name, compensation });
                }
            }
        }
        Ok(())
    }

    fn every_deadline_is_set_and_heard(&self) -> Result<(), StoryError> {
        for step in self.story {
            if let Wait::Deadline(deadline) = step.wait
                && !self.story.iter().any(|other| other.trigger == Trigger::Deadline(deadline))
            {
                return Err(StoryError::DeafDeadline { step: step.name, deadline });
            }
            if let Trigger::Deadline(deadline) = step.trigger
                && !self.story.iter().any(|other| other.wait == Wait::Deadline(deadline))
            {
                return Err(StoryError::DeadlineNeverSet { step: step.name, deadline });
            }
        }
        Ok(())
    }

    /// Grows the set of events from which an end can be reached until it grows no more. A deadline is no way out:
    /// what it sets off must lead to an end by itself.
    fn every_event_leads_to_an_end(&self) -> Result<(), StoryError> {
        let mut ending: BTreeSet<&str> = self.rests.iter().map(|(event, _)| *event).collect();
        loop {
            let leads_on = |event: &&'static str| {
                self.set_off_by(event).any(|step| step.gives.iter().any(|next| ending.contains(next)))
            };
            let more: Vec<&'static str> = self
                .owners
                .keys()
                .copied()
                .filter(|event| !ending.contains(event))
                .filter(leads_on)
                .collect();
            if more.is_empty() {
                break;
            }
            ending.extend(more);
        }
        match self.owners.keys().find(|event| !ending.contains(*event)) {
            Some(&event) => Err(StoryError::NoExit { event }),
            None => Ok(()),
        }
    }
}

fn gives(step: &Step, event: &str) -> bool {
    step.gives.contains(&event)
}
