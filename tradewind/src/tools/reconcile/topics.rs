//! The new topics of a reconciliation: deleted, created, and filled from the logs. A partition then has one record for
//! each of its events, in order, so the offset of an event is the number of events before it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use event_bus::{BusConfig, OrderedPublisher, delete_topic, ensure_topics, replication_factor};
use event_store::{EventStore, StoreOptions};
use events::{Context, Position, TOPIC_PARTITIONS, partition_of};
use fault::crash_point;
use runtime::postgres::{owner_url, pool};
use uuid::Uuid;

use super::connections::Schemas;

/// Events read and published at a time.
const PAGE: usize = 2_000;

/// The offsets of the events of one context in its new topic.
pub struct NewTopic {
    pub head: Position,
    /// For each partition its events in order: the index of an event is its offset.
    pub partitions: Vec<Vec<(Position, Uuid)>>,
}

impl NewTopic {
    /// The offset after all events up to `position`.
    pub fn offset_after(&self, partition: i32, position: Position) -> i64 {
        let events = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index));
        events.map_or(0, |events| events.partition_point(|(at, _)| *at <= position) as i64)
    }

    pub fn offset_of(&self, partition: i32, event: (Position, Uuid)) -> Option<i64> {
        let events = self.partitions.get(usize::try_from(partition).ok()?)?;
        events.binary_search(&event).ok().and_then(|offset| i64::try_from(offset).ok())
    }
}

/// The new topics by name.
pub type Topics = BTreeMap<String, NewTopic>;

/// # Errors
/// When Kafka or a log cannot be read or written; run it again.
pub async fn recreate_topics(schemas: &Schemas, bus: &BusConfig, epoch: i64) -> anyhow::Result<Topics> {
    let mut replication = 1;
    for context in Context::ALL {
        replication = replication.max(replication_factor(bus, context).await?.unwrap_or(1));
    }
    for context in Context::ALL {
        delete_topic(bus, context).await?;
        crash_point!("reconcile::topic_removed");
    }
    ensure_topics(bus, &events::Context::NAMES, replication).await?;
    crash_point!("reconcile::topics_made");
    let mut topics = Topics::new();
    for context in Context::ALL {
        let url = owner_url(schemas.urls.of(context), context.name());
        let store = EventStore::new(context, pool(&url, 2)?, StoreOptions::default()).await?;
        let new_topic =
            republish(&store, bus, epoch).await.with_context(|| format!("publishing {context}"))?;
        store.shutdown().await;
        println!("{context}: {} events published to the new topic", new_topic.head);
        crash_point!("reconcile::log_published");
        topics.insert(bus.topic(context), new_topic);
    }
    Ok(topics)
}

/// Publishes the whole log from position 1.
async fn republish(store: &EventStore, bus: &BusConfig, epoch: i64) -> anyhow::Result<NewTopic> {
    let context = store.context();
    let mut publisher = OrderedPublisher::new(bus, bus.topic(context))?;
    let mut new_topic = NewTopic { head: 0, partitions: vec![Vec::new(); TOPIC_PARTITIONS as usize] };
    loop {
        let events = store.scan(new_topic.head, PAGE).await?;
        if events.is_empty() {
            return Ok(new_topic);
        }
        let records: Vec<_> = events.iter().map(|event| relay::outgoing(context, epoch, event)).collect();
        publisher.publish(&records).await?;
        for event in &events {
            new_topic.head = event.position;
            let partition = partition_of(event.stream.as_str(), TOPIC_PARTITIONS) as usize;
            new_topic.partitions[partition].push((event.position, event.event_id));
        }
    }
}
