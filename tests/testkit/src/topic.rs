//! A topic, read as any consumer would.
//!
//! Never: a committed offset. Read next: `tests/e2e/tests/story.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Reading a topic takes no longer, or fails the test.
const READ_MAX: Duration = Duration::from_secs(120);

/// A record as it lies on a topic.
#[derive(Debug, Clone)]
pub struct TopicRecord {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub value: Vec<u8>,
}

/// Every record of a topic up to the ends of its partitions, in the order of each partition.
///
/// # Panics
/// When the topic cannot be read.
pub async fn read_topic(topic: &str) -> Vec<TopicRecord> {
    read_topic_at(&crate::kafka_brokers(), topic).await
}

/// The same on other brokers than those of `make test`.
///
/// # Panics
/// When the topic cannot be read.
pub async fn read_topic_at(brokers: &str, topic: &str) -> Vec<TopicRecord> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read(&brokers, &topic)).await.expect("the topic can be read")
}

fn read(brokers: &str, topic: &str) -> Vec<TopicRecord> {
    let started = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", crate::unique("reader"))
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error") // nothing is passed over in silence
        .create()
        .expect("the consumer's settings are valid");
    let metadata = consumer.fetch_metadata(Some(topic), READ_MAX).expect("Kafka answers");
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        all.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("an offset is an offset");
    }
    consumer.assign(&all).expect("partitions can be assigned");
    let mut records = Vec::new();
    // Each partition by its number: one whose fetching begins anew tells its end once more.
    let mut unread: BTreeSet<i32> = all.elements().iter().map(TopicPartitionListElem::partition).collect();
    while !unread.is_empty() {
        assert!(started.elapsed() < READ_MAX, "{topic} was not read within {READ_MAX:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Some(Err(_)) | None => {}
        }
    }
    records
}

fn record(message: &impl Message) -> TopicRecord {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers = message
        .headers()
        .map(|headers| headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect());
    TopicRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key()),
        headers: headers.unwrap_or_default(),
        value: message.payload().unwrap_or_default().to_vec(),
    }
}
