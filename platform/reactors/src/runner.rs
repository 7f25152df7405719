//! Runs reactors, gateways and deadline workers in one process: one Kafka reader serves all of them, each with checks of
//! its own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use event_bus::{
    BatchHandler, BusConfig, ConsumerError, ConsumerHealth, ConsumerOptions, HealthReport, Subscription,
    run_reader,
};
use event_log::ContextName;
use event_store::EventStore;
use runtime::{Check, Health};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::deadlines::{self, Unreadable};
use crate::parking;
use crate::restore_detector::{RestoreDetector, TopicTails};
use crate::{DeadlineActions, DeadlineWorker, Gateway, OutsideCalls, Reactions, Reactor};

/// Records in one batch of a reactor at most.
const REACTOR_BATCH_MAX: usize = 500;
/// Records in one batch of a gateway at most: the slowest call of a batch holds up its other responses.
const GATEWAY_BATCH_MAX: usize = 128;
/// A consumer is stuck when it has had something to do for this long and has done nothing.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Why the reactors stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReactorsError {
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error("a task panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// The consumer group of a process that runs some of a role's `all` contexts: the role's name when it runs all of them, otherwise
/// `<role>.<context>+<context>`. The members of a group must have the same handlers, so processes that run the same contexts
/// have the same group.
pub fn reader_group(role: &str, contexts: impl IntoIterator<Item = ContextName>, all: usize) -> String {
    let mut contexts: Vec<ContextName> = contexts.into_iter().collect();
    contexts.sort_unstable();
    contexts.dedup();
    if contexts.len() == all {
        role.to_owned()
    } else {
        let names: Vec<&str> = contexts.iter().map(ContextName::as_str).collect();
        format!("{role}.{}", names.join("+"))
    }
}

/// Everything that reacts in this process. Dropped unfinished, it stops what it started.
pub struct Reactors {
    bus: BusConfig,
    health: Health,
    tails: Arc<TopicTails>,
    /// From outside; `stop` is cancelled with it, or before it when something here cannot go on.
    shutdown: CancellationToken,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    tasks: JoinSet<Result<(), ReactorsError>>,
    stores: Vec<EventStore>,
    /// The handlers of the reader, each with its check.
    handlers: Vec<(Subscription, Check)>,
    /// Why everything here waits for a reconciliation, once a consumer has found that out.
    restored: Arc<OnceLock<String>>,
}

impl Reactors {
    pub fn new(bus: BusConfig, health: Health, shutdown: CancellationToken) -> Self {
        let stop = shutdown.child_token();
        Self {
            tails: TopicTails::new(bus.clone()),
            bus,
            health,
            shutdown,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            tasks: JoinSet::new(),
            stores: Vec::new(),
            handlers: Vec::new(),
            restored: Arc::default(),
        }
    }

    /// Adds the reactor of a context that reacts to events of `sources`. A context that reacts to none gets none.
    pub fn add_reactor<R: Reactions, C: Into<ContextName>>(
        &mut self,
        reactor: Reactor<R>,
        sources: impl IntoIterator<Item = C>,
    ) {
        let sources: Vec<ContextName> = sources.into_iter().map(Into::into).collect();
        self.keep(reactor.store());
        if sources.is_empty() {
            return;
        }
        self.watch_parked(reactor.store(), reactor.consumer());
        let mut options = ConsumerOptions::new(reactor.consumer(), sources.iter().copied());
        options.batch_max = REACTOR_BATCH_MAX;
        let detector = RestoreDetector::new(Arc::clone(&self.tails), reactor.store().clone(), sources);
        self.add_handler(options, Arc::new(reactor.with_detector(detector)));
    }

    /// Adds the gateway of a context; it reads the context's own topic.
    pub fn add_gateway<C: OutsideCalls>(&mut self, gateway: Gateway<C>) {
        let own = [gateway.store().context()];
        self.keep(gateway.store());
        self.watch_parked(gateway.store(), gateway.consumer());
        let mut options = ConsumerOptions::new(gateway.consumer(), own);
        options.batch_max = GATEWAY_BATCH_MAX;
        let detector = RestoreDetector::new(Arc::clone(&self.tails), gateway.store().clone(), own);
        self.add_handler(options, Arc::new(gateway.with_detector(detector)));
    }

    /// Adds a worker for a context's deadlines. Its checks are called `<name> deadlines` and `<name> deadline lag`.
    pub fn add_deadlines<A: DeadlineActions>(&mut self, worker: DeadlineWorker<A>, name: &str) {
        let check = self.health.check(format!("{name} deadlines"));
        let lag = self.health.check(format!("{name} deadline lag"));
        let unreadable = Unreadable::default();
        self.keep(worker.store());
        self.watch(deadlines::watch_overdue(worker.store().clone(), unreadable.clone(), lag));
        let (stop, restored) = (self.stop.clone(), Arc::clone(&self.restored));
        self.tasks.spawn(async move {
            worker.run(check.clone(), unreadable, stop).await;
            report_restored(&check, &restored);
            Ok(())
        });
    }

    /// Runs something that only looks, such as a watch on a table, until everything stops.
    pub fn watch(&mut self, looking: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled_owned(looking).await;
            Ok(())
        });
    }

    /// Reads as a member of the consumer group `group` until the shutdown, then shuts down the stores of what was added. The
    /// first error stops everything.
    ///
    /// # Errors
    /// [`ReactorsError`]: someone must act.
    pub async fn run(mut self, group: &str) -> Result<(), ReactorsError> {
        self.start_reader(group);
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            self.stop.cancel();
            outcome = outcome.and(ended.map_err(ReactorsError::from).flatten());
        }
        for store in self.stores {
            store.shutdown().await;
        }
        outcome
    }

    fn keep(&mut self, store: &EventStore) {
        self.stores.push(store.clone());
    }

    fn watch_parked(&mut self, store: &EventStore, consumer: &str) {
        let check = self.health.check(format!("{consumer} parked"));
        self.watch(parking::watch(store.clone(), consumer.to_owned(), check));
    }

    fn add_handler(&mut self, mut options: ConsumerOptions, handler: Arc<dyn BatchHandler>) {
        options.detect_rewind = true;
        let check = self.health.check(options.name.clone());
        let health = report_to(check.clone());
        self.handlers.push((Subscription { options, handler, health }, check));
    }

    fn start_reader(&mut self, group: &str) {
        let (bus, group) = (self.bus.clone(), group.to_owned());
        let (subscriptions, checks): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.handlers).into_iter().unzip();
        let (stop, shutdown) = (self.stop.clone(), self.shutdown.clone());
        let restored = Arc::clone(&self.restored);
        self.tasks.spawn(async move {
            // A consumer that subscribes to nothing is an error of Kafka's.
            if subscriptions.is_empty() {
                stop.cancelled().await;
                return Ok(());
            }
            let names: Vec<String> =
                subscriptions.iter().map(|it: &Subscription| it.options.name.clone()).collect();
            let ended = run_reader(&bus, &group, subscriptions, stop.clone()).await;
            if let Err(error) = &ended
                && error.wants_reconciliation()
            {
                // Nothing here may act on a log that is another one now. The process stays up, so that readiness says why.
                let _ = restored.set(error.to_string()); // the first one is shown
                for (name, check) in names.iter().zip(&checks) {
                    if name == error.consumer() {
                        check.failing(error.to_string());
                    } else {
                        report_restored(check, &restored);
                    }
                }
                stop.cancel();
                shutdown.cancelled().await;
            }
            Ok(ended?)
        });
    }
}

/// A part that was stopped reports why: it did not fail itself.
fn report_restored(check: &Check, restored: &OnceLock<String>) {
    if let Some(reason) = restored.get() {
        check.failing(format!("stopped, because {reason}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn group(contexts: &[&str]) -> String {
        reader_group("sagas", contexts.iter().map(|name| ContextName::new(name)), 3)
    }

    #[test]
    fn processes_that_run_the_same_contexts_are_in_the_same_group() {
        assert_eq!(group(&["tea", "cup", "leaf"]), "sagas");
        assert_eq!(group(&["leaf", "cup"]), "sagas.cup+leaf");
        assert_eq!(group(&["cup", "leaf", "cup"]), "sagas.cup+leaf");
        assert_eq!(group(&["tea"]), "sagas.tea");
    }
}
