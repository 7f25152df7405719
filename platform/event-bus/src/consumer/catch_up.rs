//! A consumer for one handler that has fallen behind: it reads the records that the handler has missed, and no other
//! handler waits for that.
//!
//! It gets its partitions and offsets from us. It joins no group and commits no offset.

use std::sync::Arc;

use futures::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::group::FETCHING;
use super::positions::{Arrival, Partition, Positions};
use super::received::{Received, Topics, received};
use crate::BusConfig;
use crate::config::Logged;

/// No group expels this consumer, so the limit is long.
const POLL_INTERVAL_MAX_MS: &str = "86400000";

pub(super) struct CatchUp {
    /// Some until dropped.
    consumer: Option<StreamConsumer<Logged>>,
    topics: Arc<Topics>,
    positions: Positions,
}

impl CatchUp {
    /// A consumer without partitions.
    pub fn new(config: &BusConfig, group: &str, topics: Arc<Topics>) -> KafkaResult<Self> {
        let group = config.group(&format!("{group}-catch-up")); // librdkafka wants one for assign
        let client = config.client(
            FETCHING,
            &[
                ("group.id", group.as_str()),
                ("max.poll.interval.ms", POLL_INTERVAL_MAX_MS),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "error"),
                ("isolation.level", "read_committed"),
            ],
        );
        let consumer = client.create_with_context(Logged)?;
        Ok(Self { consumer: Some(consumer), topics, positions: Positions::default() })
    }

    fn consumer(&self) -> &StreamConsumer<Logged> {
        self.consumer.as_ref().expect("only drop takes the consumer")
    }

    /// Reads these partitions too, from these offsets.
    pub fn add(&mut self, partitions: impl IntoIterator<Item = (Partition, i64)>) -> KafkaResult<()> {
        for (partition, next_offset) in partitions {
            self.positions.set(partition, next_offset);
        }
        self.read_again()
    }

    /// Reads every partition from its next offset.
    pub fn read_again(&self) -> KafkaResult<()> {
        let mut assignment = TopicPartitionList::new();
        for ((topic, partition), next_offset) in self.positions.iter() {
            assignment.add_partition_offset(topic, *partition, Offset::Offset(next_offset))?;
        }
        self.consumer().assign(&assignment)?;
        // librdkafka keeps a partition paused that was removed and is assigned again.
        self.consumer().resume(&assignment)
    }

    /// Stops to read the partition.
    pub fn leave(&mut self, partition: &Partition) {
        if !self.reads(partition) {
            return;
        }
        self.positions.remove(partition);
        let mut left = TopicPartitionList::new();
        left.add_partition(&partition.0, partition.1);
        if let Err(error) = self.consumer().pause(&left) {
            tracing::debug!(%error, "pause failed; the partition is still fetched");
        }
    }

    pub fn reads(&self, partition: &Partition) -> bool {
        self.positions.next_offset(partition).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub fn partitions(&self) -> Vec<Partition> {
        self.positions.iter().map(|(partition, _)| partition.clone()).collect()
    }

    pub fn arrived(&mut self, partition: &Partition, offset: i64) -> Arrival {
        self.positions.arrived(partition, offset)
    }

    /// Waits for a record. Cancel-safe.
    pub async fn receive(&self) -> Received {
        received(&self.topics, self.consumer().recv().await)
    }

    /// A record that has arrived already.
    pub fn receive_now(&self) -> Option<Received> {
        self.receive().now_or_never()
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        std::thread::spawn(move || drop(consumer)); // closing blocks
    }
}
