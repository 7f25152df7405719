//! Handlers that have fallen behind the reader: they catch up with a consumer of their own. Also checks that every
//! handler's offset exists in its topic.
//!
//! The reader does not move while any handler follows it.

use std::sync::Arc;

use rdkafka::error::KafkaError;

use super::Reader;
use super::serving::RECEIVED_MAX;
use crate::consumer::ConsumerError;
use crate::consumer::catch_up::CatchUp;
use crate::consumer::positions::{Arrival, Partition, jump};
use crate::consumer::received::{Arrived, Interruption, Received};
use crate::consumer::worker::Worker;

impl Reader {
    /// Moves the reader to `offset`.
    pub(super) fn read_from(&mut self, partition: Partition, offset: i64) {
        self.positions.set(partition.clone(), offset);
        self.seeks.insert(partition.clone(), offset);
        self.update_behind(&partition);
    }

    /// Updates which handlers are behind the reader in the partition, and whether one is ahead of it.
    pub(super) fn update_behind(&mut self, partition: &Partition) {
        let Some(reader) = self.positions.next_offset(partition) else { return };
        for worker in &mut self.workers {
            let Some(next_offset) = worker.buffer.next_offset(partition) else { continue };
            worker.buffer.set_behind(partition, next_offset < reader);
            if next_offset >= reader {
                worker.leave_catch_up(partition);
            }
            if next_offset > reader {
                self.ahead.insert(partition.clone());
            }
        }
    }

    /// Starts to read the missed records of handlers that are behind and have room again.
    pub(super) fn catch_up(&mut self) -> Result<(), ConsumerError> {
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if !worker.buffer.is_behind() || !worker.buffer.has_drained() {
                continue;
            }
            let known = |partition: &Partition| {
                worker.catch_up.as_ref().is_some_and(|catch_up| catch_up.reads(partition))
            };
            let missing: Vec<(Partition, i64)> = worker
                .buffer
                .behind()
                .filter(|(partition, _)| !known(partition))
                .map(|(partition, next_offset)| (partition.clone(), next_offset))
                .collect();
            let mut alone = Vec::new();
            for (partition, next_offset) in missing {
                let Some(reader) = self.positions.next_offset(&partition) else { continue };
                match jump(reader, &self.next_offsets(&partition)) {
                    Some(offset) => self.read_from(partition.clone(), offset),
                    None => alone.push((partition, next_offset)),
                }
            }
            // After a jump of the reader the handler may still be behind.
            if !alone.is_empty() {
                self.start_catching_up(index, alone).map_err(|cause| self.kafka(cause))?;
            }
        }
        Ok(())
    }

    fn start_catching_up(&mut self, index: usize, missing: Vec<(Partition, i64)>) -> Result<(), KafkaError> {
        let worker = &mut self.workers[index];
        tracing::info!(consumer = %worker.options.name, partitions = missing.len(), "fell behind the reader; catching up with a consumer of its own");
        let catch_up = match &mut worker.catch_up {
            Some(catch_up) => catch_up,
            none => none.insert(CatchUp::new(&self.config, &self.name, Arc::clone(&self.group.topics))?),
        };
        catch_up.add(missing)
    }

    /// Takes a record for a handler that catches up, and all that have arrived, while there is room.
    pub(super) async fn on_received_missed(
        &mut self,
        index: usize,
        first: Received,
    ) -> Result<(), ConsumerError> {
        let mut received = Some(first);
        let mut received_count = 0;
        while let Some(one) = received {
            match one {
                Ok(arrived) => self.on_missed(index, arrived)?,
                Err(Interruption::StopMarker { topic, reason }) => {
                    return Err(self.workers[index].restored(format!("the relay stopped {topic}: {reason}")));
                }
                Err(Interruption::OffsetOutOfRange) => {
                    let partitions =
                        self.workers[index].catch_up.as_ref().map(CatchUp::partitions).unwrap_or_default();
                    self.check_range(&partitions).await?;
                    self.read_missed_again(index)?;
                }
                Err(Interruption::Trouble(error)) => {
                    tracing::debug!(consumer = %self.workers[index].options.name, %error, "while catching up");
                }
                Err(Interruption::Broken(cause)) => return Err(self.kafka(cause)),
            }
            received_count += 1;
            let worker = &self.workers[index];
            let more = received_count < RECEIVED_MAX && worker.buffer.has_room();
            received = worker.catch_up.as_ref().filter(|_| more).and_then(|catch_up| catch_up.receive_now());
        }
        Ok(())
    }

    fn on_missed(&mut self, index: usize, arrived: Arrived) -> Result<(), ConsumerError> {
        let worker = &mut self.workers[index];
        let Some(catch_up) = &mut worker.catch_up else { return Ok(()) };
        let partition = arrived.partition.clone();
        match catch_up.arrived(&partition, arrived.offset) {
            Arrival::Old => {}
            Arrival::Gap { .. } => self.read_missed_again(index)?,
            Arrival::Next => {
                worker.check_epoch(&partition, arrived.epoch)?;
                worker.buffer.push(Arc::new(arrived.decode()));
                let reader = self.positions.next_offset(&partition);
                if worker.buffer.next_offset(&partition) >= reader {
                    worker.buffer.set_behind(&partition, false);
                    worker.leave_catch_up(&partition);
                }
            }
        }
        Ok(())
    }

    fn read_missed_again(&self, index: usize) -> Result<(), ConsumerError> {
        let catch_up = self.workers[index].catch_up.as_ref();
        catch_up.map_or(Ok(()), CatchUp::read_again).map_err(|cause| self.kafka(cause))
    }

    /// Makes the pending seeks. Failed ones are retried.
    pub(super) async fn seek(&mut self) {
        let due = self.seeks.take_due();
        if due.is_empty() {
            return;
        }
        let failed = self.group.seek(due).await;
        for ((topic, number), offset, error) in &failed {
            tracing::warn!(consumer = %self.name, %topic, partition = number, offset, %error, "seek failed");
        }
        self.seeks.made(failed.into_iter().map(|(partition, offset, _)| (partition, offset)).collect());
    }

    /// Checks the offsets of handlers that are ahead of the reader, because Kafka only checks the reader's own.
    pub(super) async fn check_ahead(&mut self) -> Result<(), ConsumerError> {
        if self.ahead.is_empty() {
            return Ok(());
        }
        let partitions: Vec<Partition> = std::mem::take(&mut self.ahead).into_iter().collect();
        let unknown = self.check_range(&partitions).await?;
        self.ahead.extend(unknown);
        Ok(())
    }

    /// Fails with the handler whose offset is not in the topic. Returns the partitions whose range Kafka did not
    /// return.
    async fn check_range(&mut self, partitions: &[Partition]) -> Result<Vec<Partition>, ConsumerError> {
        for (at, partition) in partitions.iter().enumerate() {
            let (low, high) = match self.group.watermarks(partition).await {
                Ok(range) => range,
                Err(error) => {
                    // Each further request would wait as long for an unreachable broker.
                    tracing::warn!(topic = %partition.0, partition = partition.1, %error, "watermarks");
                    return Ok(partitions[at..].to_vec());
                }
            };
            for worker in &self.workers {
                if let Some(next_offset) = worker.buffer.next_offset(partition)
                    && !(low..=high).contains(&next_offset)
                {
                    return Err(ConsumerError::OutOfRange {
                        consumer: worker.options.name.clone(),
                        topic: partition.0.to_string(),
                        partition: partition.1,
                        next_offset,
                        low,
                        high,
                    });
                }
            }
        }
        Ok(Vec::new())
    }

    /// Some partition's offset is not in the topic: finds the handler, or reads on if every offset exists by now.
    pub(super) async fn on_out_of_range(&mut self) -> Result<(), ConsumerError> {
        let offsets: Vec<(Partition, i64)> =
            self.positions.iter().map(|(partition, next_offset)| (partition.clone(), next_offset)).collect();
        let partitions: Vec<Partition> = offsets.iter().map(|(partition, _)| partition.clone()).collect();
        self.check_range(&partitions).await?;
        for (partition, offset) in offsets {
            self.seeks.insert(partition, offset);
        }
        Ok(())
    }
}

/// Waits for a record of any handler that catches up and has room. Returns the handler's index too. Cancel-safe.
pub(super) async fn receive_missed(workers: &[Worker]) -> (usize, Received) {
    let reading = workers.iter().enumerate().filter_map(|(index, worker)| {
        let catch_up = worker.catch_up.as_ref().filter(|_| worker.buffer.has_room())?;
        Some(Box::pin(async move { (index, catch_up.receive().await) }))
    });
    let reading: Vec<_> = reading.collect();
    if reading.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(reading).await.0
}
