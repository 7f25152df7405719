//! Who goes on with the reader, who has fallen behind it and catches up by a consumer of its own, and what the topic does not have.
//!
//! Never: the reader moved while any handler goes on with it. Read next: `catch_up.rs`.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::error::KafkaError;

use super::ConsumerError;
use super::catch_up::CatchUp;
use super::positions::{Arrival, Partition, jump};
use super::received::{Arrived, Interruption, Received};
use super::run::Reader;
use super::serving::RECEIVED_MAX;
use super::worker::Worker;

impl Reader {
    /// The reader goes on at `offset`.
    pub(super) fn read_from(&mut self, partition: Partition, offset: i64) {
        self.positions.set(partition.clone(), offset);
        self.seeks.insert(partition.clone(), offset);
        self.sort_out(&partition);
    }

    /// Sees who is behind the reader in the partition, and who is ahead of it.
    pub(super) fn sort_out(&mut self, partition: &Partition) {
        let Some(reader) = self.positions.next_offset(partition) else { return };
        for worker in &mut self.workers {
            let Some(next_offset) = worker.intake.next_offset(partition) else { continue };
            worker.intake.set_behind(partition, next_offset < reader);
            if next_offset >= reader {
                worker.leave_catch_up(partition);
            }
            if next_offset > reader {
                self.ahead.insert(partition.clone());
            }
        }
    }

    /// Handlers that have fallen behind and have room again get what they have missed.
    pub(super) fn catch_up(&mut self) -> Result<(), ConsumerError> {
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if !worker.intake.is_behind() || !worker.intake.has_drained() {
                continue;
            }
            let known = |partition: &Partition| {
                worker.catch_up.as_ref().is_some_and(|catch_up| catch_up.reads(partition))
            };
            let missing: Vec<(Partition, i64)> = worker
                .intake
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
            // A jump may have left it behind still.
            if !alone.is_empty() {
                self.start_catching_up(index, alone).map_err(|cause| self.kafka(cause))?;
            }
        }
        Ok(())
    }

    fn start_catching_up(&mut self, index: usize, missing: Vec<(Partition, i64)>) -> Result<(), KafkaError> {
        let worker = &mut self.workers[index];
        tracing::info!(consumer = %worker.options.name, partitions = missing.len(), "fell behind, catches up by itself");
        let catch_up = match &mut worker.catch_up {
            Some(catch_up) => catch_up,
            none => none.insert(CatchUp::new(&self.config, &self.name, Arc::clone(&self.group.topics))?),
        };
        catch_up.add(missing)
    }

    /// Takes what came for a handler that catches up, and all that is there already while there is room.
    pub(super) async fn on_received_missed(
        &mut self,
        index: usize,
        first: Received,
    ) -> Result<(), ConsumerError> {
        let mut received = Some(first);
        let mut served = 0;
        while let Some(one) = received {
            match one {
                Ok(arrived) => self.on_missed(index, arrived)?,
                Err(Interruption::Halted { topic, reason }) => {
                    return Err(self.workers[index].restored(format!("the relay halted {topic}: {reason}")));
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
            served += 1;
            let worker = &self.workers[index];
            let more = served < RECEIVED_MAX && worker.intake.has_room();
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
                worker.intake.take_in(Arc::new(arrived.decode()));
                let reader = self.positions.next_offset(&partition);
                if worker.intake.next_offset(&partition) >= reader {
                    worker.intake.set_behind(&partition, false);
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

    /// Moves the reader where it has to be moved. What cannot be is tried again.
    pub(super) async fn seek(&mut self) {
        if self.seeks.is_empty() || self.seek_again_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let wanted = std::mem::take(&mut self.seeks).into_iter().collect();
        let failed = self.group.seek(wanted).await;
        self.seek_again_at = None;
        if failed.is_empty() {
            self.seek_backoff.reset();
        }
        for ((topic, number), offset, error) in failed {
            tracing::warn!(consumer = %self.name, %topic, partition = number, offset, %error, "seek failed");
            self.seeks.insert((topic, number), offset);
            let at = self.seek_again_at.get_or_insert_with(Instant::now);
            *at = Instant::now() + self.seek_backoff.next();
        }
    }

    /// A handler that is ahead of the reader is not noticed by Kafka when its place is not in the topic.
    pub(super) async fn check_ahead(&mut self) -> Result<(), ConsumerError> {
        if self.ahead.is_empty() {
            return Ok(());
        }
        let partitions: Vec<Partition> = std::mem::take(&mut self.ahead).into_iter().collect();
        let unknown = self.check_range(&partitions).await?;
        self.ahead.extend(unknown);
        Ok(())
    }

    /// Names the handler whose place is not in the topic. Gives the partitions of which Kafka does not say what they have.
    async fn check_range(&mut self, partitions: &[Partition]) -> Result<Vec<Partition>, ConsumerError> {
        for (at, partition) in partitions.iter().enumerate() {
            let (low, high) = match self.group.watermarks(partition).await {
                Ok(range) => range,
                Err(error) => {
                    // Each question more would wait as long for a broker that is away.
                    tracing::warn!(topic = %partition.0, partition = partition.1, %error, "watermarks");
                    return Ok(partitions[at..].to_vec());
                }
            };
            for worker in &self.workers {
                if let Some(next_offset) = worker.intake.next_offset(partition)
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

    /// Some partition's place is not in the topic; where there is none such (any more), reads on.
    pub(super) async fn on_out_of_range(&mut self) -> Result<(), ConsumerError> {
        let places: Vec<(Partition, i64)> =
            self.positions.iter().map(|(partition, next_offset)| (partition.clone(), next_offset)).collect();
        let partitions: Vec<Partition> = places.iter().map(|(partition, _)| partition.clone()).collect();
        self.check_range(&partitions).await?;
        self.seeks.extend(places);
        Ok(())
    }
}

/// Waits for what comes for any handler that catches up and has room. Gives whose it is. May be dropped at any time.
pub(super) async fn receive_missed(workers: &[Worker]) -> (usize, Received) {
    let reading = workers.iter().enumerate().filter_map(|(index, worker)| {
        let catch_up = worker.catch_up.as_ref().filter(|_| worker.intake.has_room())?;
        Some(Box::pin(async move { (index, catch_up.receive().await) }))
    });
    let reading: Vec<_> = reading.collect();
    if reading.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(reading).await.0
}
