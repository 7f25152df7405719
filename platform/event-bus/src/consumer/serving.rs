//! What Kafka gives, and when it is asked for more.
//!
//! A record is decoded once, when any handler wants it. Never: a record passed over because of a gap that was not looked at
//! twice. Read next: `behind.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ConsumerError;
use super::positions::Arrival;
use super::received::{Arrived, Interruption, Received};
use super::run::Reader;

/// When no handler has had room for this long, the partitions are paused, and Kafka is served.
const UNSERVED_MAX: Duration = Duration::from_secs(5);
/// Records that are taken before somebody else has a turn.
pub(super) const RECEIVED_MAX: usize = 500;

impl Reader {
    /// Takes what came, and all that is there already while anybody has room.
    pub(super) async fn on_received(&mut self, first: Received) -> Result<(), ConsumerError> {
        self.served_at = Instant::now();
        let mut received = Some(first);
        let mut served = 0;
        while let Some(one) = received {
            match one {
                Ok(arrived) => self.on_arrived(arrived)?,
                Err(Interruption::Halted { topic, reason }) => {
                    return Err(self.restored(format!("the relay halted {topic}: {reason}")));
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
            if worker.intake.admits(&partition, offset) {
                worker.check_epoch(&partition, epoch)?;
                taking.push(index);
            }
        }
        if !taking.is_empty() {
            let record = Arc::new(arrived.decode());
            taking.into_iter().for_each(|index| self.workers[index].intake.take_in(Arc::clone(&record)));
        }
        Ok(())
    }

    /// Whether Kafka is to be asked for more: somebody takes what it gives next, or nobody would be left behind.
    pub(super) fn serves(&self) -> bool {
        self.paused || self.is_wanted() || self.workers.iter().all(|worker| worker.intake.has_room())
    }

    fn is_wanted(&self) -> bool {
        self.workers.iter().any(|worker| worker.intake.follows() && worker.intake.has_room())
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
