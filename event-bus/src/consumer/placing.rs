//! Which partitions are ours, and where in them we are.
//!
//! Never: a partition read from anywhere but its checkpoint. Read next: `group.rs`.

use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinError;

use super::ConsumerError;
use super::intake::Partition;
use super::membership::Rebalance;
use super::run::{InHand, Loaded, Loop, Placing};
use crate::{Checkpoint, HandlerError};

impl Loop {
    /// What is buffered of the partitions is void at once; the answer waits for the batch in hand.
    pub(super) fn on_revoked(&mut self, partitions: TopicPartitionList) {
        for partition in self.group.partitions(&partitions) {
            self.intake.remove(&partition);
            self.to_place.lost.retain(|lost| *lost != partition);
            if let Some((_, placing)) = &mut self.loading {
                placing.lost.retain(|lost| *lost != partition);
            }
        }
        if let InHand::Waiting { batch, .. } = &mut self.in_hand {
            batch.retain(|topic, partition| self.intake.reads(topic, partition));
            if batch.moves.is_empty() {
                self.in_hand = InHand::Nothing;
                self.set_trouble(None);
            }
        }
        self.revoked = Some(partitions);
    }

    pub(super) fn answer_revocation(&mut self) -> Result<(), ConsumerError> {
        if matches!(self.in_hand, InHand::Running { .. }) {
            return Ok(());
        }
        let Some(partitions) = self.revoked.take() else { return Ok(()) };
        self.group.commit(&std::mem::take(&mut self.untold));
        tracing::info!(consumer = %self.options.name, partitions = partitions.count(), "partitions given up");
        self.group.answer(&Rebalance::Revoke(partitions)).map_err(|cause| self.kafka(cause))
    }

    pub(super) fn start_loading(&mut self) {
        let wanted = self.to_place.assigned.is_some() || !self.to_place.lost.is_empty();
        if !wanted || self.loading.is_some() {
            return;
        }
        let handler = Arc::clone(&self.handler);
        let delay = self.loading_delay;
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            handler.checkpoints().await
        });
        self.loading = Some((task, std::mem::take(&mut self.to_place)));
    }

    pub(super) async fn on_loaded(&mut self, loaded: Result<Loaded, JoinError>) -> Result<(), ConsumerError> {
        let Some((_, placing)) = self.loading.take() else { return Ok(()) };
        let checkpoints =
            match loaded.map_err(|panic| self.fatal(format!("the handler panicked: {panic}")))? {
                Ok(checkpoints) => checkpoints,
                Err(HandlerError::Fatal(reason)) => return Err(self.fatal(reason)),
                Err(HandlerError::Restored(reason)) => return Err(self.restored(reason)),
                Err(error) => {
                    self.load_again(placing, error.to_string());
                    return Ok(());
                }
            };
        if self.options.never_back {
            let assigned = placing.assigned.as_ref().map(|assigned| self.group.partitions(assigned));
            let partitions: Vec<Partition> =
                placing.lost.iter().cloned().chain(assigned.into_iter().flatten()).collect();
            match self.group.told(&partitions).await {
                Ok(told) => self.check_not_gone_back(&told, &checkpoints)?,
                Err(error) => {
                    self.load_again(placing, format!("Kafka does not say where we were: {error}"));
                    return Ok(());
                }
            }
        }
        self.loading_delay = Duration::ZERO;
        for partition in placing.lost {
            let offset = self.place(&checkpoints, &partition);
            self.seek(partition, offset).await;
        }
        if self.to_place.lost.is_empty() {
            self.loading_backoff.reset();
        }
        if let Some(assigned) = placing.assigned {
            self.assign(assigned, &checkpoints)?;
        }
        Ok(())
    }

    fn load_again(&mut self, placing: Placing, reason: String) {
        self.loading_delay = self.loading_backoff.next();
        tracing::warn!(consumer = %self.options.name, reason, "checkpoints to be read again");
        self.set_trouble(Some(reason));
        self.to_place.assigned = placing.assigned.or(self.to_place.assigned.take());
        self.to_place.lost.extend(placing.lost);
    }

    /// Kafka is told after the checkpoint was committed: a checkpoint that lies before what it was told has gone back.
    fn check_not_gone_back(
        &self,
        told: &[(Partition, i64)],
        checkpoints: &[Checkpoint],
    ) -> Result<(), ConsumerError> {
        for ((topic, partition), told) in told {
            let checkpoint = checkpoints.iter().find(|at| *at.topic == **topic && at.partition == *partition);
            let next_offset = checkpoint.map_or(0, |at| at.next_offset);
            if next_offset < *told {
                return Err(self.restored(format!(
                    "its checkpoint in {topic}/{partition} is at offset {next_offset} and was at {told} before: the \
                     database was restored to an older state"
                )));
            }
        }
        Ok(())
    }

    fn place(&mut self, checkpoints: &[Checkpoint], partition: &Partition) -> i64 {
        let checkpoint =
            checkpoints.iter().find(|at| *at.topic == *partition.0 && at.partition == partition.1);
        self.intake.place(partition.clone(), checkpoint);
        checkpoint.map_or(0, |at| at.next_offset)
    }

    fn assign(
        &mut self,
        mut assigned: TopicPartitionList,
        checkpoints: &[Checkpoint],
    ) -> Result<(), ConsumerError> {
        for partition in self.group.partitions(&assigned) {
            let offset = self.place(checkpoints, &partition);
            assigned
                .set_partition_offset(&partition.0, partition.1, Offset::Offset(offset))
                .map_err(|cause| self.kafka(cause))?;
        }
        tracing::info!(consumer = %self.options.name, partitions = assigned.count(), "partitions assigned");
        self.group.answer(&Rebalance::Assign(assigned)).map_err(|cause| self.kafka(cause))?;
        // A partition that was given up while it was paused is still paused in librdkafka when it comes back.
        let settled = if self.paused { self.group.pause() } else { self.group.resume() };
        settled.map_err(|cause| self.kafka(cause))?;
        if !matches!(self.in_hand, InHand::Waiting { .. }) {
            self.set_trouble(None);
        }
        Ok(())
    }

    /// Reads the partition from `offset` on. When that fails, begins anew with its checkpoint.
    pub(super) async fn seek(&mut self, partition: Partition, offset: i64) {
        let (topic, number) = (&partition.0, partition.1);
        match self.group.seek(&partition, offset).await {
            Ok(()) => {
                tracing::debug!(consumer = %self.options.name, %topic, partition = number, offset, "reading again");
            }
            Err(error) => {
                tracing::warn!(consumer = %self.options.name, %topic, partition = number, offset, %error, "seek failed");
                self.intake.remove(&partition);
                self.to_place.lost.push(partition);
                self.loading_delay = self.loading_backoff.next();
            }
        }
    }

    /// Names the partition whose place the topic does not have; where there is none (any more), reads on.
    pub(super) async fn on_out_of_range(&mut self) -> Result<(), ConsumerError> {
        let places: Vec<(Partition, i64)> =
            self.intake.places().map(|(partition, next_offset)| (partition.clone(), next_offset)).collect();
        for (partition, next_offset) in &places {
            match self.group.watermarks(partition).await {
                Ok((low, high)) if *next_offset < low || *next_offset > high => {
                    return Err(ConsumerError::OutOfRange {
                        consumer: self.options.name.clone(),
                        topic: partition.0.to_string(),
                        partition: partition.1,
                        next_offset: *next_offset,
                        low,
                        high,
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(topic = %partition.0, partition = partition.1, %error, "watermarks")
                }
            }
        }
        for (partition, next_offset) in places {
            self.seek(partition, next_offset).await;
        }
        Ok(())
    }
}
