//! The event stores of several contexts.

use std::collections::BTreeMap;

use deadpool_postgres::Pool;
use event_log::ContextName;

use crate::error::StoreError;
use crate::store::{EventStore, StoreOptions};

/// One [`EventStore`] for each context. Clones share the same stores.
#[derive(Clone)]
pub struct Stores(BTreeMap<ContextName, EventStore>);

impl Stores {
    /// Opens the store of each context, on the pool that `pool_of` returns for it.
    ///
    /// The error of `pool_of`, or [`StoreError`] with the context whose database cannot be reached.
    pub async fn open<E>(
        contexts: impl IntoIterator<Item = ContextName>,
        pool_of: impl Fn(ContextName) -> Result<Pool, E>,
        options: &StoreOptions,
    ) -> Result<Self, E>
    where
        E: From<StoreError>,
    {
        let mut stores = BTreeMap::new();
        for context in contexts {
            let store = EventStore::new(context, pool_of(context)?, options.clone()).await?;
            stores.insert(context, store);
        }
        Ok(Self(stores))
    }

    /// When the context was not opened.
    pub fn of(&self, context: impl Into<ContextName>) -> &EventStore {
        let context = context.into();
        self.0.get(&context).unwrap_or_else(|| panic!("the store of {context} was not opened"))
    }

    pub fn iter(&self) -> impl Iterator<Item = &EventStore> {
        self.0.values()
    }

    /// Refuses new appends, and returns when the queued ones are done.
    pub async fn shutdown(self) {
        for store in self.0.into_values() {
            store.shutdown().await;
        }
    }
}
