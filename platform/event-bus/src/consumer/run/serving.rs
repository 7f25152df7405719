//! Processes the records that Kafka returns, and decides when to poll for more.
//!
//! A record is decoded once, when the first handler needs it. A gap between offsets is accepted only when it is seen a
//! second time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Reader;
use crate::consumer::ConsumerError;
use crate::consumer::in_flight::Begins;
use crate::consumer::positions::Arrival;
use crate::consumer::received::{Arrived, Interruption, Received};

/// If no handler has had room for this long, the partitions are paused, and the loop polls Kafka again.
const UNSERVED_MAX: Duration = Duration::from_secs(5);
/// The interval of polls while no handler could begin a batch: each poll may cause librdkafka to fetch once more.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// The number of records that are taken before the loop looks at other events.
pub(super) const RECEIVED_MAX: usize = 500;

impl Reader {
    /// Takes a record, and all that have arrived, while any handler has room.
    pub(super) async fn on_received(&mut self, first: Received) -> Result<(), ConsumerError> {
        self.served_at = Instant::now();
        let mut received = Some(first);
        let mut served = 0;
        while let Some(one) = received {
            match one {
                Ok(arrived) => self.on_arrived(arrived)?,
                Err(Interruption::StopMarker { topic, reason }) => {
                    return Err(self.restored(format!("the relay stopped {topic}: {reason}")));
                }
                Err(Interruption::OffsetOutOfRange) => self.on_out_of_range().await?,
                Err(Interruption::Trouble(error)) => {
                    tracing::debug!(consumer = %self.name, %error, "while consuming");
                }
                Err(Interruption::Broken(cause)) => return Err(self.kafka(cause)),
            }
            served += 1;
            let more = served < RECEIVED_MAX && self.seeks.is_empty() && self.serves();
            received = if more { self.group.receive_now() } else { None };
        }
        Ok(())
    }

    fn on_arrived(&mut self, arrived: Arrived) -> Result<(), ConsumerError> {
        let (partition, offset, epoch) = (arrived.partition.clone(), arrived.offset, arrived.epoch);
        match self.positions.arrived(&partition, offset) {
            Arrival::Old => return Ok(()),
            Arrival::Gap { next_offset } => {
                tracing::debug!(consumer = %self.name, topic = %partition.0, partition = partition.1, next_offset, "reading again");
                self.seeks.insert(partition, next_offset);
                return Ok(());
            }
            Arrival::Next => {}
        }
        let mut taking = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if worker.buffer.accepts(&partition, offset) {
                worker.check_epoch(&partition, epoch)?;
                taking.push(index);
            }
        }
        if !taking.is_empty() {
            let record = Arc::new(arrived.decode());
            taking.into_iter().for_each(|index| self.workers[index].buffer.push(Arc::clone(&record)));
        }
        Ok(())
    }

    /// Takes the records that arrived while no handler could begin a batch, so that the next batch includes them.
    pub(super) async fn receive_arrived(&mut self) -> Result<(), ConsumerError> {
        let is_awaited = self.workers.iter().any(|worker| worker.in_flight.next_begins() == Begins::Now);
        if is_awaited
            && self.seeks.is_empty()
            && self.serves()
            && let Some(received) = self.group.receive_now()
        {
            self.on_received(received).await?;
        }
        Ok(())
    }

    /// The earliest time of the next poll; none: at once. While no handler that follows the reader could begin a batch, records stay
    /// in librdkafka's queue, so that it does not fetch more (`queued.min.messages`).
    pub(super) fn receive_not_before(&self) -> Option<Instant> {
        let mut not_before = self.served_at + POLL_EVERY;
        for worker in self.workers.iter().filter(|worker| worker.buffer.follows()) {
            match worker.in_flight.next_begins() {
                Begins::Now => return None,
                Begins::At(pause_ends_at) => not_before = not_before.min(pause_ends_at),
                Begins::Later => {}
            }
        }
        Some(not_before).filter(|_| !self.paused)
    }

    /// Whether to poll Kafka: a handler takes the next record, or no handler would fall behind.
    pub(super) fn serves(&self) -> bool {
        self.paused || self.is_wanted() || self.workers.iter().all(|worker| worker.buffer.has_room())
    }

    fn is_wanted(&self) -> bool {
        self.workers.iter().any(|worker| worker.buffer.follows() && worker.buffer.has_room())
    }

    pub(super) fn check_pause(&mut self) -> Result<(), ConsumerError> {
        if self.paused && self.is_wanted() {
            self.served_at = Instant::now();
            self.set_paused(false)?;
        } else if !self.serves() && self.served_at.elapsed() > UNSERVED_MAX {
            self.set_paused(true)?;
        }
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), ConsumerError> {
        let done = if paused { self.group.pause() } else { self.group.resume() };
        done.map_err(|cause| self.kafka(cause))?;
        self.paused = paused;
        Ok(())
    }
}
