//! State that librdkafka's callbacks store for the loop: an unanswered rebalance, the ends of partitions, the connection.
//!
//! No callback waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use tokio::sync::Notify;

use crate::config::log_line;

/// A change of the assigned partitions.
#[derive(Clone)]
pub(super) enum Rebalance {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

/// Executes the assignment or revocation that librdkafka waits for.
pub(super) fn answer(consumer: &impl Consumer<Membership>, rebalance: &Rebalance) -> KafkaResult<()> {
    match rebalance {
        Rebalance::Assign(partitions) => consumer.incremental_assign(partitions),
        Rebalance::Revoke(partitions) => consumer.incremental_unassign(partitions),
    }
}

/// The state that librdkafka's callbacks store.
#[derive(Default)]
pub(super) struct Membership {
    unanswered: Mutex<Option<Rebalance>>,
    pub changed: Notify,
    pub closing: AtomicBool,
    status: Mutex<Status>,
}

#[derive(Default)]
struct Status {
    connected: bool,
    high_watermarks: HashMap<String, HashMap<i32, i64>>,
}

impl Membership {
    /// The end of the partition in Kafka's last response; none before the first fetch.
    pub fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        self.status().high_watermarks.get(topic)?.get(&partition).copied()
    }

    /// Whether any broker is connected, by librdkafka's last statistics.
    pub fn is_connected(&self) -> bool {
        self.status().connected
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rebalance that waits for an answer. Never hold the guard across an await.
    pub fn unanswered(&self) -> MutexGuard<'_, Option<Rebalance>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "consumer");
    }

    fn stats(&self, statistics: Statistics) {
        let mut status = self.status();
        status.connected = statistics.brokers.values().any(|broker| broker.state == "UP");
        for (topic, of_topic) in statistics.topics {
            let highs = of_topic
                .partitions
                .into_iter()
                .filter(|(_, partition)| partition.hi_offset >= 0)
                .map(|(number, partition)| (number, partition.hi_offset));
            status.high_watermarks.entry(topic).or_default().extend(highs);
        }
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let rebalance = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(partitions.clone()),
            _ => Rebalance::Revoke(partitions.clone()),
        };
        if self.closing.load(Ordering::SeqCst) {
            if let Err(error) = answer(consumer, &rebalance) {
                tracing::debug!(%error, "rebalance not answered while closing");
            }
        } else {
            *self.unanswered() = Some(rebalance);
            self.changed.notify_one();
        }
    }
}
