//! Carries out commands of any aggregate in a unit of work: load, decide, note what was decided.
//!
//! What a batch of commands reads is fetched first, with one query for each kind of aggregate.

use std::any::TypeId;
use std::collections::BTreeMap;

use event_log::{CommandSet, CommandVisitor, Decide, Metadata, State, StreamId};
use event_store::{StoreError, UnitOfWork};
use futures::future::BoxFuture;

use crate::CommitError;

/// Decides on the command and notes the events; returns how many. 0: the command is fulfilled already.
///
/// # Errors
/// [`CommitError`]; nothing of the command is noted then.
pub async fn execute<C: CommandSet>(
    work: &mut UnitOfWork,
    command: &C,
    metadata: &Metadata,
) -> Result<usize, CommitError> {
    command.dispatch(Execute { work, metadata }).await
}

struct Execute<'c> {
    work: &'c mut UnitOfWork,
    metadata: &'c Metadata,
}

impl<'c> CommandVisitor<'c> for Execute<'c> {
    type Output = BoxFuture<'c, Result<usize, CommitError>>;

    fn visit<D: Decide<Command: Sync>>(self, command: &'c D::Command) -> Self::Output {
        Box::pin(async move {
            let decided = self.work.decide::<D>(&D::own_stream(command), command, self.metadata).await?;
            let events = decided.map(|decided| decided.events);
            events.map_err(|refusal| CommitError::Refused(refusal.to_string()))
        })
    }
}

/// Loads what the commands are decided on: their own streams, then what their decisions read besides.
pub(crate) async fn prefetch<C: CommandSet>(
    work: &mut UnitOfWork,
    commands: &[&C],
) -> Result<(), StoreError> {
    let mut own = Streams::default();
    commands.iter().for_each(|command| command.dispatch(AddOwn(&mut own)));
    own.fetch(work).await?;
    let mut others = Streams::default();
    commands.iter().for_each(|command| command.dispatch(AddOthers { work, streams: &mut others }));
    others.fetch(work).await
}

/// About how many events the command makes: one, and one for each other stream that the decision reads on a stream that does
/// not exist yet.
pub(crate) fn estimated_events<C: CommandSet>(command: &C) -> usize {
    command.dispatch(EstimatedEvents)
}

/// Streams to load, by the kind of their aggregate.
#[derive(Default)]
struct Streams(BTreeMap<TypeId, (Fetch, Vec<StreamId>)>);

type Fetch = for<'a> fn(&'a mut UnitOfWork, &'a [StreamId]) -> BoxFuture<'a, Result<(), StoreError>>;

impl Streams {
    fn add<S: State>(&mut self, streams: impl IntoIterator<Item = StreamId>) {
        let (_, known) = self.0.entry(TypeId::of::<S>()).or_insert((fetch::<S>, Vec::new()));
        known.extend(streams);
    }

    async fn fetch(self, work: &mut UnitOfWork) -> Result<(), StoreError> {
        for (fetch, mut streams) in self.0.into_values() {
            streams.sort_unstable();
            streams.dedup();
            match fetch(work, &streams).await {
                // The decision that needs the unreadable stream finds the same error; the others do not need it.
                Ok(()) | Err(StoreError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn fetch<'a, S: State>(
    work: &'a mut UnitOfWork,
    streams: &'a [StreamId],
) -> BoxFuture<'a, Result<(), StoreError>> {
    Box::pin(work.prefetch::<S>(streams))
}

struct AddOwn<'s>(&'s mut Streams);

impl<'c> CommandVisitor<'c> for AddOwn<'_> {
    type Output = ();

    fn visit<D: Decide<Command: Sync>>(self, command: &'c D::Command) {
        self.0.add::<D>([D::own_stream(command)]);
    }
}

struct AddOthers<'s> {
    work: &'s UnitOfWork,
    streams: &'s mut Streams,
}

impl<'c> CommandVisitor<'c> for AddOthers<'_> {
    type Output = ();

    fn visit<D: Decide<Command: Sync>>(self, command: &'c D::Command) {
        if let Some(state) = self.work.loaded::<D>(&D::own_stream(command)) {
            self.streams.add::<D::Other>(state.reads(command));
        }
    }
}

struct EstimatedEvents;

impl<'c> CommandVisitor<'c> for EstimatedEvents {
    type Output = usize;

    fn visit<D: Decide<Command: Sync>>(self, command: &'c D::Command) -> usize {
        1 + D::default().reads(command).len()
    }
}
