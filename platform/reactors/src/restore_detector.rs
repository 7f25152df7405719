//! Whether the log that a consumer appends to is the log that the topics were published from.
//!
//! A log that was restored to an older state lacks the last events of its own topic. A reactor on such a log would decide,
//! and charge, a second time. So the ends of the topics are compared with the log before a partition is read. A restored
//! log of another context is found by its relay, which writes a halt at the end of its topic. Why: docs/decisions/0012.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_bus::{BusConfig, HandlerError, PartitionTail, TailRecord, read_tail};
use event_log::ContextName;
use event_store::EventStore;
use futures::future::try_join_all;

use crate::error_mapping;

/// All handlers of a reader check at the same time: the end of a topic is read once for all of them. What is published
/// later is read as a record.
const FRESH_FOR: Duration = Duration::from_secs(1);

type Tail = Arc<Vec<PartitionTail>>;
type Cached = Arc<tokio::sync::Mutex<Option<(Instant, Tail)>>>;

/// The ends of the topics, shared by the handlers of a reader.
pub(crate) struct TopicTails {
    bus: BusConfig,
    cached: Mutex<BTreeMap<ContextName, Cached>>,
}

impl TopicTails {
    pub(crate) fn new(bus: BusConfig) -> Arc<Self> {
        Arc::new(Self { bus, cached: Mutex::default() })
    }

    async fn of(&self, context: ContextName) -> Result<Tail, HandlerError> {
        let cached = {
            let mut all = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(context).or_default())
        };
        let mut cached = cached.lock().await;
        if let Some((read_at, tail)) = &*cached
            && read_at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(tail));
        }
        let began_at = Instant::now();
        let tail = read_tail(&self.bus, context).await;
        let tail = Arc::new(tail.map_err(|error| HandlerError::Retry(error.to_string()))?);
        *cached = Some((began_at, Arc::clone(&tail)));
        Ok(tail)
    }
}

pub(crate) struct RestoreDetector {
    tails: Arc<TopicTails>,
    store: EventStore,
    /// The consumer's own context, and those whose topics it reads.
    contexts: BTreeSet<ContextName>,
}

impl RestoreDetector {
    pub(crate) fn new(
        tails: Arc<TopicTails>,
        store: EventStore,
        sources: impl IntoIterator<Item = ContextName>,
    ) -> Self {
        let contexts = sources.into_iter().chain([store.context()]).collect();
        Self { tails, store, contexts }
    }

    /// # Errors
    /// [`HandlerError::Restored`]: stop. [`HandlerError::Retry`] when it cannot be found out now.
    pub(crate) async fn check_not_rewound(&self) -> Result<(), HandlerError> {
        try_join_all(self.contexts.iter().map(|context| self.check_topic(*context))).await?;
        Ok(())
    }

    async fn check_topic(&self, context: ContextName) -> Result<(), HandlerError> {
        for tail in &*self.tails.of(context).await? {
            if let Some(reason) = &tail.stop_marker {
                let topic = self.tails.bus.topic(context);
                return Err(HandlerError::Restored(format!("the relay stopped {topic}: {reason}")));
            }
            if let Some(last) = tail.last.filter(|_| context == self.store.context()) {
                self.check_event(tail.partition, last).await?;
            }
        }
        Ok(())
    }

    /// The last event of a partition of the own topic is in the own log.
    async fn check_event(&self, partition: i32, last: TailRecord) -> Result<(), HandlerError> {
        let logged = self.store.scan(last.position - 1, 1).await;
        let logged = logged.map_err(|error| error_mapping::of_store_error(&error))?;
        if logged.first().is_some_and(|event| event.event_id == last.event_id) {
            return Ok(());
        }
        let (own, TailRecord { position, event_id, .. }) = (self.store.context(), last);
        Err(HandlerError::Restored(format!(
            "{}/{partition} holds event {event_id} at position {position}, which the log of {own} does not have: the \
             log was restored to an older state",
            self.tails.bus.topic(own)
        )))
    }
}
