//! Applies a batch of events to a projection's table: loads the rows that they touch, folds in memory, writes them back.
//!
//! Whatever the size of the batch, that is one or two statements. The transaction is the caller's, who moves the checkpoints
//! in it.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use event_log::{ContextName, Envelope, EventSet};

use crate::projection::{Projection, fold, key_of};
use crate::rebuild::{self, Rebuild};
use crate::table;

/// A projection that can be applied without knowing which one it is. It is given its transaction and nothing else: code that
/// applies projections alone, such as a rebuild, cannot act on the world.
#[async_trait]
pub trait Projector<E: EventSet>: Send + Sync {
    fn name(&self) -> &'static str;
    fn table(&self) -> &'static str;
    /// The column that is the table's primary key.
    fn key_column(&self) -> &'static str;
    fn contexts(&self) -> &'static [ContextName];

    /// See [`Projection::WAIT_ENDS_WHEN`].
    fn wait_ends_when(&self) -> Option<&'static str> {
        None
    }

    /// Folds the events, which are in order within each stream, into the table. Returns the keys of the rows that they touch.
    ///
    /// # Errors
    /// The database's. Where [`is_refusal`] holds, the same events would be refused again.
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[&Envelope<E>],
    ) -> Result<Vec<String>, tokio_postgres::Error>;

    /// The same fold for a whole history, with rows kept in memory, by one task alone. None where other tasks write to the
    /// same rows: then the history is applied page by page.
    fn rebuild(&self) -> Option<Box<dyn Rebuild<E>>> {
        None
    }
}

/// The projection `P`, ready to be applied.
pub fn projector<P: Projection>() -> Arc<dyn Projector<P::Events>> {
    Arc::new(TableProjector::<P>::new())
}

/// Whether the data itself is refused: by the database (SQLSTATE classes 22, data exception, and 23, integrity constraint
/// violation), or because the row in the table cannot be decoded. Trying again would end the same way.
pub fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let unreadable = error.source().is_some_and(|cause| cause.is::<serde_json::Error>());
    unreadable || error.code().is_some_and(|state| matches!(state.code().get(..2), Some("22" | "23")))
}

/// The reason that is filed with what is parked.
pub(crate) fn refusal_text(error: &tokio_postgres::Error) -> String {
    format!("Postgres refuses it: {}", error_text(error))
}

/// The database's message, where there is one; the driver's own text says only that it failed.
pub(crate) fn error_text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |refused| format!("{} ({})", refused.message(), refused.code().code()),
    )
}

/// [`Projector`] for a [`Projection`].
struct TableProjector<P> {
    upsert: OnceLock<String>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> TableProjector<P> {
    fn new() -> Self {
        Self { upsert: OnceLock::new(), projection: PhantomData }
    }
}

/// The events of each row, by key; without the events that touch no row.
fn by_key<'a, P: Projection>(
    events: &[&'a Envelope<P::Events>],
) -> BTreeMap<String, Vec<&'a Envelope<P::Events>>> {
    let mut touched = BTreeMap::<String, Vec<&Envelope<P::Events>>>::new();
    for event in events {
        if let Some(key) = key_of::<P>(event) {
            touched.entry(key).or_default().push(event);
        }
    }
    touched
}

#[async_trait]
impl<P: Projection> Projector<P::Events> for TableProjector<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn table(&self) -> &'static str {
        P::TABLE
    }

    fn key_column(&self) -> &'static str {
        P::KEY_COLUMN
    }

    fn contexts(&self) -> &'static [ContextName] {
        P::CONTEXTS
    }

    fn wait_ends_when(&self) -> Option<&'static str> {
        P::WAIT_ENDS_WHEN
    }

    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[&Envelope<P::Events>],
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        let touched = by_key::<P>(events);
        if touched.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<&str> = touched.keys().map(String::as_str).collect();
        let mut rows = table::load::<P>(transaction, &keys).await?;
        let mut changed = Vec::new();
        for (key, events) in &touched {
            let before = rows.remove(key);
            let after = events.iter().fold(before.clone(), |row, event| fold::<P>(row, event));
            if after != before {
                changed.extend(after);
            }
        }
        if let Some(first) = changed.first() {
            let upsert = self.upsert.get_or_init(|| table::upsert_statement::<P>(first));
            table::write::<P>(transaction, upsert, &changed).await?;
        }
        Ok(touched.into_keys().collect())
    }

    fn rebuild(&self) -> Option<Box<dyn Rebuild<P::Events>>> {
        rebuild::rebuild::<P>()
    }
}
