//! Processes the records that Kafka returns, and decides when to poll for more.
//!
//! A record is decoded once, when the first handler needs it. A gap between offsets is accepted only when it is seen a
//! second time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Reader;
use crate::consumer::ConsumerError;
use crate::consumer::positions::Arrival;
use crate::consumer::received::{Arrived, Interruption, Received};

/// If no handler has had room for this long, the partitions are paused, and the loop polls Kafka again.
const UNSERVED_MAX: Duration = Duration::from_secs(5);
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
