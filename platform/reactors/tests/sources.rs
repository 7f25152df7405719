//! A context that reacts to no other one has no reactor.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::AnyCommand;
use event_bus::BusConfig;
use event_log::ContextName;
use event_store::{EventStore, StoreOptions};
use events::{Envelope, Event};
use reactors::{Reactions, Reactor, Reactors};
use runtime::{Health, Secret, postgres};
use tokio_util::sync::CancellationToken;

struct Nothing;

impl Reactions for Nothing {
    type Event = Event;
    type Command = AnyCommand;

    fn react(&self, _: &Envelope, _: DateTime<Utc>) -> Result<Vec<AnyCommand>, String> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_context_without_sources_gets_no_reactor_and_the_process_runs_until_its_shutdown() {
    let database = testkit::fresh_database("reactors").await;
    let pool = postgres::pool(&Secret::from(database.url), 2).expect("a good url");
    let store = EventStore::new(ContextName::new("garden"), pool, StoreOptions::default());
    let reactor =
        Reactor::new(store.await.expect("the database is there"), "sagas.garden", "saga:garden", Nothing);
    let (health, shutdown) = (Health::new(), CancellationToken::new());
    // No broker listens there: a consumer would fail.
    let bus = BusConfig::plain("127.0.0.1:1", "");
    let mut reactors = Reactors::new(bus, health.clone(), shutdown.clone());
    reactors.add_reactor(reactor, Vec::<ContextName>::new());
    let running = tokio::spawn(reactors.run("sagas"));
    tokio::task::yield_now().await;
    assert!(!running.is_finished(), "nothing stops it but its shutdown");
    assert_eq!(health.readiness(), Ok(()), "there is no consumer that could be unready");
    shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it stops in time");
    ended.expect("no panic").expect("no error");
}
