//! The command side: HTTP in, events out.
//!
//! A request is parsed and checked (`request/`) and decided by its aggregate (`domain`). Its response is stored under
//! its idempotency key in the append of its events (`execute.rs`). Never: Kafka, a business rule, a read model. Read
//! next: `routes/orders.rs`, then `execute.rs`.

mod app;
mod background_tasks;
mod config;
mod error_responses;
mod execute;
mod openapi;
mod refusal;
mod request;
mod response;
mod routes;

use event_store::StoreError;
use events::ContextName;
use runtime::http::Limits;
use runtime::postgres::PostgresError;
use runtime::{Health, UnknownContextUrl};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use app::App;
pub use config::Config;

/// The reason why a command side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database of {context} cannot be used: {source}")]
    Pool { context: ContextName, source: PostgresError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Databases(#[from] UnknownContextUrl),
}

/// Takes commands until `shutdown`; then finishes those in flight.
///
/// When a database cannot be used at the start.
pub async fn run(
    config: Config,
    listener: TcpListener,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    tracing::info!(?config, "command side starting");
    let app = App::open(&config).await?;
    let mut tasks = JoinSet::new();
    for store in app.stores.iter() {
        let check = health.check(format!("event store of {}", store.context()));
        tasks.spawn(background_tasks::probe(store.clone(), check, shutdown.clone()));
        tasks.spawn(background_tasks::prune_idempotency_keys(store.clone(), shutdown.clone()));
    }
    let router = routes::router(app.clone(), health);
    runtime::http::serve(listener, router, Limits::default(), shutdown).await;
    tasks.join_all().await;
    app.stores.shutdown().await;
    Ok(())
}
