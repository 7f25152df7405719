//! What a consumer sees of a topic, as it comes: all partitions, from the beginning, no group.
//!
//! A thread of its own, so that what it notes is when the record came and not when a task was free.
//! Never: an offset committed. Read next: `parts/pipe.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const POLL: Duration = Duration::from_millis(100);

/// Stops when dropped.
pub struct Tail {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Hands every record to `see`.
    ///
    /// # Errors
    /// When the consumer can't be made.
    pub fn of(
        topic: &str,
        mut see: impl FnMut(&BorrowedMessage<'_>) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", testkit::kafka_brokers())
            .set("group.id", testkit::unique("bench-tail"))
            .set("enable.auto.commit", "false")
            .create()?;
        // Not from the metadata: a broker that is busy has not heard of a new topic yet, and would be read for ever by nobody.
        let mut all = TopicPartitionList::new();
        for partition in 0..events::TOPIC_PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match consumer.poll(POLL) {
                    Some(Ok(record)) => see(&record),
                    Some(Err(error)) => eprintln!("bench: reading a topic: {error}"),
                    None => {}
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed; what was waited for will be missed.
            let _ = thread.join();
        }
    }
}
