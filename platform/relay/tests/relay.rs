//! The relay on a real Postgres and a real Kafka: every event is published in order, through kills, takeovers and
//! refusals.

mod support;

use std::sync::mpsc;
use std::time::Instant;

use event_bus::{OrderedPublisher, Outgoing};
use events::{Context, cloud_event};
use relay::Error;
use runtime::Health;
use support::{CONTEXT, World, set_max_message_bytes, start, world, world_with_topic};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

/// Short, for tests in which a lease must expire; still longer than a busy disk takes for a commit.
const LEASE_TO_OUTLIVE_MS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_once_in_order_with_its_key_and_headers() {
    let mut world = world().await;
    world.append(3_000).await;
    let running = start(&world.config);
    world.when_cursor(3_000).await;
    world.append(500).await;
    world.when_cursor(3_500).await;
    running.when_readiness("ready", |reason| reason.is_none()).await;
    running.stop().await;
    let topic = world.on_topic().await;
    assert_eq!(world.assert_all_there_in_order(3_500, &topic), 0, "no duplicate");
    let logged = world.store.scan(0, 1).await.expect("the log").remove(0);
    let first = topic.values().flatten().find(|event| event.position == 1).expect("it is on the topic");
    let record = &first.record;
    assert_eq!(record.value, cloud_event::encode(CONTEXT, &logged));
    assert_eq!(record.key, logged.stream.as_str());
    assert_eq!(record.headers["ce_type"], "tradewind.inventory.StockReceived.v1");
    assert_eq!(record.headers["ce_id"], logged.event_id.to_string());
    assert_eq!(record.headers["traceparent"], logged.metadata.traceparent.expect("appended with one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_is_replaced_without_a_loss() {
    let mut world = world().await;
    world.config.lease_ms = LEASE_TO_OUTLIVE_MS;
    world.append(20_000).await;
    for cursor in [1_000, 6_000, 12_000] {
        let running = start(&world.config);
        world.when_cursor(cursor).await;
        running.kill().await;
    }
    let last = start(&world.config);
    world.when_cursor(20_000).await;
    last.stop().await;
    let duplicates = world.assert_all_there_in_order(20_000, &world.on_topic().await);
    assert!(duplicates < 5_000, "{duplicates} duplicates");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_published_after_the_cursor_is_not_published_again() {
    let mut world = world().await;
    world.append(2_000).await;
    let first = start(&world.config);
    world.when_cursor(2_000).await;
    first.stop().await;
    // As after a crash between the acknowledgement and the move of the cursor.
    world.execute("UPDATE relay SET cursor = 300").await;
    world.append(100).await;
    let second = start(&world.config);
    world.when_cursor(2_100).await;
    second.stop().await;
    assert_eq!(world.assert_all_there_in_order(2_100, &world.on_topic().await), 0, "no duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_slept_past_its_lease_breaks_no_order_and_moves_no_cursor() {
    let mut world = world().await;
    world.config.lease_ms = LEASE_TO_OUTLIVE_MS;
    world.append(2_000).await;
    let sleeper = Sleeper::start(&world);
    world.when_cursor(200).await;
    let sleepers_epoch = world.status().await.lease_epoch;
    let awake = sleeper.fall_asleep();
    world.append(5_000).await;
    let successor = start(&world.config);
    eventually("the successor has the lease", || async {
        (world.status().await.lease_epoch > sleepers_epoch).then_some(())
    })
    .await;
    drop(awake); // it continues while the successor publishes
    world.append(5_000).await;
    world.when_cursor(12_000).await;
    let status = world.status().await;
    assert_eq!(status.cursor, 12_000);
    assert!(status.lease_epoch > sleepers_epoch);
    successor.stop().await;
    sleeper.stop();
    let duplicates = world.assert_all_there_in_order(12_000, &world.on_topic().await);
    assert!(duplicates <= 2_000, "{duplicates} duplicates: more than the sleeper can have had in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_releases_its_lease_for_the_one_that_stands_by() {
    let mut world = world().await;
    world.config.lease_ms = 60_000;
    let first = start(&world.config);
    first.when_readiness("ready", |reason| reason.is_none()).await;
    let holder = world.status().await.holder;
    let second = start(&world.config);
    second.when_readiness("ready while it stands by", |reason| reason.is_none()).await;
    let stopping = Instant::now();
    first.stop().await;
    eventually("the other relay has the lease", || async {
        (world.status().await.holder != holder).then_some(())
    })
    .await;
    assert!(stopping.elapsed().as_secs() < 40, "it did not wait until the lease expired");
    world.append(100).await;
    world.when_cursor(100).await;
    second.stop().await;
    assert!(!world.status().await.lease_is_held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_kafka_refuses_delays_later_events_until_kafka_accepts_it() {
    let mut world = world_with_topic(&[("max.message.bytes", "30000")]).await;
    world.append(100).await;
    world.append_noted(1, Some("x".repeat(60_000))).await;
    world.append(100).await;
    let running = start(&world.config);
    running
        .when_readiness("the reason is reported", |reason| {
            reason.is_some_and(|reason| reason.contains("not delivered"))
        })
        .await;
    assert!(world.status().await.cursor <= 100);
    set_max_message_bytes(&world, "1000000").await;
    world.when_cursor(201).await;
    running.when_readiness("ready again", |reason| reason.is_none()).await;
    running.stop().await;
    world.assert_all_there_in_order(201, &world.on_topic().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_an_event_that_the_log_does_not_have_stops_the_relay() {
    let mut world = world().await;
    world.append(50).await;
    let mut foreign = world.store.scan(49, 1).await.expect("the log").remove(0);
    foreign.position = 60;
    let mut publisher =
        OrderedPublisher::new(&world.config.bus, world.config.bus.topic(CONTEXT)).expect("one");
    let record = Outgoing {
        key: foreign.stream.as_str().to_owned(),
        headers: Vec::new(),
        value: cloud_event::encode(CONTEXT, &foreign),
    };
    publisher.publish(&[record]).await.expect("acknowledged");
    let running = start(&world.config);
    running
        .when_readiness("the reason is reported", |reason| {
            reason.is_some_and(|reason| reason.contains("reconcile"))
        })
        .await;
    assert!(!world.status().await.lease_is_held, "the lease was released");
    running.shutdown.cancel();
    let error = running.ended().await.expect_err("it did not go on");
    assert!(
        matches!(error, Error::TopicAheadOfLog { context, position: 60, head: 50, .. } if context == CONTEXT),
        "{error}"
    );
    let tails = event_bus::read_tail(&world.config.bus, CONTEXT).await.expect("read");
    assert!(
        tails.iter().all(|tail| tail.stop_marker.is_some()),
        "every partition has a stop marker: {tails:?}"
    );

    let records = testkit::read_topic(&world.config.bus.topic(CONTEXT)).await.len();
    let again = start(&world.config);
    again
        .when_readiness("the reason is reported", |reason| {
            reason.is_some_and(|reason| reason.contains("reconcile"))
        })
        .await;
    again.shutdown.cancel();
    again.ended().await.expect_err("it did not go on");
    assert_eq!(
        testkit::read_topic(&world.config.bus.topic(CONTEXT)).await.len(),
        records,
        "one stop marker per partition"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_a_later_epoch_stops_the_relay_and_so_does_an_unfinished_reconciliation() {
    let mut world = world().await;
    world.append(50).await;
    world.execute("UPDATE log_epoch SET epoch = 3").await;
    let running = start(&world.config);
    world.when_cursor(50).await;
    running.stop().await;
    // As in a backup that is older than the epoch.
    world.execute("UPDATE log_epoch SET epoch = 2").await;
    let running = start(&world.config);
    running
        .when_readiness("the epoch is reported", |reason| {
            reason.is_some_and(|reason| reason.contains("epoch 3"))
        })
        .await;
    running.shutdown.cancel();
    let error = running.ended().await.expect_err("it did not go on");
    assert!(matches!(error, Error::TopicOfAnotherEpoch { found: 3, epoch: 2, .. }), "{error}");

    world.execute("UPDATE log_epoch SET epoch = 3, reconciling_to = 4").await;
    let running = start(&world.config);
    running
        .when_readiness("it is reported", |reason| {
            reason.is_some_and(|reason| reason.contains("not finished"))
        })
        .await;
    running.shutdown.cancel();
    let error = running.ended().await.expect_err("it did not go on");
    assert!(matches!(error, Error::Unreconciled { context } if context == CONTEXT), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_behind_the_cursor_stops_the_relay() {
    let mut world = world().await;
    world.append(50).await;
    let running = start(&world.config);
    world.when_cursor(50).await;
    running.stop().await;
    world.config.bus.topic_prefix = format!("{}-", testkit::unique("relay"));
    event_bus::ensure_topics(&world.config.bus, &Context::NAMES, 1).await.expect("other topics");
    let running = start(&world.config);
    running
        .when_readiness("the reason is reported", |reason| {
            reason.is_some_and(|reason| reason.contains("reconcile"))
        })
        .await;
    running.shutdown.cancel();
    let error = running.ended().await.expect_err("it did not go on");
    assert!(
        matches!(error, Error::TopicLost { context, cursor: 50, .. } if context == Context::Inventory),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_head_cursor_lag_and_lease() {
    let mut world = world().await;
    world.append(30).await;
    let before = world.status().await;
    assert_eq!((before.head, before.cursor, before.lag()), (30, 0, 30));
    assert!(!before.lease_is_held);
    let running = start(&world.config);
    world.when_cursor(30).await;
    let after = world.status().await;
    assert_eq!((after.cursor, after.lag(), after.lease_is_held), (30, 0, true));
    assert!(after.holder.starts_with("relay-"), "{}", after.holder);
    running.stop().await;
}

/// A relay on its own thread, which can be blocked like a stopped process; only librdkafka's threads continue.
struct Sleeper {
    runtime: tokio::runtime::Handle,
    shutdown: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Sleeper {
    fn start(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (config, shutdown) = (world.config.clone(), CancellationToken::new());
        let stop = shutdown.clone();
        let relay =
            async move { relay::run(config, &Context::NAMES, Health::new(), stop).await.expect("no error") };
        let thread = std::thread::spawn(move || runtime.block_on(relay));
        Self { runtime: handle, shutdown, thread }
    }

    /// Blocks the relay until the returned sender is dropped.
    fn fall_asleep(&self) -> mpsc::Sender<()> {
        let (awake, asleep) = mpsc::channel::<()>();
        let (fell, falls) = mpsc::channel();
        self.runtime.spawn(async move {
            fell.send(()).expect("the test waits");
            let _ = asleep.recv(); // blocks the runtime's only thread
        });
        falls.recv().expect("it falls asleep");
        awake
    }

    fn stop(self) {
        self.shutdown.cancel();
        self.thread.join().expect("it does not panic");
    }
}
