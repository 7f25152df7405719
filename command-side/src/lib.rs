//! The command side: HTTP in, events out.
//!
//! A request is parsed at the door (`request/`), decided by its aggregate (`domain`), and its answer is claimed in the
//! append that makes it true (`answer.rs`). Never: Kafka (nobody publishes around the log), a rule of the business, a
//! read model. Read next: `routes/orders.rs`, then `answer.rs`.

mod answer;
mod app;
mod config;
mod failure;
mod openapi;
mod refusal;
mod request;
mod routes;
mod told;
mod upkeep;

use event_store::StoreError;
use events::Context;
use runtime::Health;
use runtime::http::Limits;
use runtime::postgres::PostgresError;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use app::App;
pub use config::Config;

/// Why a command side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database of {context} cannot be used: {source}")]
    Pool { context: Context, source: PostgresError },
    #[error("the event store of {context} cannot be opened: {source}")]
    Store { context: Context, source: StoreError },
}

/// Takes commands until `shutdown`; then those under way are carried out.
///
/// # Errors
/// When a database cannot be used at the start.
pub async fn run(
    config: Config,
    listener: TcpListener,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    tracing::info!(?config, "command side starting");
    let app = App::open(&config).await?;
    let mut upkeep = JoinSet::new();
    for store in app.stores() {
        let check = health.check(format!("event store of {}", store.context()));
        upkeep.spawn(upkeep::probe(store.clone(), check, shutdown.clone()));
        upkeep.spawn(upkeep::forget_old_answers(store.clone(), shutdown.clone()));
    }
    let router = routes::router(app.clone(), health);
    runtime::http::serve(listener, router, Limits::default(), shutdown).await;
    upkeep.join_all().await;
    app.shut_down().await;
    Ok(())
}
