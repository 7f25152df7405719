//! What every route shares: one event store for each context that commands over HTTP go to.
//!
//! Never: the store of payments; nobody commands a payment over HTTP. Read next: `routes/mod.rs`.

use event_store::{EventStore, StoreError, StoreOptions};
use events::Context;
use runtime::Secret;
use runtime::postgres::{PostgresError, owner_url, pool};

use crate::{Config, Error};

/// A clone is the same one.
#[derive(Clone)]
pub struct App {
    pub orders: EventStore,
    pub inventory: EventStore,
    pub shipping: EventStore,
}

impl App {
    /// # Errors
    /// When a URL is wrong or a database does not answer.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            orders: open(config, Context::Orders, config.orders_database_url.as_ref()).await?,
            inventory: open(config, Context::Inventory, config.inventory_database_url.as_ref()).await?,
            shipping: open(config, Context::Shipping, config.shipping_database_url.as_ref()).await?,
        })
    }

    pub fn stores(&self) -> [&EventStore; 3] {
        [&self.orders, &self.inventory, &self.shipping]
    }

    /// When every append that waits is done.
    pub async fn shut_down(self) {
        self.orders.shutdown().await;
        self.inventory.shutdown().await;
        self.shipping.shutdown().await;
    }
}

async fn open(config: &Config, context: Context, own_url: Option<&Secret>) -> Result<EventStore, Error> {
    let url = own_url.cloned().unwrap_or_else(|| owner_url(&config.database_url, context.name()));
    let pool = pool(&url, config.database_connections_max)
        .map_err(|source: PostgresError| Error::Pool { context, source })?;
    EventStore::new(context, pool, StoreOptions::default())
        .await
        .map_err(|source: StoreError| Error::Store { context, source })
}
