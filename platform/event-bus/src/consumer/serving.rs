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
use super::worker::Begins;

/// When no handler has had room for this long, the partitions are paused, and Kafka is served.
const UNSERVED_MAX: Duration = Duration::from_secs(5);
/// How often Kafka is asked for what it has while no handler could begin a batch: each time librdkafka may fetch once more.
const LOOK_EVERY: Duration = Duration::from_millis(50);
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

    /// What has come while no handler could begin a batch goes along in the next one.
    pub(super) async fn receive_what_is_there(&mut self) -> Result<(), ConsumerError> {
        let is_awaited = self.workers.iter().any(|worker| worker.begins() == Begins::Now);
        if is_awaited
            && self.seeks.is_empty()
            && self.serves()
            && let Some(received) = self.group.receive_now()
        {
            self.on_received(received).await?;
        }
        Ok(())
    }

    /// When Kafka is to be asked for more; none: at once. While no handler that keeps up could begin a batch, librdkafka's queue
    /// keeps what comes, and is not filled by ever more fetches (`queued.min.messages`).
    pub(super) fn receive_not_before(&self) -> Option<Instant> {
        let mut not_before = self.served_at + LOOK_EVERY;
        for worker in self.workers.iter().filter(|worker| worker.intake.follows()) {
            match worker.begins() {
                Begins::Now => return None,
                Begins::At(over_at) => not_before = not_before.min(over_at),
                Begins::Later => {}
            }
        }
        Some(not_before).filter(|_| !self.paused)
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
