//! The topics, read as any consumer would. Read next: `e2e/tests/story.rs`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

/// Every record of a topic up to its end now: (partition, key, value), in the order of each partition.
///
/// # Panics
/// When the topic cannot be read, or a value is not JSON.
pub fn read_topic(topic: &str) -> Vec<(i32, String, Value)> {
    let wait = Duration::from_secs(20);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", testkit::kafka_brokers())
        .set("group.id", testkit::unique("e2e"))
        .set("enable.auto.commit", "false")
        .create()
        .expect("the consumer's settings are valid");
    let metadata = consumer.fetch_metadata(Some(topic), wait).expect("Kafka answers");
    let mut records = Vec::new();
    for partition in metadata.topics()[0].partitions() {
        let partition = partition.id();
        let (mut next, end) = consumer.fetch_watermarks(topic, partition, wait).expect("Kafka answers");
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(next))
            .expect("an offset is an offset");
        consumer.assign(&assignment).expect("a partition can be assigned");
        while next < end {
            let record =
                consumer.poll(wait).expect("a record before the end").expect("no error while reading");
            next = record.offset() + 1;
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            let value =
                serde_json::from_slice(record.payload().unwrap_or_default()).expect("a record is JSON");
            records.push((partition, key, value));
        }
    }
    records
}
