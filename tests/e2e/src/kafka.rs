//! The topics of any cluster: their ends, their last records, and records put on them as only a vandal would.
//!
//! Never: a panic where Kafka is away; a harness that kills it must go on. Read next: `chaos/scene.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const WAIT: Duration = Duration::from_secs(60);

/// A record as it lies on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The last records of each partition, at most `last_max` of each, in the order of each partition. Blocks.
///
/// # Errors
/// When Kafka does not answer.
pub fn read_records(brokers: &str, topic: &str, last_max: usize) -> Result<Vec<RawRecord>, String> {
    let failed = |error: rdkafka::error::KafkaError| format!("{topic}: {error}");
    let consumer = reader(brokers)?;
    let mut records = Vec::new();
    for (partition, (low, end)) in watermarks(&consumer, topic)? {
        let mut next = low.max(end.saturating_sub(i64::try_from(last_max).unwrap_or(i64::MAX)));
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(next)).map_err(failed)?;
        consumer.assign(&assignment).map_err(failed)?;
        while next < end {
            let record = consumer.poll(WAIT).ok_or_else(|| format!("{topic}: no record before its end"))?;
            let record = record.map_err(failed)?;
            next = record.offset() + 1;
            records.push(RawRecord {
                partition,
                offset: record.offset(),
                key: record.key().unwrap_or_default().to_vec(),
                value: record.payload().unwrap_or_default().to_vec(),
            });
        }
    }
    Ok(records)
}

/// The offset that the next record of each partition will have. Blocks.
///
/// # Errors
/// When Kafka does not answer.
pub fn ends(brokers: &str, topic: &str) -> Result<Vec<(i32, i64)>, String> {
    let all = watermarks(&reader(brokers)?, topic)?;
    Ok(all.into_iter().map(|(partition, (_, end))| (partition, end)).collect())
}

/// The brokers that lead the partitions of a topic. Blocks.
///
/// # Errors
/// When Kafka does not answer.
pub fn leaders(brokers: &str, topic: &str) -> Result<BTreeSet<i32>, String> {
    let metadata = reader(brokers)?.fetch_metadata(Some(topic), WAIT).map_err(|error| error.to_string())?;
    let found = metadata.topics().first().ok_or_else(|| format!("no topic {topic}"))?;
    Ok(found.partitions().iter().map(|partition| partition.leader()).collect())
}

fn reader(brokers: &str) -> Result<BaseConsumer, String> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", testkit::unique("e2e"))
        .set("enable.auto.commit", "false")
        .create()
        .map_err(|error| error.to_string())
}

type Watermarks = (i32, (i64, i64));

fn watermarks(consumer: &BaseConsumer, topic: &str) -> Result<Vec<Watermarks>, String> {
    let failed = |error: rdkafka::error::KafkaError| format!("{topic}: {error}");
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).map_err(failed)?;
    let found = metadata.topics().first().ok_or_else(|| format!("no topic {topic}"))?;
    if found.partitions().is_empty() {
        return Err(format!("{topic} has no partition"));
    }
    let of =
        |partition: i32| Ok((partition, consumer.fetch_watermarks(topic, partition, WAIT).map_err(failed)?));
    found.partitions().iter().map(|partition| of(partition.id())).collect()
}

/// Kafka forgets a group of consumers, and with it how far they said that they were.
///
/// # Errors
/// When Kafka does not answer, or the group still has members.
pub async fn forget_group(brokers: &str, group: &str) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(WAIT));
    let told = admin.delete_groups(&[group], &options).await.map_err(|error| error.to_string())?;
    told.into_iter().try_for_each(|group| group.map(|_| ()).map_err(|(name, code)| format!("{name}: {code}")))
}

/// Puts records on a topic as they are, past the relay, each on its partition. Blocks until Kafka has them.
///
/// # Errors
/// When Kafka does not take them.
pub fn produce(brokers: &str, topic: &str, records: &[RawRecord]) -> Result<(), String> {
    let failed = |error: rdkafka::error::KafkaError| format!("{topic}: {error}");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("acks", "all").create().map_err(failed)?;
    for RawRecord { partition, key, value, .. } in records {
        let record = BaseRecord::to(topic).partition(*partition).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| failed(error))?;
    }
    producer.flush(WAIT).map_err(failed)
}
