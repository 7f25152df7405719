//! A topic, read by this crate's own reader: each partition by itself, from its first record to the end that it had when the
//! topic was opened. The reader joins no consumer group and commits no offset.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use crate::Error;
use crate::read::connections::Connections;
use event_log::ContextName;

/// The most that is fetched ahead for each partition of the topic that is being read.
const READ_AHEAD_RECORDS: &str = "2000";
const READ_AHEAD_KIB: &str = "2048";
/// A broker that returns nothing for so long counts as down.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A topic of a context, and the first and last offset of each of its partitions when it was opened.
pub struct Topic {
    pub name: String,
    consumer: Arc<BaseConsumer>,
    pub bounds: Vec<Bounds>,
}

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub begin: i64,
    pub end: i64,
}

/// A record.
#[derive(Debug)]
pub struct Record {
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The attributes without which a consumer takes a record for no event.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only their presence counts")]
struct Envelope {
    specversion: String,
    id: uuid::Uuid,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    time: chrono::DateTime<chrono::Utc>,
    position: i64,
    version: i32,
    correlationid: uuid::Uuid,
    actor: String,
    data: serde::de::IgnoredAny,
}

impl Topic {
    /// Asks for the bounds of each partition; blocks. Records that are appended later are not read.
    ///
    /// # Errors
    /// [`Error::Kafka`].
    pub fn open(connections: &Connections, context: ContextName) -> Result<Self, Error> {
        let name = connections.topic(context);
        let failed = |cause| Error::kafka(&name, cause);
        let group = format!("{}verify", connections.topic_prefix);
        let client = connections.kafka_client(&[
            ("group.id", &group), // librdkafka requires a group for assign; nothing joins it or commits
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("allow.auto.create.topics", "false"),
            ("check.crcs", "true"),
            ("queued.min.messages", READ_AHEAD_RECORDS),
            ("queued.max.messages.kbytes", READ_AHEAD_KIB),
            ("fetch.wait.max.ms", "50"),
            // How long a partition that has reached these limits pauses; the default is a second.
            ("fetch.queue.backoff.ms", "10"),
        ]);
        let consumer: Arc<BaseConsumer> = Arc::new(client.create().map_err(failed)?);
        let mut bounds = Vec::new();
        for partition in 0..connections.topic_partitions {
            let (begin, end) = consumer.fetch_watermarks(&name, partition, ANSWER_MAX).map_err(failed)?;
            bounds.push(Bounds { begin, end });
        }
        Ok(Self { name, consumer, bounds })
    }

    /// Begins to read.
    ///
    /// # Errors
    /// [`Error::Kafka`].
    pub fn partitions(&self) -> Result<Vec<Partition>, Error> {
        let failed = |cause| Error::kafka(&self.name, cause);
        let mut assignment = TopicPartitionList::new();
        for (partition, bounds) in (0..).zip(&self.bounds) {
            let begin = Offset::Offset(bounds.begin);
            assignment.add_partition_offset(&self.name, partition, begin).map_err(failed)?;
        }
        let queues = (0..).zip(&self.bounds).map(|(partition, _)| {
            let queue = self.consumer.split_partition_queue(&self.name, partition);
            queue.ok_or_else(|| failed(KafkaError::Canceled))
        });
        let queues = queues.collect::<Result<Vec<_>, Error>>()?;
        self.consumer.assign(&assignment).map_err(failed)?;
        let partition = |(queue, bounds): (_, &Bounds)| Partition {
            topic: self.name.clone(),
            consumer: Arc::clone(&self.consumer),
            queue,
            next: bounds.begin,
            end: bounds.end,
        };
        Ok(queues.into_iter().zip(&self.bounds).map(partition).collect())
    }
}

/// One partition's records.
pub struct Partition {
    topic: String,
    consumer: Arc<BaseConsumer>,
    queue: PartitionQueue<DefaultConsumerContext>,
    next: i64,
    end: i64,
}

impl Partition {
    /// The next record; none at the end. Blocks.
    ///
    /// # Errors
    /// [`Error::Kafka`].
    pub fn read(&mut self) -> Result<Option<Record>, Error> {
        let asked = Instant::now();
        while self.next < self.end {
            match self.queue.poll(POLL) {
                Some(Ok(message)) => {
                    if message.offset() >= self.end {
                        self.next = self.end;
                        return Ok(None);
                    }
                    self.next = message.offset() + 1;
                    return Ok(Some(Record {
                        offset: message.offset(),
                        key: message.key().unwrap_or_default().to_vec(),
                        value: message.payload().unwrap_or_default().to_vec(),
                    }));
                }
                // Between the last record and the end there may be offsets without a record.
                Some(Err(KafkaError::PartitionEOF(_))) => self.next = self.end,
                Some(Err(cause)) if asked.elapsed() > SILENCE_MAX => {
                    return Err(Error::kafka(&self.topic, cause));
                }
                None if asked.elapsed() > SILENCE_MAX => {
                    return Err(Error::Silent { topic: self.topic.clone(), offset: self.next });
                }
                // librdkafka retries by itself.
                Some(Err(_)) | None => {}
            }
            // Only the client's own errors arrive here; it recovers from them by itself.
            let _ = self.consumer.poll(Duration::ZERO);
        }
        Ok(None)
    }
}

impl Record {
    /// The position that consumers read in it; none when it is not an event.
    pub fn position(&self) -> Option<i64> {
        let envelope: Envelope = serde_json::from_slice(&self.value).ok()?;
        (envelope.position >= 1 && envelope.version >= 1).then_some(envelope.position)
    }
}
