//! The pump: reads events after the cursor, publishes them in order, and moves the cursor over the acknowledged ones.
//!
//! Three stages with short queues between them: while one full chunk is in flight, the next is read, and the cursor
//! follows. Each stage is one task's loop, so the order is kept by construction. The first error ends all three.
//!
//! After a chunk that was not full, the reader waits for its acknowledgement before the next read (Nagle's rule, RFC
//! 896, with acknowledgements that never wait). A single event is sent at once, and events appended in the meantime
//! share the next chunk. Each read, request and fetch costs the same for one event as for fifty; without the rule there
//! would be as many of them as the processors can execute.
//!
//! Never: a chunk enqueued without a valid lease, or a cursor moved before every record up to it is acknowledged.

use std::time::Duration;

use event_bus::{BusConfig, EPOCH_HEADER, OrderedPublisher, Outgoing, PublishError, Receipt, TailError};
use event_log::{ContextName, Position, RawEvent, cloud_event};
use event_store::{EventStore, StoreError, append_channel};
use fault::crash_point;
use runtime::Notifications;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::cursor::{acknowledged, follow};
use crate::lease::HeldLease;
use crate::takeover::AlreadyPublished;
use crate::{Config, Error};

/// Chunks read and not yet enqueued.
const READ_AHEAD_CHUNKS: usize = 2;
/// Chunks enqueued and not yet passed by the cursor. Their bytes are in the producer, which has its own limit.
const IN_FLIGHT_CHUNKS: usize = 64;
/// The target size of a chunk; the number of events that are read at once follows it.
const CHUNK_BYTES: usize = 2 << 20;
const CHUNK_EVENTS_FIRST: usize = 256;
const CHUNK_EVENTS_MIN: usize = 16;
/// The shortest pause between two polls of the log while no notifications arrive.
const POLL_MIN: Duration = Duration::from_millis(1);

/// The reason why the pump stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the lease expired, or another relay has it")]
    LeaseLost,
    #[error(transparent)]
    Fatal(Error),
}

/// Events that were read together.
struct Chunk {
    last: Position,
    /// The records that are not on the topic yet.
    records: Vec<Outgoing>,
    bytes: usize,
}

/// A chunk, and the sender for its records' receipt.
type QueuedChunk = (Chunk, oneshot::Sender<Receipt>);

/// Pumps until `stop`, then until every chunk that was read is acknowledged and the cursor has passed it.
pub(crate) async fn run(
    config: &Config,
    store: &EventStore,
    held: &HeldLease,
    (epoch, cursor): (i64, Position),
    already_published: AlreadyPublished,
    stop: &CancellationToken,
) -> Result<(), PumpError> {
    let (to_publish, chunks) = mpsc::channel(READ_AHEAD_CHUNKS);
    let (to_acknowledge, receipts) = mpsc::channel(IN_FLIGHT_CHUNKS);
    // The reader has its own task, so that encoding and enqueueing can use one core each.
    let reader = Reader {
        store: store.clone(),
        epoch,
        already_published,
        after: cursor,
        chunk_events_max: config.batch_max as usize,
        growth: Notifications::listen(
            &config.database_url(store.context()),
            &append_channel(store.context()),
        ),
        poll: Backoff::new(POLL_MIN, config.poll_max()),
    };
    let reader = AbortOnDropHandle::new(tokio::spawn(reader.run(to_publish, stop.clone())));
    let read = async { reader.await.expect("the reader does not panic") };
    let publish = publish(&config.bus, store.context(), held, chunks, to_acknowledge);
    let follow = follow(store, held, cursor, receipts);
    // The publisher is returned so that it lives until the follower is done: dropping it purges records in flight.
    let ((), _publisher, ()) = tokio::try_join!(read, publish, follow)?;
    Ok(())
}

struct Reader {
    store: EventStore,
    epoch: i64,
    already_published: AlreadyPublished,
    after: Position,
    chunk_events_max: usize,
    growth: Notifications,
    poll: Backoff,
}

impl Reader {
    async fn run(
        mut self,
        to_publish: mpsc::Sender<QueuedChunk>,
        stop: CancellationToken,
    ) -> Result<(), PumpError> {
        let context = self.store.context();
        let mut limit = CHUNK_EVENTS_FIRST.min(self.chunk_events_max);
        while !stop.is_cancelled() {
            let events = self.store.scan(self.after, limit).await?;
            let was_full = events.len() == limit;
            if let Some(chunk) = self.encode(context, &events)? {
                limit = next_limit(limit, chunk.bytes, self.chunk_events_max);
                self.poll.reset();
                let (receipt_sender, enqueued) = oneshot::channel();
                if to_publish.send((chunk, receipt_sender)).await.is_err() {
                    return Ok(()); // the publisher has stopped with an error
                }
                if !was_full {
                    let Ok(receipt) = enqueued.await else { return Ok(()) };
                    acknowledged(receipt).await?;
                }
            }
            if !was_full {
                self.wait_for_more(&stop).await;
            }
        }
        Ok(())
    }

    /// Waits for a notification that the log has grown, or for the next poll, because notifications may be lost.
    async fn wait_for_more(&mut self, stop: &CancellationToken) {
        let pause = if self.growth.is_listening() { self.poll.longest() } else { self.poll.next() };
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.growth.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Encodes the events that are not on the topic yet. The payload is passed on byte for byte.
    fn encode(&mut self, context: ContextName, events: &[RawEvent]) -> Result<Option<Chunk>, PumpError> {
        let Some(last) = events.last() else { return Ok(None) };
        let mut chunk = Chunk { last: last.position, records: Vec::with_capacity(events.len()), bytes: 0 };
        for event in events {
            if event.position != self.after + 1 {
                let (after, found) = (self.after, event.position);
                return Err(PumpError::Fatal(Error::GapInLog { context, after, found }));
            }
            self.after = event.position;
            if self.already_published.holds(event) {
                metrics::counter!("relay_skipped_events_total", "context" => context.to_string())
                    .increment(1);
                continue;
            }
            let record = outgoing(context, self.epoch, event);
            chunk.bytes += record.value.len();
            chunk.records.push(record);
        }
        Ok(Some(chunk))
    }
}

/// The number of events to read next: fewer if they are large, more if they are small.
fn next_limit(limit: usize, bytes: usize, max: usize) -> usize {
    let next = if bytes > CHUNK_BYTES {
        limit / 4
    } else if bytes < CHUNK_BYTES / 2 {
        limit * 2
    } else {
        limit
    };
    next.max(CHUNK_EVENTS_MIN).min(max)
}

/// The record of an event. The epoch of the log is a header and not part of the value: the value is the event, which
/// never changes.
pub fn outgoing(context: ContextName, epoch: i64, event: &RawEvent) -> Outgoing {
    let type_name = cloud_event::type_name(context, &event.event_type, event.schema_version);
    let mut headers = vec![
        ("ce_type", type_name),
        ("ce_id", event.event_id.to_string()),
        (EPOCH_HEADER, epoch.to_string()),
    ];
    headers.extend(event.metadata.traceparent.clone().map(|parent| ("traceparent", parent)));
    Outgoing { key: event.stream.as_str().to_owned(), headers, value: cloud_event::encode(context, event) }
}

async fn publish(
    bus: &BusConfig,
    context: ContextName,
    held: &HeldLease,
    mut chunks: mpsc::Receiver<QueuedChunk>,
    to_acknowledge: mpsc::Sender<(Position, Receipt)>,
) -> Result<OrderedPublisher, PumpError> {
    let mut publisher = OrderedPublisher::new(bus, bus.topic(context))?;
    while let Some((chunk, receipt_sender)) = chunks.recv().await {
        if !held.is_valid() {
            return Err(PumpError::LeaseLost);
        }
        crash_point!("relay::read_before_publish");
        let receipt = publisher.enqueue(&chunk.records).await?;
        metrics::counter!("relay_published_events_total", "context" => context.to_string())
            .increment(chunk.records.len() as u64);
        // The reader waits for the receipt only after a chunk that was not full.
        let _ = receipt_sender.send(receipt.clone());
        if to_acknowledge.send((chunk.last, receipt)).await.is_err() {
            break; // the follower has stopped with an error
        }
    }
    Ok(publisher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_events_are_read_in_small_chunks_and_small_events_in_large_ones() {
        assert_eq!(next_limit(256, 100, 2_000), 512);
        assert_eq!(next_limit(1_500, 100, 2_000), 2_000);
        assert_eq!(next_limit(256, CHUNK_BYTES + 1, 2_000), 64);
        assert_eq!(next_limit(20, CHUNK_BYTES + 1, 2_000), CHUNK_EVENTS_MIN);
        assert_eq!(next_limit(256, CHUNK_BYTES * 3 / 4, 2_000), 256);
        assert_eq!(next_limit(1, 100, 1), 1);
    }
}
