//! The projections of one process, and what they have in common.

use std::sync::Arc;

use event_log::{ContextName, EventSet};

use crate::Projector;

/// The projections of one process. They are applied together: one reader, one transaction for a batch, one set of checkpoints.
pub struct ProjectionSet<E: EventSet> {
    /// The schema of the tables. Its owner's role is `tradewind_<schema>`, whose search path leads to it.
    pub schema: &'static str,
    /// The name of the reader: of its checkpoints, and of its consumer group on Kafka after the topic prefix.
    pub consumer: &'static str,
    /// The contexts whose topics are read, so that requests may name their positions. Every projection reads some of them.
    pub contexts: &'static [ContextName],
    pub projectors: Vec<Arc<dyn Projector<E>>>,
}

impl<E: EventSet> ProjectionSet<E> {
    /// The projection called `name`.
    pub fn named(&self, name: &str) -> Option<Arc<dyn Projector<E>>> {
        self.projectors.iter().find(|projector| projector.name() == name).cloned()
    }

    /// The name that the projection's parked events are filed under.
    pub fn parked_consumer(&self, projection: &str) -> String {
        parked_consumer(self.consumer, projection)
    }

    /// The same set with these projections alone.
    #[must_use]
    pub fn with(&self, projectors: Vec<Arc<dyn Projector<E>>>) -> Self {
        Self { projectors, ..*self }
    }
}

pub(crate) fn parked_consumer(consumer: &str, projection: &str) -> String {
    format!("{consumer}.{projection}")
}
