//! Takes over from another relay: finds the events after the cursor that are on the topic already.
//!
//! A partition has all of its events up to its last one (the publisher's guarantee), so reading the last event is
//! enough. It counts only if the log has the same event at that position. No event is skipped that the topic does not
//! have.

use event_bus::{BusConfig, PartitionTail, TailError, TailRecord, put_stop_markers, read_tail};
use event_log::{Position, RawEvent, TOPIC_PARTITIONS, partition_of};
use event_store::{EventStore, LogEpoch, StoreError};

use crate::Error;

/// For each partition, the last position that it has, at least the cursor.
#[derive(Debug)]
pub(crate) struct AlreadyPublished {
    last_positions: Vec<Position>,
}

/// The reason why the topic's end could not be compared with the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeoverError {
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fatal(Error),
}

impl AlreadyPublished {
    /// Reads the end of the topic and compares it with the log.
    pub async fn read(
        bus: &BusConfig,
        store: &EventStore,
        cursor: Position,
        epoch: LogEpoch,
    ) -> Result<Self, TakeoverError> {
        let context = store.context();
        if epoch.is_reconciling {
            return Err(TakeoverError::Fatal(Error::Unreconciled { context }));
        }
        let tails = read_tail(bus, context).await?;
        let compared = Self::compared(bus, store, cursor, epoch.number, &tails).await;
        if let Err(TakeoverError::Fatal(error)) = &compared
            && error.wants_reconciliation()
        {
            // Only the relay can see this. Stop markers tell it to the consumers whose own databases were not restored.
            let unmarked: Vec<i32> =
                tails.iter().filter(|tail| tail.stop_marker.is_none()).map(|tail| tail.partition).collect();
            put_stop_markers(bus, &bus.topic(context), &unmarked, &error.to_string())
                .await
                .map_err(|cause| TailError::Kafka { topic: bus.topic(context), cause })?;
        }
        compared
    }

    async fn compared(
        bus: &BusConfig,
        store: &EventStore,
        cursor: Position,
        epoch: i64,
        tails: &[PartitionTail],
    ) -> Result<Self, TakeoverError> {
        check_not_lost(bus, store, cursor, tails).await?;
        let mut last_positions = vec![cursor; tails.len()];
        for tail in tails {
            let Some(last) = tail.last else { continue };
            if last.epoch != epoch {
                return Err(TakeoverError::Fatal(Error::TopicOfAnotherEpoch {
                    context: store.context(),
                    topic: bus.topic(store.context()),
                    partition: tail.partition,
                    found: last.epoch,
                    epoch,
                }));
            }
            if last.position > cursor {
                check_in_log(bus, store, tail.partition, last).await?;
                last_positions[tail.partition as usize] = last.position;
            }
        }
        Ok(Self { last_positions })
    }

    pub fn holds(&self, event: &RawEvent) -> bool {
        let partition = partition_of(event.stream.as_str(), TOPIC_PARTITIONS);
        event.position <= self.last_positions[partition as usize]
    }
}

/// The partition of the event at the cursor cannot be empty, because that event was acknowledged.
async fn check_not_lost(
    bus: &BusConfig,
    store: &EventStore,
    cursor: Position,
    tails: &[PartitionTail],
) -> Result<(), TakeoverError> {
    if cursor == 0 {
        return Ok(());
    }
    let acknowledged = store.scan(cursor - 1, 1).await?;
    let lost = acknowledged.first().and_then(|event| {
        let partition = partition_of(event.stream.as_str(), TOPIC_PARTITIONS);
        tails.iter().find(|tail| tail.partition == partition && tail.is_empty)
    });
    match lost {
        None => Ok(()),
        Some(tail) => Err(TakeoverError::Fatal(Error::TopicLost {
            context: store.context(),
            topic: bus.topic(store.context()),
            partition: tail.partition,
            cursor,
        })),
    }
}

async fn check_in_log(
    bus: &BusConfig,
    store: &EventStore,
    partition: i32,
    last: TailRecord,
) -> Result<(), TakeoverError> {
    let in_log = store.scan(last.position - 1, 1).await?;
    if in_log.first().is_some_and(|event| event.event_id == last.event_id) {
        return Ok(());
    }
    Err(TakeoverError::Fatal(Error::TopicAheadOfLog {
        context: store.context(),
        topic: bus.topic(store.context()),
        partition,
        position: last.position,
        event_id: last.event_id,
        head: store.head().await?,
    }))
}
