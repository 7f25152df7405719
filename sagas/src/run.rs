//! Starts what runs here: one reactor per context, and with the payments the gateway and the deadline worker. One Kafka reader
//! serves them all.
//!
//! Never: a start with a story that breaks its own rules. Read next: `reactor.rs`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use event_bus::{
    BatchHandler, ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, Subscription, run_reader,
};
use event_store::{EventStore, StoreError, StoreOptions};
use events::Context;
use runtime::postgres::{self, PostgresError};
use runtime::webhook_signature::InvalidWebhookSecret;
use runtime::{Check, Health};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::order_fulfilment::{DOORS, RESTS, STORY, StoryError, check, topics_of};
use crate::parking::{self, Parking};
use crate::payments::{
    Circuit, DeadlineWorker, Desk, Gateway, HttpProvider, InvalidProviderUrl, PaymentProvider, watch_overdue,
    watch_refused,
};
use crate::reactor::Reactor;
use crate::witness::{Tails, Witness};

/// Records in one batch of a reactor at most.
const REACTOR_BATCH_MAX: usize = 500;
/// Payments asked about for one append at most: the slowest of them holds up the rest.
const GATEWAY_BATCH_MAX: usize = 128;
pub(crate) const GATEWAY: &str = "sagas.payment-gateway";
/// With something to do and nothing done for this long, a consumer is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Why the sagas stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    #[error("the story breaks its own rules: {0}")]
    Story(#[from] StoryError),
    #[error(transparent)]
    Provider(#[from] InvalidProviderUrl),
    #[error(transparent)]
    WebhookSecret(#[from] InvalidWebhookSecret),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error("a part of the sagas panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Everything that runs, and what it stands on.
struct Running {
    config: Config,
    health: Health,
    tails: Arc<Tails>,
    /// From outside; `stop` is cancelled with it, or before it when something here cannot go on.
    shutdown: CancellationToken,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), SagaError>>,
    stores: Vec<EventStore>,
    /// What the reader serves, each with its check.
    handlers: Vec<(Subscription, Check)>,
    /// Why everything here waits for a reconciliation, once a consumer has found that out.
    restored: Arc<OnceLock<String>>,
}

/// Runs until `shutdown`, with the payment provider that the configuration names.
///
/// # Errors
/// [`SagaError`]: someone must act. What runs is stopped first.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), SagaError> {
    let provider = HttpProvider::new(&config.payment_provider_url, config.payment_provider_timeout())?;
    run_with(config, Arc::new(provider), health, shutdown).await
}

/// The same with another provider behind the port.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    provider: Arc<dyn PaymentProvider>,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), SagaError> {
    check(STORY, RESTS, DOORS)?;
    tracing::info!(?config, "sagas start");
    let stop = shutdown.child_token();
    let tails = Tails::new(config.bus.clone());
    let mut running = Running {
        config,
        tails,
        health,
        shutdown,
        stop: stop.clone(),
        tasks: JoinSet::new(),
        stores: Vec::new(),
        handlers: Vec::new(),
        restored: Arc::default(),
    };
    // Whatever is dropped unfinished is told to stop.
    let _guard = stop.clone().drop_guard();
    for context in running.config.contexts().to_vec() {
        let store = running.open_store(context).await?;
        running.add_reactor(&store);
        if context == Context::Payments {
            running.add_gateway_and_deadlines(&store, Arc::clone(&provider));
        }
    }
    running.start_reader();
    running.until_stopped().await
}

impl Running {
    async fn open_store(&mut self, context: Context) -> Result<EventStore, SagaError> {
        let pool =
            postgres::pool(&self.config.database_url_of(context), self.config.database_connections_max)?;
        let store = EventStore::new(context, pool, StoreOptions::default()).await?;
        self.stores.push(store.clone());
        Ok(store)
    }

    fn parking(&mut self, store: &EventStore, consumer: &str) -> Parking {
        let check = self.health.check(format!("{consumer} parked"));
        self.watch(parking::watch(store.clone(), consumer.to_owned(), check));
        Parking::new(store.clone(), consumer)
    }

    fn add_reactor(&mut self, store: &EventStore) {
        let context = store.context();
        let consumer = format!("sagas.{context}");
        let parking = self.parking(store, &consumer);
        let witness = Witness::new(Arc::clone(&self.tails), store.clone(), topics_of(context, STORY));
        let deadline = self.config.payment_deadline();
        let reactor = Reactor::new(store.clone(), consumer.clone(), deadline, parking, Some(witness));
        let mut options = ConsumerOptions::new(consumer, topics_of(context, STORY));
        options.batch_max = REACTOR_BATCH_MAX;
        self.add_handler(options, Arc::new(reactor));
    }

    fn add_gateway_and_deadlines(&mut self, store: &EventStore, provider: Arc<dyn PaymentProvider>) {
        let circuit = Circuit::new(provider, self.health.check("payment provider"));
        let desk = Desk::new(circuit, self.config.payment_provider_calls_max);
        let parking = self.parking(store, GATEWAY);
        let witness = Witness::new(Arc::clone(&self.tails), store.clone(), [Context::Payments]);
        let gateway = Gateway::new(store.clone(), GATEWAY.to_owned(), desk.clone(), parking, witness);
        let mut options = ConsumerOptions::new(GATEWAY, [Context::Payments]);
        options.batch_max = GATEWAY_BATCH_MAX;
        self.add_handler(options, Arc::new(gateway));
        self.watch(watch_refused(store.clone(), self.health.check("payments refused")));
        let check = self.health.check("payment deadlines");
        let worker = DeadlineWorker::new(store.clone(), desk, check.clone());
        let lag = self.health.check("payment deadline lag");
        self.watch(watch_overdue(store.clone(), worker.unreadable(), lag));
        let (stop, restored) = (self.stop.clone(), Arc::clone(&self.restored));
        self.tasks.spawn(async move {
            worker.run(stop).await;
            tell_if_restored(&check, &restored);
            Ok(())
        });
    }

    /// What only looks, until the stop.
    fn watch(&mut self, look: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled_owned(look).await;
            Ok(())
        });
    }

    fn add_handler(&mut self, mut options: ConsumerOptions, handler: Arc<dyn BatchHandler>) {
        options.never_back = true;
        let check = self.health.check(options.name.clone());
        let health = report_to(check.clone());
        self.handlers.push((Subscription { options, handler, health }, check));
    }

    fn start_reader(&mut self) {
        let (bus, group) = (self.config.bus.clone(), self.config.reader_group());
        let (subscriptions, checks): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.handlers).into_iter().unzip();
        let (stop, shutdown) = (self.stop.clone(), self.shutdown.clone());
        let restored = Arc::clone(&self.restored);
        self.tasks.spawn(async move {
            let names: Vec<String> =
                subscriptions.iter().map(|it: &Subscription| it.options.name.clone()).collect();
            let ended = run_reader(&bus, &group, subscriptions, stop.clone()).await;
            if let Err(error) = &ended
                && error.wants_reconciliation()
            {
                // Nothing here may act on a log that is another one now; and whoever asks shall be told why.
                let _ = restored.set(error.to_string()); // the first says it for all
                for (name, check) in names.iter().zip(&checks) {
                    if name == error.consumer() {
                        check.failing(error.to_string());
                    } else {
                        tell_if_restored(check, &restored);
                    }
                }
                stop.cancel();
                shutdown.cancelled().await;
            }
            Ok(ended?)
        });
    }

    /// The first error stops everything.
    async fn until_stopped(mut self) -> Result<(), SagaError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            self.stop.cancel();
            outcome = outcome.and(ended.map_err(SagaError::from).flatten());
        }
        for store in self.stores {
            store.shutdown().await;
        }
        outcome
    }
}

/// What was told to stop says why: it did not fail itself, and does nothing any more.
fn tell_if_restored(check: &Check, restored: &OnceLock<String>) {
    if let Some(found) = restored.get() {
        check.failing(format!("stopped, because {found}"));
    }
}

fn report_to(check: Check) -> HealthReport {
    Arc::new(move |health: &ConsumerHealth| {
        match health.trouble.clone().or_else(|| health.stuck(STUCK_AFTER)) {
            Some(trouble) => check.failing(trouble),
            None => check.ok(),
        }
    })
}
