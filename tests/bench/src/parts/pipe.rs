//! From commit to visible: how long an event takes until a Kafka consumer has it, at a steady 1,000 events a second.
//!
//! Beside it a bare producer and a bare consumer on a topic with the same settings. The relay runs in a process of its
//! own. Read next: `platform/relay/src/pump.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use event_store::append_channel;
use events::Context;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use runtime::Notifications;
use uuid::Uuid;

use crate::figures::{Goal, Row, Spread};
use crate::orders::append_one;
use crate::pace::{Latencies, latencies, ms, note, open_loop};
use crate::role::Role;
use crate::stage::{Database, Stage, binary, topic_prefix};
use crate::tail::Tail;

const CALLERS: usize = 64;
const VALUE_BYTES: usize = 900;
const ARRIVAL_MAX: Duration = Duration::from_secs(180);
/// Producers and consumers have found their brokers by then.
const SETTLING: Duration = Duration::from_secs(2);
/// Of a span: the slowest in a hundred are some hundred events then, not one pause of somebody.
const SPANS: u32 = 3;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let (rate, sizes) = (stage.sizes.pipe_rate, stage.sizes.clone());
    let span = sizes.span * SPANS;
    let mut seen = [const { Vec::new() }; 5];
    for _ in 0..sizes.repetitions {
        let ours = through_the_relay(rate, span).await?;
        let bare = bare(rate, span).await?;
        let waking = waking(sizes.span / 4).await?;
        let figures = [ms(&ours, 0.5), ms(&ours, 0.99), ms(&bare, 0.5), ms(&bare, 0.99), ms(&waking, 0.5)];
        seen.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
    }
    let [ours_p50, ours_p99, bare_p50, bare_p99, waking] = seen.map(Spread::of);
    let row = |quantile: &str, ours: Spread| {
        Row::new(format!("commit to visible, {quantile}, {rate} events/s"), "ms", ours)
    };
    let bare_client = |quantile: &str| format!("ms, produce to consume, bare client, {quantile}");
    let (p50, hops) = (row("p50", ours_p50), bare_p50.median + waking.median);
    Ok(vec![
        p50.clone().beside(bare_client("p50"), bare_p50.median).goal(Goal::AtMost(2.0)),
        row("p99", ours_p99).beside(bare_client("p99"), bare_p99.median).goal(Goal::AtMost(3.0)),
        Row::new("a relay woken (NOTIFY, and a look at the log), alone, p50", "ms", waking),
        p50.beside("ms, a relay woken and the bare client, one after the other", hops),
    ])
}

/// What the relay's way has before the bare client's: a NOTIFY that is heard, and a look at the log that finds one event.
async fn waking(span: Duration) -> anyhow::Result<Latencies> {
    let database = Database::fresh("waking").await?;
    let store = database.store(Context::Orders).await?;
    let growth = Notifications::listen(&database.url, &append_channel(Context::Orders));
    let teller = database.admin().await?;
    // As the store's herald does.
    let tell = format!("SET LOCAL synchronous_commit = off; NOTIFY {}", append_channel(Context::Orders));
    store.append(append_one()).await?;
    // The append's own notification, and the one that says that listening began.
    while tokio::time::timeout(SETTLING, growth.notified()).await.is_ok() {}
    let mut seen = latencies();
    let end = Instant::now() + span;
    while seen.is_empty() || Instant::now() < end {
        let begun = Instant::now();
        teller.batch_execute(&tell).await?;
        growth.notified().await;
        ensure!(store.scan(0, 256).await?.len() == 1, "one event was appended");
        note(&mut seen, begun.elapsed());
    }
    store.shutdown().await;
    database.drop().await?;
    Ok(seen)
}

/// When something began, by the id of what will arrive.
type Begun = Arc<Mutex<HashMap<Uuid, Instant>>>;
/// When something arrived.
type Arrived = Begun;

async fn through_the_relay(rate: u64, span: Duration) -> anyhow::Result<Latencies> {
    let database = Database::fresh("pipe").await?;
    let prefix = topic_prefix("pipe");
    database.tradewind(&["topics"], &[("TOPIC_PREFIX", &prefix)]).await?;
    let env = [("DATABASE_URL", database.url.expose()), ("TOPIC_PREFIX", &prefix)];
    let relay = Role::start(&binary(), &["relay", "--context", "orders"], &env, Some("/readyz")).await?;
    let store = database.store(Context::Orders).await?;
    let arrived = Arrived::default();
    let _tail = tail(&prefix, &arrived)?;
    let begun = Begun::default();
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
    until_arrived(&begun, &arrived).await?;
    lock(&begun).clear();
    open_loop(CALLERS, rate as f64, Duration::ZERO, span, append).await?;
    let seen = until_arrived(&begun, &arrived).await?;
    relay.stop().await?;
    store.shutdown().await;
    database.drop().await?;
    Ok(seen)
}

/// Produce to consume, with the settings of the relay's producer.
///
/// # Errors
/// When Kafka does not answer.
pub async fn bare(rate: u64, span: Duration) -> anyhow::Result<Latencies> {
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
    // One record by itself, which nobody counts: of those that were sent while the producer learnt where the topic is, one was
    // seen to stay in its queue.
    let first = BaseRecord::<[u8], [u8]>::to(&topic).key(b"first").payload(b"first");
    producer.send(first).map_err(|(error, _)| error)?;
    producer.flush(ARRIVAL_MAX)?;
    let arrived = Arrived::default();
    let _tail = tail(&prefix, &arrived)?;
    let begun = Begun::default();
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
    until_arrived(&begun, &arrived).await?;
    lock(&begun).clear();
    open_loop(CALLERS, rate as f64, Duration::ZERO, span, produce).await?;
    producer.flush(ARRIVAL_MAX)?;
    until_arrived(&begun, &arrived).await
}

/// Tells of what is lost, which would be waited for in vain.
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

fn tail(prefix: &str, arrived: &Arrived) -> anyhow::Result<Tail> {
    let arrived = Arc::clone(arrived);
    Tail::of(&format!("{prefix}{}", Context::Orders.topic()), move |record| {
        let now = Instant::now();
        if let Some(id) = header(record, "ce_id").and_then(|id| id.parse().ok()) {
            lock(&arrived).entry(id).or_insert(now);
        }
    })
}

/// A header's value, where it is text.
pub fn header<'a>(record: &'a rdkafka::message::BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    use rdkafka::message::Headers as _;
    let value = record.headers()?.iter().find(|header| header.key == name)?.value?;
    std::str::from_utf8(value).ok()
}

async fn until_arrived(begun: &Begun, arrived: &Arrived) -> anyhow::Result<Latencies> {
    let give_up = Instant::now() + ARRIVAL_MAX;
    loop {
        let (begun, arrived) = (lock(begun).clone(), lock(arrived).clone());
        if begun.keys().all(|id| arrived.contains_key(id)) {
            let mut seen = latencies();
            for (id, begun) in begun {
                // The consumer may have it before the caller has heard of the commit: that is no time at all.
                note(&mut seen, arrived[&id].saturating_duration_since(begun));
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

fn lock(times: &Begun) -> std::sync::MutexGuard<'_, HashMap<Uuid, Instant>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}
