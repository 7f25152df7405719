//! The state that all routes share: one event store for each context that takes commands over HTTP.

use event_store::{EventStore, StoreOptions, Stores};
use events::Context;
use runtime::postgres::pool;

use crate::routes::ROUTES;
use crate::{Config, Error};

/// Clones share the same stores.
#[derive(Clone)]
pub struct App {
    pub stores: Stores,
}

impl App {
    /// When a URL is invalid or a database does not answer.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        config.databases.check(Context::ALL.map(Context::name))?;
        let pool_of = |context: events::ContextName| {
            let url = config.databases.of(context.as_str());
            pool(&url, config.database_connections_max).map_err(|source| Error::Pool { context, source })
        };
        let contexts = ROUTES.map(|(context, _)| events::ContextName::from(context));
        Ok(Self { stores: Stores::open(contexts, pool_of, &StoreOptions::default()).await? })
    }

    /// The store of the aggregate's streams.
    pub fn store_of<S: domain::State>(&self) -> &EventStore {
        let context =
            Context::of_category(S::CATEGORY).expect("the registry names the category of every aggregate");
        self.stores.of(context)
    }
}
