//! A consumer for one handler that has fallen behind: it reads what the handler has missed, and nobody else waits for that.
//!
//! It is given its partitions and their offsets. Never: a group joined, or an offset committed. Read next: `behind.rs`.

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

/// Nobody waits for it in a group.
const POLL_INTERVAL_MAX_MS: &str = "86400000";

pub(super) struct CatchUp {
    /// Some until dropped.
    consumer: Option<StreamConsumer<Logged>>,
    topics: Arc<Topics>,
    positions: Positions,
}

impl CatchUp {
    /// Reads nothing yet.
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

    /// Reads these too, from these offsets.
    pub fn add(&mut self, partitions: impl IntoIterator<Item = (Partition, i64)>) -> KafkaResult<()> {
        for (partition, next_offset) in partitions {
            self.positions.set(partition, next_offset);
        }
        self.read_again()
    }

    /// Reads every partition from its next offset on.
    pub fn read_again(&self) -> KafkaResult<()> {
        let mut assignment = TopicPartitionList::new();
        for ((topic, partition), next_offset) in self.positions.iter() {
            assignment.add_partition_offset(topic, *partition, Offset::Offset(next_offset))?;
        }
        self.consumer().assign(&assignment)?;
        // A partition that has left before is still paused in librdkafka when it comes back.
        self.consumer().resume(&assignment)
    }

    /// Reads the partition no longer.
    pub fn leave(&mut self, partition: &Partition) {
        if !self.reads(partition) {
            return;
        }
        self.positions.remove(partition);
        let mut left = TopicPartitionList::new();
        left.add_partition(&partition.0, partition.1);
        if let Err(error) = self.consumer().pause(&left) {
            tracing::debug!(%error, "what a consumer no longer needs is still fetched");
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

    /// Waits for what comes. May be dropped at any time.
    pub async fn receive(&self) -> Received {
        received(&self.topics, self.consumer().recv().await)
    }

    /// What is there already.
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
