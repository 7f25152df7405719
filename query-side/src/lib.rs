//! The query side: Kafka in, tables, HTTP out. One file per context or resource: its row, its fold, its routes.
//!
//! Never: `domain`. No rule is decided twice; a projection tells what happened. Nothing here writes to a log or a topic.
//! Read next: [`orders`] (how facts become answers), then `platform/projections/src/lib.rs` (how that happens exactly once).

use std::time::Duration;

use axum::extract::FromRef;
use axum::routing::get;
use axum::{Json, Router};
use events::{Context, ContextName, Event};
use projections::http::ReadModels;
use projections::{ChangeNotifier, ConsumerError, ProjectionSet, Reader, projector};
use runtime::http::{BindError, Limits, bind, serve};
use runtime::postgres::{self, PostgresError};
use runtime::{Health, ops_router};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

mod config;
pub mod inventory;
mod migrate;
mod openapi;
pub mod order_events;
pub mod orders;
mod params;
pub mod payments;
pub mod process_status;
pub mod processes;
pub mod sales;

pub use config::Config;
pub use migrate::migrate;

/// The owner of the read models: their schema, and the end of their role's name.
pub const READ_MODEL: &str = "readmodel";
/// The reader of all projections: the checkpoints are filed under this, and the consumer group is called so.
pub const CONSUMER: &str = "query-side";

/// Requests beyond those that wait.
const REQUESTS_IN_FLIGHT_MAX: usize = 512;
/// Above the longest wait that a request may ask for (`timeout_ms`).
const REQUEST_MAX: Duration = Duration::from_secs(75);

/// Every projection of the shop.
pub fn projections() -> ProjectionSet<Event> {
    ProjectionSet {
        schema: READ_MODEL,
        consumer: CONSUMER,
        contexts: &Context::NAMES,
        projectors: vec![
            projector::<orders::Orders>(),
            projector::<order_events::OrderEvents>(),
            projector::<processes::Processes>(),
            projector::<inventory::Stock>(),
            projector::<payments::Payments>(),
            projector::<sales::Sales>(),
        ],
    }
}

/// What every handler is given.
#[derive(Clone)]
pub struct App {
    pub read_models: ReadModels,
    /// A step of the system's that takes longer than this is shown as stuck.
    pub stuck_after: Duration,
}

impl FromRef<App> for ReadModels {
    fn from_ref(app: &App) -> Self {
        app.read_models.clone()
    }
}

/// Every route of the query side but those of `runtime::ops_router`.
pub fn router(app: App) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = openapi::completed(&document);
    router.with_state(app).route("/openapi.json", get(async move || Json(document)))
}

/// The routes with their descriptions: the only list of them.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(orders::router())
        .merge(order_events::router())
        .merge(processes::router())
        .merge(inventory::router())
        .merge(payments::router())
        .merge(sales::router())
}

/// The names of these contexts, as a projection declares them.
const fn names<const N: usize>(contexts: [Context; N]) -> [ContextName; N] {
    let mut names = [Context::NAMES[0]; N];
    let mut index = 0;
    while index < N {
        names[index] = Context::NAMES[contexts[index] as usize];
        index += 1;
    }
    names
}

/// Why the query side stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}

/// Projects and answers until `shutdown`.
///
/// # Errors
/// [`Error`]: it could not start, or a projection cannot go on; someone must act.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let listener = bind(config.listen, "--query-side-listen").await?;
    let url = config.read_model_url();
    let health = Health::new();
    let notifier = ChangeNotifier::new(config.query_waiters_max);
    let query_pool = postgres::pool(&url, config.query_connections_max)?;
    let set = projections();
    let app = App {
        read_models: ReadModels::new(&set, query_pool.clone(), config.bus.clone(), notifier.clone()),
        stuck_after: Duration::from_secs(config.stuck_after_seconds),
    };
    let reader = Reader {
        set,
        bus: config.bus,
        pool: postgres::pool(&url, 2)?,
        query_pool,
        notifier,
        batch_max: config.projection_batch_max,
    };
    let limits = Limits {
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX + config.query_waiters_max,
        request_max: REQUEST_MAX,
        ..Limits::default()
    };
    let router = router(app).merge(ops_router(health.clone()));
    let stop = shutdown.child_token();
    let server = tokio::spawn(serve(listener, router, limits, stop.clone()));
    tracing::info!(listen = %config.listen, "serving queries");
    let ended = reader.run(&health, shutdown).await;
    stop.cancel();
    let _ = server.await;
    Ok(ended?)
}
