//! Publishes records in the order in which they are given, or stops.
//!
//! The order depends on five facts. One owner enqueues (`&mut self`). The producer is idempotent. A record never times
//! out. `enable.gapless.guarantee` stops the producer at the first record that cannot be delivered, before a later one
//! is. And the first record of each partition is sent alone. So the publisher leaves in each partition a prefix of the
//! records that it got for it: no gap, no swap. Two publishers at once (one of them a zombie) can cause duplicates, but
//! each of them sends a gapless series, so a record's first occurrence still comes after the first occurrence of the
//! one before.
//!
//! Why the first record of each partition is sent alone: a broker that has no state of a producer accepts any first
//! sequence number. If it refused the first request, because it was not the partition's leader yet, and accepted the
//! second, which was already in flight, librdkafka would conclude that the first one had arrived as well
//! (`rd_kafka_dr_implicit_ack`), and an acknowledged record would be lost.
//!
//! Never: `FutureProducer` from several tasks, a retry with the next record, `enqueue` after an error.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use event_log::{TOPIC_PARTITIONS, partition_of};
use fault::{crash_point, mutant};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::BusConfig;
use crate::config::log_line;

/// The most records, and KiB of records, in the producer at a time.
const QUEUE_RECORDS_MAX: &str = "50000";
const QUEUE_KIB_MAX: &str = "65536";

/// A record to publish.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The stream, which determines the partition.
    pub key: String,
    pub headers: Vec<(&'static str, String)>,
    pub value: Vec<u8>,
}

/// The reason why records were not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    #[error("the producer cannot be created: {cause}")]
    Configuration { cause: KafkaError },
    #[error("a record was not delivered: {cause}")]
    NotDelivered { cause: KafkaError },
    #[error("the publisher was interrupted within a batch; create another one and start again")]
    Interrupted,
}

/// Publishes to one topic. After an error, or after a cancelled call of `enqueue`, it refuses everything: create
/// another one and start again after the last acknowledged record. Dropping it purges the unsent records.
pub struct OrderedPublisher {
    topic: String,
    /// Some until dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
    shared: Arc<Shared>,
    /// The partitions in which a record of this producer is acknowledged: the broker expects the next one.
    opened: HashSet<i32>,
    enqueueing: bool,
}

/// Resolves when all records of one `enqueue` are acknowledged. Clones resolve together.
#[derive(Clone)]
#[must_use = "records are only published when they are acknowledged"]
pub struct Receipt {
    batch: Arc<InFlight>,
    shared: Arc<Shared>,
}

impl OrderedPublisher {
    /// [`PublishError::Configuration`]: the user must correct the properties.
    pub fn new(config: &BusConfig, topic: String) -> Result<Self, PublishError> {
        let gapless = if mutant!("publisher::next_after_an_error") { "false" } else { "true" };
        let client = config.client(
            &[
                // Records that arrive while a request is in flight share the next request; a pause would cost more than
                // it gathers.
                ("linger.ms", "0"),
                ("queue.buffering.max.messages", QUEUE_RECORDS_MAX),
                ("queue.buffering.max.kbytes", QUEUE_KIB_MAX),
                ("retry.backoff.ms", "20"),
            ],
            &[
                ("acks", "all"),
                ("enable.idempotence", "true"),
                ("enable.gapless.guarantee", gapless),
                ("message.timeout.ms", "0"),
                ("partitioner", "murmur2_random"),
            ],
        );
        let shared = Arc::new(Shared::default());
        let producer = client
            .create_with_context(Deliveries { shared: Arc::clone(&shared) })
            .map_err(|cause| PublishError::Configuration { cause })?;
        Ok(Self { topic, producer: Some(producer), shared, opened: HashSet::new(), enqueueing: false })
    }

    /// Puts the records into the producer's queue in order. Waits while the queue is full, and for the acknowledgement
    /// of the first record of each partition. Several calls may be made before their receipts are awaited, so that the
    /// next records are in flight before the last are acknowledged.
    ///
    /// [`PublishError`]: this publisher can publish nothing more.
    pub async fn enqueue(&mut self, records: &[Outgoing]) -> Result<Receipt, PublishError> {
        if self.enqueueing {
            return Err(PublishError::Interrupted);
        }
        self.enqueueing = true;
        let receipt = self.receipt_for(records.len());
        for (nth, record) in records.iter().enumerate() {
            if nth > 0 {
                crash_point!("publisher::between_records");
            }
            let partition = partition_of(&record.key, TOPIC_PARTITIONS);
            if self.opened.contains(&partition) {
                self.enqueue_one(record, &receipt.batch).await?;
            } else {
                let alone = self.receipt_for(1);
                self.enqueue_one(record, &alone.batch).await?;
                alone.acknowledged().await?;
                self.opened.insert(partition);
                receipt.batch.outstanding.fetch_sub(1, Ordering::AcqRel); // the receipt is not returned yet
            }
        }
        self.enqueueing = false;
        Ok(receipt)
    }

    /// Publishes and waits until everything is acknowledged.
    ///
    /// [`PublishError`]: a prefix of the records may still be on the topic.
    pub async fn publish(&mut self, records: &[Outgoing]) -> Result<(), PublishError> {
        self.enqueue(records).await?.acknowledged().await
    }

    fn receipt_for(&self, records: usize) -> Receipt {
        let batch = InFlight { outstanding: AtomicUsize::new(records), none_left: Notify::new() };
        Receipt { batch: Arc::new(batch), shared: Arc::clone(&self.shared) }
    }

    async fn enqueue_one(&self, record: &Outgoing, batch: &Arc<InFlight>) -> Result<(), PublishError> {
        let producer = self.producer.as_ref().expect("only drop takes the producer");
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
        let mut outgoing = BaseRecord::with_opaque_to(&self.topic, Arc::clone(batch))
            .key(&record.key)
            .payload(&record.value)
            .headers(headers);
        loop {
            if let Some(error) = self.shared.failure() {
                return Err(error);
            }
            match producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    outgoing = refused;
                    tokio::select! {
                        () = self.shared.delivered.notified() => {}
                        () = self.shared.stopped.cancelled() => {}
                    }
                }
                Err((cause, _)) => {
                    self.shared.fail(&cause);
                    return Err(PublishError::NotDelivered { cause });
                }
            }
        }
    }
}

impl Drop for OrderedPublisher {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.purge(PurgeConfig::default().queue().inflight());
            // This joins librdkafka's threads, which may block for a second: not on an async worker.
            std::thread::spawn(move || drop(producer));
        }
    }
}

impl Receipt {
    pub fn is_acknowledged(&self) -> bool {
        self.batch.outstanding.load(Ordering::Acquire) == 0
    }

    /// # Errors
    /// [`PublishError::NotDelivered`] as soon as any record of the publisher, of this batch or not, has failed.
    pub async fn acknowledged(self) -> Result<(), PublishError> {
        loop {
            let none_left = self.batch.none_left.notified();
            if self.is_acknowledged() {
                return Ok(());
            }
            if let Some(error) = self.shared.failure() {
                return Err(error);
            }
            tokio::select! {
                () = none_left => {}
                () = self.shared.stopped.cancelled() => {}
            }
        }
    }
}

/// The records of one `enqueue`.
struct InFlight {
    outstanding: AtomicUsize,
    none_left: Notify,
}

#[derive(Default)]
struct Shared {
    /// The first failure; later ones are consequences of it.
    failure: OnceLock<KafkaError>,
    stopped: CancellationToken,
    delivered: Notify,
}

impl Shared {
    fn fail(&self, cause: &KafkaError) {
        self.failure.get_or_init(|| cause.clone());
        self.stopped.cancel();
    }

    fn failure(&self) -> Option<PublishError> {
        self.failure.get().map(|cause| PublishError::NotDelivered { cause: cause.clone() })
    }
}

struct Deliveries {
    shared: Arc<Shared>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<InFlight>) {
        match result {
            // A failed record stays outstanding: its receipt resolves by the failure.
            Err((cause, _)) if !mutant!("publisher::next_after_an_error") => self.shared.fail(cause),
            Ok(_) | Err(_) => {
                if batch.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
                    batch.none_left.notify_waiters();
                }
                self.shared.delivered.notify_one();
            }
        }
    }
}
