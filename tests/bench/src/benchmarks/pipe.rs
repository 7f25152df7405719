//! Latency from the commit of an event until a Kafka consumer has it, at a steady 1,000 events a second. Baseline: a
//! plain producer and a plain consumer on a topic with the same settings. The relay runs in its own process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use event_store::append_channel;
use events::Context;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use runtime::Notifications;
use uuid::Uuid;

use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::load_generator::{Latencies, latencies, ms, open_loop, record};
use crate::orders::append_one;
use crate::role::{Role, binary};

use crate::tail::{Tail, header, topic_prefix};

const CALLERS: usize = 64;
const VALUE_BYTES: usize = 900;
const ARRIVAL_MAX: Duration = Duration::from_secs(180);
/// After this time producers and consumers have found their brokers.
const SETTLING: Duration = Duration::from_secs(2);
/// So many spans make the slowest hundredth some hundred events, instead of the events of a single pause.
const SPANS: u32 = 3;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let (rate, sizes) = (environment.sizes.pipe_rate, environment.sizes.clone());
    let span = sizes.span * SPANS;
    let mut seen = [const { Vec::new() }; 5];
    for _ in 0..sizes.repetitions {
        let ours = relay_latency(rate, span).await?;
        let bare = plain_client_latency(rate, span).await?;
        let wake_up = wake_up_latency(sizes.span / 4).await?;
        let figures = [ms(&ours, 0.5), ms(&ours, 0.99), ms(&bare, 0.5), ms(&bare, 0.99), ms(&wake_up, 0.5)];
        seen.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
    }
    let [ours_p50, ours_p99, bare_p50, bare_p99, wake_up] = seen.map(Spread::of);
    let row = |quantile: &str, ours: Spread| {
        Row::new(format!("commit to visible, {quantile}, {rate} events/s"), "ms", ours)
    };
    let plain_client = |quantile: &str| format!("ms, produce to consume, plain client, {quantile}");
    let (p50, hops) = (row("p50", ours_p50), bare_p50.median + wake_up.median);
    Ok(vec![
        p50.clone().baseline(plain_client("p50"), bare_p50.median).goal(Goal::AtMost(2.0)),
        row("p99", ours_p99).baseline(plain_client("p99"), bare_p99.median).goal(Goal::AtMost(3.0)),
        Row::new("waking the relay (NOTIFY and a read of the log), alone, p50", "ms", wake_up),
        p50.baseline("ms, waking the relay, then the plain client", hops),
    ])
}

/// What the relay does before a plain client would: it receives a NOTIFY and reads one event from the log.
async fn wake_up_latency(span: Duration) -> anyhow::Result<Latencies> {
    let database = Database::fresh("wake_up").await?;
    let store = database.store(Context::Orders).await?;
    let growth = Notifications::listen(&database.url, &append_channel(Context::Orders));
    let notifier = database.admin().await?;
    // As the store does after a commit.
    let notify = format!("SET LOCAL synchronous_commit = off; NOTIFY {}", append_channel(Context::Orders));
    store.append(append_one()).await?;
    // Skips the notification of the append and the one at the start of listening.
    while tokio::time::timeout(SETTLING, growth.notified()).await.is_ok() {}
    let mut seen = latencies();
    let end = Instant::now() + span;
    while seen.is_empty() || Instant::now() < end {
        let begun = Instant::now();
        notifier.batch_execute(&notify).await?;
        growth.notified().await;
        ensure!(store.scan(0, 256).await?.len() == 1, "one event was appended");
        record(&mut seen, begun.elapsed());
    }
    store.shutdown().await;
    database.drop().await?;
    Ok(seen)
}

/// When each event was sent, by its id.
type SentAt = Arc<Mutex<HashMap<Uuid, Instant>>>;
/// When each event arrived, by its id.
type ArrivedAt = SentAt;

async fn relay_latency(rate: u64, span: Duration) -> anyhow::Result<Latencies> {
    let database = Database::fresh("pipe").await?;
    let prefix = topic_prefix("pipe");
    database.tradewind(&["topics"], &[("TOPIC_PREFIX", &prefix)]).await?;
    let env = [("DATABASE_URL", database.url.expose()), ("TOPIC_PREFIX", &prefix)];
    let relay = Role::start(&binary(), &["relay", "--context", "orders"], &env, Some("/readyz")).await?;
    let store = database.store(Context::Orders).await?;
    let arrived = ArrivedAt::default();
    let _tail = tail(&prefix, &arrived)?;
    let begun = SentAt::default();
    let append = {
        let (store, begun) = (store.clone(), Arc::clone(&begun));
        move |_| {
            let (store, begun) = (store.clone(), Arc::clone(&begun));
            async move {
                let append = append_one();
                let id = append.writes[0].events[0].event_id;
                store.append(append).await?;
                lock(&begun).insert(id, Instant::now());
                anyhow::Ok(())
            }
        }
    };
    open_loop(CALLERS, rate as f64, Duration::ZERO, SETTLING, append.clone()).await?;
    wait_until_arrived(&begun, &arrived).await?;
    lock(&begun).clear();
    open_loop(CALLERS, rate as f64, Duration::ZERO, span, append).await?;
    let seen = wait_until_arrived(&begun, &arrived).await?;
    relay.stop().await?;
    store.shutdown().await;
    database.drop().await?;
    Ok(seen)
}

/// Latency from produce to consume, with the settings of the relay's producer.
///
/// # Errors
/// When Kafka does not answer.
pub async fn plain_client_latency(rate: u64, span: Duration) -> anyhow::Result<Latencies> {
    let database = Database::fresh("bare_pipe").await?;
    let prefix = topic_prefix("bare-pipe");
    database.tradewind(&["topics"], &[("TOPIC_PREFIX", &prefix)]).await?;
    database.drop().await?;
    let producer: Arc<ThreadedProducer<Deliveries>> = ClientConfig::new()
        .set("bootstrap.servers", testkit::kafka_brokers())
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create_with_context(Deliveries)
        .map(Arc::new)?;
    let topic = format!("{prefix}{}", Context::Orders.topic());
    // The first record is not counted: while the producer looked up the topic, a record was once seen to stay in its queue.
    let first = BaseRecord::<[u8], [u8]>::to(&topic).key(b"first").payload(b"first");
    producer.send(first).map_err(|(error, _)| error)?;
    producer.flush(ARRIVAL_MAX)?;
    let arrived = ArrivedAt::default();
    let _tail = tail(&prefix, &arrived)?;
    let begun = SentAt::default();
    let produce = {
        let (producer, begun) = (Arc::clone(&producer), Arc::clone(&begun));
        move |_| {
            let id = Uuid::now_v7();
            lock(&begun).insert(id, Instant::now());
            let headers = rdkafka::message::OwnedHeaders::new()
                .insert(rdkafka::message::Header { key: "ce_id", value: Some(&id.to_string()) });
            let record =
                BaseRecord::to(&topic).key(id.as_bytes()).payload(&[b'x'; VALUE_BYTES]).headers(headers);
            let sent = producer.send(record).map_err(|(error, _)| error.into());
            async { sent }
        }
    };
    open_loop(CALLERS, rate as f64, Duration::ZERO, SETTLING, produce.clone()).await?;
    wait_until_arrived(&begun, &arrived).await?;
    lock(&begun).clear();
    open_loop(CALLERS, rate as f64, Duration::ZERO, span, produce).await?;
    producer.flush(ARRIVAL_MAX)?;
    wait_until_arrived(&begun, &arrived).await
}

/// Prints delivery failures; the wait for their records would otherwise fail without a reason.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            eprintln!("bench: a record was not delivered: {error}");
        }
    }
}

fn tail(prefix: &str, arrived: &ArrivedAt) -> anyhow::Result<Tail> {
    let arrived = Arc::clone(arrived);
    Tail::of(&format!("{prefix}{}", Context::Orders.topic()), move |record| {
        let now = Instant::now();
        if let Some(id) = header(record, "ce_id").and_then(|id| id.parse().ok()) {
            lock(&arrived).entry(id).or_insert(now);
        }
    })
}

async fn wait_until_arrived(begun: &SentAt, arrived: &ArrivedAt) -> anyhow::Result<Latencies> {
    let give_up = Instant::now() + ARRIVAL_MAX;
    loop {
        let (begun, arrived) = (lock(begun).clone(), lock(arrived).clone());
        if begun.keys().all(|id| arrived.contains_key(id)) {
            let mut seen = latencies();
            for (id, begun) in begun {
                // The consumer may have the event before the caller learns of the commit; that counts as 0.
                record(&mut seen, arrived[&id].saturating_duration_since(begun));
            }
            return Ok(seen);
        }
        ensure!(
            Instant::now() < give_up,
            "{} of {} events have not arrived after {ARRIVAL_MAX:?}",
            begun.keys().filter(|id| !arrived.contains_key(id)).count(),
            begun.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn lock(times: &SentAt) -> std::sync::MutexGuard<'_, HashMap<Uuid, Instant>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}
