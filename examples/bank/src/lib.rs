//! A bank on `platform/` alone: accounts, transfers between them, and a read model of balances.
//!
//! Read next: `events.rs` (what can happen), `domain.rs` (what is allowed), `reactions.rs` (how a transfer proceeds).

pub mod domain;
pub mod events;
mod http;
mod reactions;
mod read_models;

use event_store::{StoreOptions, Stores};
use projections::http::ReadModels;
use projections::{ChangeNotifier, Reader};
use reactors::{Reactor, Reactors};
use runtime::http::{Limits, serve};
use runtime::postgres::{connect, owner_url, pool, prepare_owner};
use runtime::{Health, ops_router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use events::Context;
pub use read_models::{SCHEMA, all as read_models};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Makes the schemas and the topics, then runs every role in this process until `stop`.
///
/// # Errors
/// When an engine cannot be used; the first role that fails stops all.
pub async fn run(relay: relay::Config, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let (bus, urls, health) = (relay.bus.clone(), relay.databases.clone(), Health::new());
    let mut admin = connect(urls.base()).await?;
    for context in Context::ALL {
        prepare_owner(&admin, context.name(), None).await?;
        event_store::migrate(&mut admin, context).await?;
    }
    prepare_owner(&admin, SCHEMA, None).await?;
    projections::migrate(&mut admin, SCHEMA, embedded::migrations::runner()).await?;
    event_bus::ensure_topics(&bus, &Context::NAMES, 1).await?;

    let pool_of = |context: event_log::ContextName| anyhow::Ok(pool(&urls.of(context.as_str()), 8)?);
    let stores = Stores::open(Context::NAMES, pool_of, &StoreOptions::default()).await?;
    let mut reactors = Reactors::new(bus.clone(), health.clone(), stop.clone());
    for (context, sources) in
        [(Context::Accounts, &Context::ALL[..]), (Context::Transfers, &[Context::Accounts])]
    {
        let consumer = format!("bank.{context}");
        let reactor = Reactor::new(stores.of(context).clone(), consumer, "bank", reactions::Of(context));
        reactors.add_reactor(reactor, sources.iter().copied());
    }
    let (url, notifier, set) = (owner_url(urls.base(), SCHEMA), ChangeNotifier::new(100), read_models());
    let query_pool = pool(&url, 4)?;
    let models = ReadModels::new(&set, query_pool.clone(), bus.clone(), notifier.clone());
    let reader = Reader { set, bus, pool: pool(&url, 2)?, query_pool, notifier, batch_max: 500 };
    let router = http::router(stores, models).merge(ops_router(health.clone()));
    tokio::try_join!(
        async {
            relay::run(relay, &Context::NAMES, health.clone(), stop.clone())
                .await
                .map_err(anyhow::Error::from)
        },
        async { reactors.run("bank").await.map_err(anyhow::Error::from) },
        async { reader.run(&health, stop.clone()).await.map_err(anyhow::Error::from) },
        async {
            serve(listener, router, Limits::default(), stop.clone()).await;
            anyhow::Ok(())
        },
    )?;
    Ok(())
}
