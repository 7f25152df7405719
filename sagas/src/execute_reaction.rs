//! The reactions of one context in all processes, as the platform's reactor carries them out.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use domain::AnyCommand;
use event_store::{EventStore, UnitOfWork};
use events::{Context, Envelope, Event, Metadata};
use reactors::{CommitError, Reactions, Reactor};

use crate::payments::execute_payment;
use crate::processes::{ReactionContext, react, sets_deadlines};

/// The reactor of `context`, whose log `store` is.
pub(crate) fn reactor_of(
    context: Context,
    store: EventStore,
    payment_deadline: TimeDelta,
) -> Reactor<ContextReactions> {
    let reactions = ContextReactions { context, payment_deadline };
    Reactor::new(store, consumer_of(context), format!("saga:{context}"), reactions)
}

/// Names the checkpoints of the context's reactor.
pub(crate) fn consumer_of(context: Context) -> String {
    format!("sagas.{context}")
}

pub(crate) struct ContextReactions {
    context: Context,
    payment_deadline: TimeDelta,
}

#[async_trait]
impl Reactions for ContextReactions {
    type Event = Event;
    type Command = AnyCommand;

    fn react(&self, trigger: &Envelope, now: DateTime<Utc>) -> Result<Vec<AnyCommand>, String> {
        let known = ReactionContext { now, payment_deadline: self.payment_deadline };
        react(self.context, trigger, &known).map_err(|unfit| unfit.to_string())
    }

    fn needs_time(&self) -> bool {
        sets_deadlines(self.context)
    }

    async fn execute(
        &self,
        work: &mut UnitOfWork,
        command: &AnyCommand,
        metadata: &Metadata,
    ) -> Result<usize, CommitError> {
        match command {
            AnyCommand::Payment(command) => execute_payment(work, command, metadata).await,
            command => reactors::execute(work, command, metadata).await,
        }
    }
}
