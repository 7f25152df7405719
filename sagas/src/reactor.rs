//! The reactions of one context, exactly once: the events of a batch, all that is decided because of them, the
//! deadlines that this starts and ends, and the checkpoints are one append.
//!
//! A later reaction of a batch sees what the earlier ones decided. An event that cannot be reacted to is parked with
//! its stream; one that nothing here reacts to is passed.
//! Never: a reaction that takes part in the next append while its event's checkpoint is in another.
//! Read next: `carry_out.rs`, then `parking.rs`.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use domain::ReservationCommand;
use event_bus::{Batch, BatchHandler, Checkpoint, HandlerError, Record};
use event_store::{AppendError, EventStore, MayBeConflict, StoreError, UnitOfWork, retry_conflicts};
use events::{Context, Metadata, StreamId};
use fault::crash_point;

use crate::carry_out::{Trouble, carry_out, prefetch};
use crate::fate::{self, CONFLICTS_MAX};
use crate::order_fulfilment::{Reaction, Terms, react, reacts, sets_deadlines};
use crate::parking::Parking;
use crate::progress::Progress;
use crate::witness::Witness;

/// One append holds about this many events at most: what one reaction makes is never split.
const APPEND_EVENTS_MAX: usize = 2_000;

pub(crate) struct Reactor {
    context: Context,
    store: EventStore,
    consumer: String,
    actor: String,
    payment_deadline: TimeDelta,
    parking: Parking,
    /// None for who reads no topic.
    witness: Option<Witness>,
}

/// What is to be done about one record: reactions and what they carry, or the reason to park it.
type Plan = Result<(Metadata, Vec<Reaction>), String>;

/// A part of a batch that was committed.
struct Part {
    /// The index of the first record that is not in it.
    end: usize,
    progress: Progress,
    parked: HashSet<StreamId>,
    /// Of which record, and why. Told when it is committed: a refusal may come of a state that was stale.
    newly_parked: Vec<(usize, String)>,
    carried_out: Vec<(&'static str, &'static str)>,
}

/// Why a part was not committed.
enum Undone {
    Append(AppendError),
    Fate(HandlerError),
}

impl MayBeConflict for Undone {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Append(error) if error.is_conflict())
    }
}

impl Reactor {
    pub(crate) fn new(
        store: EventStore,
        consumer: String,
        payment_deadline: TimeDelta,
        parking: Parking,
        witness: Option<Witness>,
    ) -> Self {
        let context = store.context();
        Self {
            context,
            store,
            consumer,
            actor: format!("saga:{context}"),
            payment_deadline,
            parking,
            witness,
        }
    }

    fn plan(&self, record: &Record, terms: &Terms) -> Plan {
        let trigger = record.event.as_ref().map_err(ToString::to_string)?;
        let reactions = react(self.context, trigger, terms)
            .map_err(|unfit| format!("{}: {unfit}", trigger.event.event_type()))?;
        Ok((fate::caused_by(trigger, &self.actor), reactions))
    }

    /// Commits the records from `start` on, as many as fit one append.
    async fn commit_part(
        &self,
        batch: &Batch,
        plans: &[Plan],
        start: usize,
        progress: &Progress,
        parked: &HashSet<StreamId>,
    ) -> Result<Part, Undone> {
        let retry = |error| Undone::Fate(fate::of_store_error(&error));
        let mut work = self.store.unit_of_work();
        prefetch(&mut work, &fitting(&plans[start..])).await.map_err(retry)?;
        let mut part = Part {
            end: start,
            progress: progress.clone(),
            parked: parked.clone(),
            newly_parked: Vec::new(),
            carried_out: Vec::new(),
        };
        let mut events = 0;
        for (record, plan) in batch.records[start..].iter().zip(&plans[start..]) {
            events += self.do_record(&mut work, record, plan, &mut part).await?;
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
        work.commit().await.map_err(Undone::Append)?;
        crash_point!("reactor::committed");
        Ok(part)
    }

    /// How many events came of the record.
    async fn do_record(
        &self,
        work: &mut UnitOfWork,
        record: &Record,
        plan: &Plan,
        part: &mut Part,
    ) -> Result<usize, Undone> {
        let stream = StreamId::from(record.stream_name());
        if part.parked.contains(&stream) {
            work.park(self.parking.behind(record));
            return Ok(0);
        }
        let done = match plan {
            Ok((metadata, reactions)) => do_reactions(work, reactions, metadata, &mut part.carried_out).await,
            Err(reason) => Err(Trouble::Park(reason.clone())),
        };
        match done {
            Ok(events) => Ok(events),
            Err(Trouble::Store(error)) => Err(Undone::Fate(fate::of_store_error(&error))),
            Err(Trouble::Park(reason)) => {
                part.newly_parked.push((part.end, reason.clone()));
                work.park(self.parking.park(record, reason));
                part.parked.insert(stream);
                Ok(0)
            }
        }
    }

    /// What a parked record sets off, now that it is tried again: how many events were noted in the unit.
    pub(crate) async fn react_again(&self, work: &mut UnitOfWork, record: &Record) -> Result<usize, Trouble> {
        let (metadata, reactions) = self.plan(record, &self.terms().await?).map_err(Trouble::Park)?;
        do_reactions(work, &reactions, &metadata, &mut Vec::new()).await
    }

    /// Deadlines fall due by the database's clock, so they are counted from it too; where none is set it is not asked.
    async fn terms(&self) -> Result<Terms, StoreError> {
        let now = if sets_deadlines(self.context) {
            self.store.database_now().await?
        } else {
            DateTime::UNIX_EPOCH
        };
        Ok(Terms { now, payment_deadline: self.payment_deadline })
    }

    fn tell(&self, batch: &Batch, part: &Part) {
        for (index, reason) in &part.newly_parked {
            let record = &batch.records[*index];
            tracing::error!(
                consumer = self.consumer, stream = record.stream_name(), topic = %record.topic,
                partition = record.partition, offset = record.offset, reason,
                "parked an event: its stream waits for a person"
            );
        }
        for &(command, outcome) in &part.carried_out {
            let labels = [("context", self.context.name()), ("command", command), ("outcome", outcome)];
            metrics::counter!("tradewind_reactions_total", &labels).increment(1);
        }
    }
}

async fn do_reactions(
    work: &mut UnitOfWork,
    reactions: &[Reaction],
    metadata: &Metadata,
    carried_out: &mut Vec<(&'static str, &'static str)>,
) -> Result<usize, Trouble> {
    let mut events = 0;
    for reaction in reactions {
        let made = carry_out(work, reaction, metadata).await?;
        carried_out.push((reaction.command(), if made == 0 { "nothing" } else { "events" }));
        events += made;
    }
    Ok(events)
}

/// The reactions that one append will hold, about: what more is loaded would be checked for its version in vain.
fn fitting(plans: &[Plan]) -> Vec<&Reaction> {
    let mut events = 0;
    let room = |reaction: &&Reaction| {
        let had_room = events < APPEND_EVENTS_MAX;
        events += match reaction {
            Reaction::Reservation(ReservationCommand::Reserve { items, .. }) => items.len() + 1,
            _ => 1,
        };
        had_room
    };
    plans.iter().flatten().flat_map(|(_, reactions)| reactions).take_while(room).collect()
}

#[async_trait]
impl BatchHandler for Reactor {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, HandlerError> {
        if let Some(witness) = &self.witness {
            witness.attest().await?;
        }
        let checkpoints = fate::checkpoints(&self.store, &self.consumer).await?;
        self.parking.read().await?;
        Ok(checkpoints)
    }

    fn concerns(&self, record: &Record) -> bool {
        record.event.as_ref().map_or(true, |event| reacts(self.context, event))
    }

    /// Where only some parts could be committed, the batch comes again, meets checkpoints that have moved on, and is
    /// read anew from there.
    async fn handle(&self, batch: &Batch) -> Result<(), HandlerError> {
        let terms = self.terms().await.map_err(|error| fate::of_store_error(&error))?;
        let plans: Vec<Plan> = batch.records.iter().map(|record| self.plan(record, &terms)).collect();
        let mut parked = self.parking.streams().await?;
        let mut progress = Progress::at_the_start_of(batch);
        let mut start = 0;
        loop {
            let attempt = || self.commit_part(batch, &plans, start, &progress, &parked);
            let part = retry_conflicts(CONFLICTS_MAX, attempt).await.map_err(|undone| match undone {
                Undone::Append(error) => fate::of_append_error(error),
                Undone::Fate(fate) => fate,
            })?;
            self.tell(batch, &part);
            if part.parked.len() > parked.len() {
                self.parking.know(part.parked.clone());
            }
            (start, progress, parked) = (part.end, part.progress, part.parked);
            if start == batch.records.len() {
                return Ok(());
            }
        }
    }
}
