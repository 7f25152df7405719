//! The reactions of one context, exactly once: all that is decided because of the events of a batch, the deadlines that
//! this sets and clears, and the checkpoints are one append.
//!
//! A later reaction of a batch sees what the earlier ones decided. An event that cannot be reacted to is parked with its
//! stream; an event that nothing here reacts to is skipped.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_bus::parked::Retried;
use event_bus::{Batch, BatchHandler, BusConfig, Checkpoint, HandlerError, Record};
use event_log::{CommandSet, EventData, Metadata, StreamId};
use event_store::{EventStore, StoreError, UnitOfWork, retry_conflicts};
use fault::crash_point;

use crate::batch_progress::BatchProgress;
use crate::execute::{estimated_events, prefetch};
use crate::parking::Parking;
use crate::restore_detector::RestoreDetector;
use crate::retry::{self, RetryError, RetryHandler};
use crate::{CONFLICTS_MAX, CommitError, Reactions, caused_by, error_mapping};

/// One append holds about this many events at most; the events of one reaction are never split.
const APPEND_EVENTS_MAX: usize = 2_000;

/// Carries out the [`Reactions`] of one context. [`Reactors::add_reactor`](crate::Reactors::add_reactor) runs it.
pub struct Reactor<R> {
    store: EventStore,
    consumer: String,
    actor: String,
    reactions: R,
    parking: Parking,
    /// None in a reactor that reads no topic.
    detector: Option<RestoreDetector>,
}

/// What follows from one record: commands and their metadata, or the reason to park it.
type Plan<C> = Result<(Metadata, Vec<C>), String>;

/// A part of a batch that was committed.
struct Part {
    /// The index of the first record that is not in it.
    end: usize,
    progress: BatchProgress,
    parked: HashSet<StreamId>,
    /// Which record, and why. It is logged after the commit: a refusal may come from a stale state.
    newly_parked: Vec<(usize, String)>,
    /// The name of each command, and its outcome.
    executed: Vec<(&'static str, &'static str)>,
}

impl<R: Reactions> Reactor<R> {
    /// `consumer` names the checkpoints; `actor` goes into the metadata of what is decided.
    pub fn new(
        store: EventStore,
        consumer: impl Into<String>,
        actor: impl Into<String>,
        reactions: R,
    ) -> Self {
        let consumer = consumer.into();
        let parking = Parking::new(store.clone(), &consumer);
        Self { store, consumer, actor: actor.into(), reactions, parking, detector: None }
    }

    pub(crate) fn store(&self) -> &EventStore {
        &self.store
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.consumer
    }

    pub(crate) fn with_detector(self, detector: RestoreDetector) -> Self {
        Self { detector: Some(detector), ..self }
    }

    /// Tries the stream's parked records again, in order, until none is left or one fails again. A dry run tries all of
    /// them, each after what those before it would have done, and commits nothing.
    ///
    /// # Errors
    /// [`RetryError`]: it ended before its time. What was handled before is handled.
    pub async fn retry_parked(
        &self,
        bus: &BusConfig,
        stream: &str,
        dry_run: bool,
    ) -> Result<Retried, RetryError> {
        retry::retry_parked(&self.store, bus, (&self.consumer, stream), self, dry_run).await
    }

    fn plan(&self, record: &Record, now: DateTime<Utc>) -> Plan<R::Command> {
        let trigger = record.event::<R::Event>().map_err(ToString::to_string)?;
        let commands = self
            .reactions
            .react(trigger, now)
            .map_err(|unfit| format!("{}: {unfit}", trigger.event.event_type()))?;
        Ok((caused_by(trigger, &self.actor), commands))
    }

    /// Commits the records from `start` on, as many as fit one append.
    async fn commit_part(
        &self,
        batch: &Batch,
        plans: &[Plan<R::Command>],
        start: usize,
        progress: &BatchProgress,
        parked: &HashSet<StreamId>,
    ) -> Result<Part, CommitError> {
        let mut work = self.store.unit_of_work();
        prefetch(&mut work, &fitting(&plans[start..])).await?;
        let mut part = Part {
            end: start,
            progress: progress.clone(),
            parked: parked.clone(),
            newly_parked: Vec::new(),
            executed: Vec::new(),
        };
        let mut events = 0;
        for (record, plan) in batch.records[start..].iter().zip(&plans[start..]) {
            events += self.handle_record(&mut work, record, plan, &mut part).await?;
            part.end += 1;
            if events >= APPEND_EVENTS_MAX && progress.moves_up_to(batch, start, part.end).is_some() {
                break;
            }
        }
        let moves = progress
            .moves_up_to(batch, start, part.end)
            .expect("the loop ends at the end of the batch, or where the moves are known");
        part.progress.advance(&moves);
        moves.into_iter().for_each(|step| work.checkpoint(step));
        crash_point!("reactor::decided_before_commit");
        work.commit().await?;
        crash_point!("reactor::committed");
        Ok(part)
    }

    /// Returns how many events came of the record.
    async fn handle_record(
        &self,
        work: &mut UnitOfWork,
        record: &Record,
        plan: &Plan<R::Command>,
        part: &mut Part,
    ) -> Result<usize, CommitError> {
        let stream = StreamId::from(record.stream_name());
        if part.parked.contains(&stream) {
            work.park(self.parking.behind(record));
            return Ok(0);
        }
        let handled = match plan {
            Ok((metadata, commands)) => self.execute_all(work, commands, metadata, &mut part.executed).await,
            Err(reason) => Err(CommitError::Refused(reason.clone())),
        };
        match handled {
            Err(CommitError::Refused(reason)) => {
                part.newly_parked.push((part.end, reason.clone()));
                work.park(self.parking.park(record, reason));
                part.parked.insert(stream);
                Ok(0)
            }
            handled => handled,
        }
    }

    async fn execute_all(
        &self,
        work: &mut UnitOfWork,
        commands: &[R::Command],
        metadata: &Metadata,
        executed: &mut Vec<(&'static str, &'static str)>,
    ) -> Result<usize, CommitError> {
        let mut events = 0;
        for command in commands {
            let made = self.reactions.execute(work, command, metadata).await?;
            executed.push((command.name(), if made == 0 { "nothing" } else { "events" }));
            events += made;
        }
        Ok(events)
    }

    /// Deadlines fall due by the database's clock, so they are counted from it too. Where none is set, the database is not
    /// asked.
    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        if self.reactions.needs_time() { self.store.database_now().await } else { Ok(DateTime::UNIX_EPOCH) }
    }

    fn report(&self, batch: &Batch, part: &Part) {
        for (index, reason) in &part.newly_parked {
            let record = &batch.records[*index];
            tracing::error!(
                consumer = self.consumer, stream = record.stream_name(), topic = %record.topic,
                partition = record.partition, offset = record.offset, reason,
                "event parked; its stream waits until someone retries or discards it"
            );
        }
        let context = self.store.context().to_string();
        for &(command, outcome) in &part.executed {
            metrics::counter!(
                "tradewind_reactions_total",
                "context" => context.clone(), "command" => command, "outcome" => outcome
            )
            .increment(1);
        }
    }
}

/// The commands that about one append will hold: streams that are loaded beyond that would only be checked for their version.
fn fitting<C: CommandSet>(plans: &[Plan<C>]) -> Vec<&C> {
    let mut events = 0;
    let has_room = |command: &&C| {
        let had_room = events < APPEND_EVENTS_MAX;
        events += estimated_events(*command);
        had_room
    };
    plans.iter().flatten().flat_map(|(_, commands)| commands).take_while(has_room).collect()
}

#[async_trait]
impl<R: Reactions> BatchHandler for Reactor<R> {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        if let Some(detector) = &self.detector {
            detector.check_not_rewound().await?;
        }
        let checkpoints = error_mapping::checkpoints(&self.store, &self.consumer).await?;
        self.parking.read().await?;
        Ok(checkpoints)
    }

    fn is_relevant(&self, record: &Record) -> bool {
        record.event::<R::Event>().map_or(true, |event| {
            let commands = self.reactions.react(event, DateTime::UNIX_EPOCH);
            commands.map_or(true, |commands| !commands.is_empty())
        })
    }

    /// When only some parts could be committed, the batch comes again, meets checkpoints that have moved on, and is read
    /// again from there.
    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let now = self.now().await.map_err(|error| error_mapping::of_store_error(&error))?;
        let plans: Vec<Plan<R::Command>> =
            batch.records.iter().map(|record| self.plan(record, now)).collect();
        let mut parked = self.parking.streams().await?;
        let mut progress = BatchProgress::start_of(batch);
        let mut start = 0;
        loop {
            let attempt = || self.commit_part(batch, &plans, start, &progress, &parked);
            let part = retry_conflicts(CONFLICTS_MAX, attempt).await;
            let part = part.map_err(error_mapping::of_commit_error)?;
            self.report(batch, &part);
            if part.parked.len() > parked.len() {
                self.parking.set(part.parked.clone());
            }
            (start, progress, parked) = (part.end, part.progress, part.parked);
            if start == batch.records.len() {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl<R: Reactions> RetryHandler for Reactor<R> {
    async fn handle_again(&self, work: &mut UnitOfWork, record: &Record) -> Result<(), CommitError> {
        let (metadata, commands) = self.plan(record, self.now().await?).map_err(CommitError::Refused)?;
        self.execute_all(work, &commands, &metadata, &mut Vec::new()).await?;
        Ok(())
    }
}
