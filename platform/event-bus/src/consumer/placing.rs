//! Which partitions are ours, and where in them each handler is.
//!
//! A partition that is assigned is read when the handlers know their checkpoints in it. One that cannot read its checkpoints
//! holds up the others for a moment only; it is placed when it can. Never: a record given to a handler before its checkpoint
//! is known. Read next: `behind.rs`.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;

use super::ConsumerError;
use super::group::Told;
use super::membership::Rebalance;
use super::positions::{Partition, jump, start_of};
use super::run::Reader;
use super::told::metadata_of;
use super::worker::{Ended, Worker};
use crate::{Checkpoint, HandlerError};

/// An assignment waits so long for handlers that cannot read their checkpoints, when others can.
const LATE_AFTER: Duration = Duration::from_secs(5);

/// Partitions that are ours and not read yet: the handlers read their checkpoints.
pub(super) struct Assigned {
    partitions: TopicPartitionList,
    since: Instant,
}

impl Reader {
    pub(super) fn on_assigned(&mut self, partitions: TopicPartitionList) {
        for partition in self.group.partitions(&partitions) {
            for worker in self.workers.iter_mut().filter(|worker| worker.hears(&partition)) {
                worker.to_load.insert(partition.clone());
            }
        }
        self.assigned = Some(Assigned { partitions, since: Instant::now() });
    }

    /// What is buffered of the partitions is void at once; the answer waits for the batches that touch them.
    pub(super) fn on_revoked(&mut self, partitions: TopicPartitionList) {
        for partition in self.group.partitions(&partitions) {
            self.positions.remove(&partition);
            self.seeks.remove(&partition);
            self.ahead.remove(&partition);
            self.workers.iter_mut().for_each(|worker| worker.forget(&partition));
        }
        self.workers.iter_mut().for_each(Worker::trim_waiting);
        self.revoked = Some(partitions);
    }

    pub(super) fn answer_revocation(&mut self) -> Result<(), ConsumerError> {
        let Some(list) = &self.revoked else { return Ok(()) };
        let partitions = self.group.partitions(list);
        if self.workers.iter().any(|worker| worker.is_running_in(&partitions)) {
            return Ok(());
        }
        let Some(list) = self.revoked.take() else { return Ok(()) };
        self.tell_kafka();
        for worker in &mut self.workers {
            worker.committed.retain(|partition, _| !partitions.contains(partition));
        }
        tracing::info!(consumer = %self.name, partitions = list.count(), "partitions given up");
        self.group.answer(&Rebalance::Revoke(list)).map_err(|cause| self.kafka(cause))
    }

    /// Tells Kafka of the partitions in which a checkpoint was committed, those in which a handler has none known left out.
    pub(super) fn tell_kafka(&mut self) {
        let mut told = Vec::new();
        for partition in std::mem::take(&mut self.untold) {
            let hearing = self.workers.iter().filter(|worker| worker.hears(&partition));
            let offsets: Option<Vec<(&str, i64)>> = hearing
                .map(|worker| Some((worker.options.name.as_str(), *worker.committed.get(&partition)?)))
                .collect();
            let Some(offsets) = offsets else {
                // A handler is being placed there: Kafka is told when its checkpoint is known.
                if self.positions.next_offset(&partition).is_some() {
                    self.untold.insert(partition);
                }
                continue;
            };
            let Some(offset) = offsets.iter().map(|(_, offset)| *offset).min() else { continue };
            told.push(Told { partition, offset, metadata: metadata_of(offsets.into_iter()) });
        }
        self.group.commit(&told);
    }

    /// The handlers read their checkpoints, where any are wanted.
    pub(super) fn start_loading(&mut self) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.to_load.is_empty() || worker.loading.is_some() {
                continue;
            }
            let partitions = std::mem::take(&mut worker.to_load);
            worker.loading = Some(partitions.clone());
            let (name, handler, delay) =
                (worker.options.name.clone(), worker.handler.clone(), worker.loading_delay);
            let told =
                worker.options.never_back.then(|| self.group.told(name, partitions.into_iter().collect()));
            let task = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // Kafka first: whoever had a partition before may still commit a checkpoint, and tell Kafka of it.
                let told = match told {
                    Some(told) => told.await,
                    None => Ok(Vec::new()),
                };
                Ended::Loaded(match told {
                    Ok(told) => handler.checkpoints().await.and_then(|checkpoints| {
                        check_not_gone_back(&told, &checkpoints)?;
                        Ok(checkpoints)
                    }),
                    Err(error) => {
                        Err(HandlerError::Retry(format!("Kafka does not say where we were: {error}")))
                    }
                })
            });
            self.begin(index, Some(task));
        }
    }

    pub(super) fn on_loaded(
        &mut self,
        index: usize,
        loaded: Result<Vec<Checkpoint>, HandlerError>,
    ) -> Result<(), ConsumerError> {
        let worker = &mut self.workers[index];
        let partitions = worker.loading.take().unwrap_or_default();
        let checkpoints = match loaded {
            Ok(checkpoints) => checkpoints,
            Err(error) => {
                let error = worker.not_final(error)?;
                worker.loading_delay = worker.loading_backoff.next();
                tracing::warn!(consumer = %worker.options.name, %error, "checkpoints to be read again");
                worker.trouble = Some(error.to_string());
                worker.to_load.extend(partitions);
                return Ok(());
            }
        };
        worker.loading_delay = Duration::ZERO;
        worker.loading_backoff.reset();
        for partition in partitions {
            let checkpoint =
                checkpoints.iter().find(|at| *at.topic == *partition.0 && at.partition == partition.1);
            let next_offset = worker.intake.place(partition.clone(), checkpoint);
            worker.committed.insert(partition.clone(), next_offset);
            self.to_join.push(partition);
        }
        Ok(())
    }

    /// Answers an assignment when the handlers are placed in it, or some of them are and the others are late.
    pub(super) fn answer_assignment(&mut self) -> Result<(), ConsumerError> {
        let Some(Assigned { partitions: list, since }) = &self.assigned else { return Ok(()) };
        let partitions = self.group.partitions(list);
        let places = |partition: &Partition| {
            let hearing = self.workers.iter().filter(|worker| worker.hears(partition));
            hearing.map(|worker| worker.intake.next_offset(partition)).collect::<Vec<_>>()
        };
        let all_are_placed = partitions.iter().all(|partition| places(partition).iter().all(Option::is_some));
        let is_late = since.elapsed() >= LATE_AFTER;
        let any_is_placed =
            || partitions.iter().any(|partition| places(partition).iter().any(Option::is_some));
        let is_ready = all_are_placed || (is_late && any_is_placed());
        if !is_ready {
            return Ok(());
        }
        let Some(Assigned { partitions: mut list, .. }) = self.assigned.take() else { return Ok(()) };
        for partition in &partitions {
            let placed: Vec<i64> = places(partition).into_iter().flatten().collect();
            // Where nobody is placed nothing is wanted; whoever comes seeks.
            let start = start_of(&placed);
            list.set_partition_offset(&partition.0, partition.1, start.map_or(Offset::End, Offset::Offset))
                .map_err(|cause| self.kafka(cause))?;
            if let Some(start) = start {
                self.positions.set(partition.clone(), start);
            }
        }
        tracing::info!(consumer = %self.name, partitions = list.count(), "partitions assigned");
        self.group.answer(&Rebalance::Assign(list)).map_err(|cause| self.kafka(cause))?;
        self.to_join.extend(partitions);
        self.workers.iter_mut().for_each(Worker::forget_trouble_of_placing);
        // A partition that was given up while it was paused is still paused in librdkafka when it comes back.
        let settled = if self.paused { self.group.pause() } else { self.group.resume() };
        settled.map_err(|cause| self.kafka(cause))
    }

    /// Handlers were placed in these partitions: where the reader stands in them, and who goes on with it.
    pub(super) fn join_reader(&mut self) {
        if self.to_join.is_empty() {
            return;
        }
        for partition in std::mem::take(&mut self.to_join) {
            if self.is_unanswered(&partition) {
                continue; // it comes again with the answer
            }
            let placed = self.next_offsets(&partition);
            let target = match self.positions.next_offset(&partition) {
                Some(reader) => jump(reader, &placed),
                None => start_of(&placed),
            };
            match target {
                Some(offset) => self.read_from(partition, offset),
                None => self.sort_out(&partition),
            }
        }
        self.workers.iter_mut().for_each(Worker::forget_trouble_of_placing);
    }

    fn is_unanswered(&self, partition: &Partition) -> bool {
        let assigned = self.assigned.as_ref();
        assigned.is_some_and(|it| it.partitions.find_partition(&partition.0, partition.1).is_some())
    }

    pub(super) fn next_offsets(&self, partition: &Partition) -> Vec<i64> {
        self.workers.iter().filter_map(|worker| worker.intake.next_offset(partition)).collect()
    }
}

/// Kafka is told after the checkpoint was committed: a checkpoint that lies before what it was told has gone back.
fn check_not_gone_back(told: &[(Partition, i64)], checkpoints: &[Checkpoint]) -> Result<(), HandlerError> {
    for ((topic, partition), told) in told {
        let checkpoint = checkpoints.iter().find(|at| *at.topic == **topic && at.partition == *partition);
        let next_offset = checkpoint.map_or(0, |at| at.next_offset);
        if next_offset < *told {
            return Err(HandlerError::Restored(format!(
                "its checkpoint in {topic}/{partition} is at offset {next_offset} and was at {told} before: the database \
                 was restored to an older state"
            )));
        }
    }
    Ok(())
}
