//! The event stores of several contexts.

use std::collections::BTreeMap;

use deadpool_postgres::Pool;
use event_log::ContextName;

use crate::{EventStore, StoreError, StoreOptions};

/// One [`EventStore`] for each context. A clone holds the same stores.
#[derive(Clone)]
pub struct Stores(BTreeMap<ContextName, EventStore>);

impl Stores {
    /// Opens the store of each context, over the pool that `pool_of` makes for it.
    ///
    /// # Errors
    /// What `pool_of` returns, or [`StoreError`] with the context whose database cannot be reached.
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

    /// # Panics
    /// When the context is none of those that were opened.
    pub fn of(&self, context: impl Into<ContextName>) -> &EventStore {
        let context = context.into();
        self.0.get(&context).unwrap_or_else(|| panic!("the store of {context} was not opened"))
    }

    pub fn iter(&self) -> impl Iterator<Item = &EventStore> {
        self.0.values()
    }

    /// Takes no more appends, and returns when those that wait are done.
    pub async fn shutdown(self) {
        for store in self.0.into_values() {
            store.shutdown().await;
        }
    }
}
