//! A consumer that reads all partitions of a topic from the beginning and commits nothing.
//! It has its own thread, so that the time it takes of a record does not depend on when a task is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const POLL: Duration = Duration::from_millis(100);

/// The running consumer. Stops when dropped.
pub struct Tail {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Passes every record to `see`.
    ///
    /// # Errors
    /// When the consumer cannot be created.
    pub fn of(
        topic: &str,
        mut see: impl FnMut(&BorrowedMessage<'_>) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", testkit::kafka_brokers())
            .set("group.id", testkit::unique("bench-tail"))
            .set("enable.auto.commit", "false")
            .create()?;
        // Not the partitions of the metadata: a busy broker may not know a new topic yet, and the list would be empty.
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
            // A panic of the thread was printed; the wait for its records fails.
            let _ = thread.join();
        }
    }
}

/// The value of a header, where it is text.
pub fn header<'a>(record: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let value = record.headers()?.iter().find(|header| header.key == name)?.value?;
    std::str::from_utf8(value).ok()
}

/// A prefix that no other topics or consumer groups have.
pub fn topic_prefix(name: &str) -> String {
    format!("{}.", testkit::unique(&format!("bench-{name}")))
}
