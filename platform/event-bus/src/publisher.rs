//! Publishes records in the order in which they are given, or stops.
//!
//! What the order rests on: one owner enqueues (`&mut self`), the producer is idempotent, a record never times out,
//! and `enable.gapless.guarantee` stops the producer at the first record that can't be delivered, before a later one
//! can be. So what a publisher leaves in a partition is always a beginning of what it was given for it: no gap, no
//! swap. Two publishers at once (one of them a zombie) can make duplicates, but each of them sends a gapless
//! series, so a record's first occurrence still comes after the first occurrence of the one before.
//!
//! The first record of each partition is sent alone. A broker that knows nothing yet of a producer accepts whatever sequence
//! number comes first. If it refused the first request, because it was not yet the partition's leader, and accepted the
//! second, which was under way already, librdkafka would conclude that the first one had arrived as well
//! (`rd_kafka_dr_implicit_ack`): a record acknowledged and lost.
//!
//! Never: `FutureProducer` from several tasks, a retry with the next record, `enqueue` after an error.
//! Read next: `platform/relay/src/lib.rs`.

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

/// What may lie in the producer at a time, in records and in KiB.
const QUEUE_RECORDS_MAX: &str = "50000";
const QUEUE_KIB_MAX: &str = "65536";

/// A record on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The stream: it chooses the partition.
    pub key: String,
    pub headers: Vec<(&'static str, String)>,
    pub value: Vec<u8>,
}

/// Why records were not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    #[error("the producer can't be made: {cause}")]
    Configuration { cause: KafkaError },
    #[error("a record was not delivered: {cause}")]
    NotDelivered { cause: KafkaError },
    #[error("the publisher was stopped in the middle of a batch; make another one and begin again")]
    Interrupted,
}

/// Publishes to one topic. After an error, or when a call of `enqueue` was dropped half-way, it refuses everything:
/// make another one and begin again at what was acknowledged. Dropping it purges what was not sent.
pub struct OrderedPublisher {
    topic: String,
    /// Some until dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
    shared: Arc<Shared>,
    /// The partitions in which a record of this producer is acknowledged: the broker expects the next one.
    opened: HashSet<i32>,
    in_the_middle: bool,
}

/// Resolves when all records of one `enqueue` are acknowledged; so does each of its clones.
#[derive(Clone)]
#[must_use = "records count only when they are acknowledged"]
pub struct Receipt {
    batch: Arc<InFlight>,
    shared: Arc<Shared>,
}

impl OrderedPublisher {
    /// # Errors
    /// [`PublishError::Configuration`]: the user must correct the properties.
    pub fn new(config: &BusConfig, topic: String) -> Result<Self, PublishError> {
        let gapless = if mutant!("publisher::next_after_an_error") { "false" } else { "true" };
        let client = config.client(
            &[
                // What comes while requests are under way goes along in the next; a pause costs more than it gathers.
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
        Ok(Self { topic, producer: Some(producer), shared, opened: HashSet::new(), in_the_middle: false })
    }

    /// Puts the records into the producer's queue, in order, waiting while it is full, and for the acknowledgement of the first
    /// record of each partition. The receipts of several calls may be waited for later, so that the next records are on
    /// their way before the last are acknowledged.
    ///
    /// # Errors
    /// [`PublishError`]: nothing more can be published here.
    pub async fn enqueue(&mut self, records: &[Outgoing]) -> Result<Receipt, PublishError> {
        if self.in_the_middle {
            return Err(PublishError::Interrupted);
        }
        self.in_the_middle = true;
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
                receipt.batch.outstanding.fetch_sub(1, Ordering::AcqRel); // nobody waits for the receipt yet
            }
        }
        self.in_the_middle = false;
        Ok(receipt)
    }

    /// Publishes and waits until all is acknowledged.
    ///
    /// # Errors
    /// [`PublishError`]: a beginning of the records, in order, may be on the topic all the same.
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
            // Joins librdkafka's threads: up to a second that must not be an async worker's.
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
    /// The first failure; the later ones follow from it.
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
            // A failed record stays outstanding: its receipt resolves by the failure alone.
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
