//! How the reader answers assignments and revocations, and how handlers join the partitions.
//!
//! A partition is read once the handlers know their checkpoints in it. A handler that cannot read its checkpoints delays the others
//! only briefly; it joins later.

use event_log::Checkpoint;
use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::Offset;

use super::Reader;
use crate::HandlerError;
use crate::consumer::ConsumerError;
use crate::consumer::assignment::check_not_rewound;
use crate::consumer::membership::Rebalance;
use crate::consumer::positions::{Partition, jump, start_of};
use crate::consumer::worker::{Ended, Worker};

impl Reader {
    pub(super) fn on_assigned(&mut self, partitions: TopicPartitionList) {
        for partition in self.group.partitions(&partitions) {
            for worker in self.workers.iter_mut().filter(|worker| worker.subscribes_to(&partition)) {
                worker.loads.request(partition.clone());
            }
        }
        self.assignment.assign(partitions);
    }

    /// Drops the buffered records of the partitions at once. The answer waits for the batches that touch them.
    pub(super) fn on_revoked(&mut self, partitions: TopicPartitionList) {
        for partition in self.group.partitions(&partitions) {
            self.positions.remove(&partition);
            self.seeks.remove(&partition);
            self.ahead.remove(&partition);
            self.workers.iter_mut().for_each(|worker| worker.forget(&partition));
        }
        self.workers.iter_mut().for_each(Worker::trim_retry);
        self.assignment.revoke(partitions);
    }

    pub(super) fn answer_revocation(&mut self) -> Result<(), ConsumerError> {
        let Some(list) = self.assignment.revoked() else { return Ok(()) };
        let partitions = self.group.partitions(list);
        if self.workers.iter().any(|worker| worker.in_flight.is_handling_any_of(&partitions)) {
            return Ok(());
        }
        let Some(list) = self.assignment.take_revoked() else { return Ok(()) };
        self.commit_offsets();
        self.commits.revoke(&partitions);
        tracing::info!(consumer = %self.name, partitions = list.count(), "partitions revoked");
        self.group.answer(&Rebalance::Revoke(list)).map_err(|cause| self.kafka(cause))
    }

    pub(super) fn commit_offsets(&mut self) {
        self.group.commit(&self.commits.take(&self.workers, &self.positions));
    }

    /// Lets the handlers read the checkpoints that they want.
    pub(super) fn start_loading(&mut self) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            let Some((partitions, delay)) = worker.loads.start() else { continue };
            let (name, handler) = (worker.options.name.clone(), worker.handler.clone());
            let committed =
                worker.options.detect_rewind.then(|| self.group.committed_offsets(name, partitions));
            let task = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                Ended::Loaded(load(committed, || handler.checkpoints()).await)
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
        let checkpoints = match loaded {
            Ok(checkpoints) => checkpoints,
            Err(error) => return worker.on_load_failed(error),
        };
        for partition in worker.loads.succeeded() {
            let checkpoint =
                checkpoints.iter().find(|at| *at.topic == *partition.0 && at.partition == partition.1);
            let next_offset = worker.buffer.assign(partition.clone(), checkpoint);
            self.commits.loaded(index, partition.clone(), next_offset);
            self.assignment.join([partition]);
        }
        Ok(())
    }

    /// Answers an assignment once all handlers have their checkpoints in it, or some have and the others are late.
    pub(super) fn answer_assignment(&mut self) -> Result<(), ConsumerError> {
        let Some(list) = self.assignment.assigned() else { return Ok(()) };
        let partitions = self.group.partitions(list);
        let offsets = |partition: &Partition| {
            let subscribers = self.workers.iter().filter(|worker| worker.subscribes_to(partition));
            subscribers.map(|worker| worker.buffer.next_offset(partition)).collect::<Vec<_>>()
        };
        let all_are_known = partitions.iter().all(|partition| offsets(partition).iter().all(Option::is_some));
        let any_is_known =
            || partitions.iter().any(|partition| offsets(partition).iter().any(Option::is_some));
        let is_ready = all_are_known || (self.assignment.is_late() && any_is_known());
        if !is_ready {
            return Ok(());
        }
        let starts: Vec<(Partition, Option<i64>)> = partitions
            .iter()
            .map(|partition| {
                let known: Vec<i64> = offsets(partition).into_iter().flatten().collect();
                (partition.clone(), start_of(&known))
            })
            .collect();
        let Some(mut list) = self.assignment.take_assigned() else { return Ok(()) };
        for (partition, start) in starts {
            // Without a known checkpoint nothing is read; a handler that joins later seeks.
            list.set_partition_offset(&partition.0, partition.1, start.map_or(Offset::End, Offset::Offset))
                .map_err(|cause| self.kafka(cause))?;
            if let Some(start) = start {
                self.positions.set(partition, start);
            }
        }
        tracing::info!(consumer = %self.name, partitions = list.count(), "partitions assigned");
        self.group.answer(&Rebalance::Assign(list)).map_err(|cause| self.kafka(cause))?;
        self.assignment.join(partitions);
        self.workers.iter_mut().for_each(Worker::clear_assignment_trouble);
        // librdkafka keeps a partition paused that was revoked while paused and is assigned again.
        let settled = if self.paused { self.group.pause() } else { self.group.resume() };
        settled.map_err(|cause| self.kafka(cause))
    }

    /// Handlers have joined these partitions: the reader may have to move, and each handler is at it or behind it.
    pub(super) fn join_reader(&mut self) {
        let joined = self.assignment.take_joined();
        if joined.is_empty() {
            return;
        }
        for partition in joined {
            if self.assignment.is_unanswered(&partition) {
                continue; // the answer joins it again
            }
            let wanted = self.next_offsets(&partition);
            let target = match self.positions.next_offset(&partition) {
                Some(reader) => jump(reader, &wanted),
                None => start_of(&wanted),
            };
            match target {
                Some(offset) => self.read_from(partition, offset),
                None => self.update_behind(&partition),
            }
        }
        self.workers.iter_mut().for_each(Worker::clear_assignment_trouble);
    }

    pub(super) fn next_offsets(&self, partition: &Partition) -> Vec<i64> {
        self.workers.iter().filter_map(|worker| worker.buffer.next_offset(partition)).collect()
    }
}

/// Reads the checkpoints. Kafka's offsets are read first: a previous owner of a partition may still commit a checkpoint, and then its
/// offset.
async fn load<F>(
    committed: Option<impl Future<Output = rdkafka::error::KafkaResult<Vec<(Partition, i64)>>>>,
    checkpoints: impl FnOnce() -> F,
) -> Result<Vec<Checkpoint>, HandlerError>
where
    F: Future<Output = Result<Vec<Checkpoint>, HandlerError>>,
{
    let committed = match committed {
        Some(committed) => committed.await.map_err(|error| {
            HandlerError::Retry(format!("Kafka did not return our committed offsets: {error}"))
        })?,
        None => Vec::new(),
    };
    let checkpoints = checkpoints().await?;
    check_not_rewound(&committed, &checkpoints)?;
    Ok(checkpoints)
}
