//! What one context does about the events of others.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_log::{CommandSet, Envelope, EventSet, Metadata};
use event_store::UnitOfWork;

use crate::{CommitError, execute};

/// The reactions of one context: a pure function from an event to commands on the context's own aggregates.
#[async_trait]
pub trait Reactions: Send + Sync + 'static {
    type Event: EventSet;
    type Command: CommandSet;

    /// The commands that follow from `trigger`. `now` is the database's time where [`Self::needs_time`] asks for it; it
    /// may change what a command says, and never whether there is one.
    ///
    /// # Errors
    /// The event carries what no aggregate would have written: it is parked with this reason.
    fn react(
        &self,
        trigger: &Envelope<Self::Event>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Self::Command>, String>;

    /// Whether [`Self::react`] reads `now`: the database is asked for the time only then.
    fn needs_time(&self) -> bool {
        false
    }

    /// Decides on the command and notes the events; returns how many. A context whose decisions set or clear deadlines notes
    /// those here too.
    ///
    /// # Errors
    /// [`CommitError`]; nothing of the command may then be noted.
    async fn execute(
        &self,
        work: &mut UnitOfWork,
        command: &Self::Command,
        metadata: &Metadata,
    ) -> Result<usize, CommitError> {
        execute(work, command, metadata).await
    }
}
