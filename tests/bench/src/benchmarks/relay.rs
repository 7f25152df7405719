//! Events a second from a full log until Kafka has acknowledged them: 12 partitions, acks=all, idempotent. Baseline:
//! Kafka's producer-perf-test with records of the same size and the same settings. The relay runs in its own process;
//! the time is measured from the first to the last move of its cursor.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use events::{Context, RawEvent, cloud_event};
use tokio::process::Command;

use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::role::{Role, binary};

use crate::seed_log::seeded_log;
use crate::tail::topic_prefix;

const CURSOR_POLL: Duration = Duration::from_millis(10);
const RELAY_MAX: Duration = Duration::from_secs(300);
/// The mean size of so many records is the record size of producer-perf-test.
const SIZE_SAMPLE: usize = 4_000;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let events = environment.sizes.relay_events;
    let database = seeded_log(environment, events).await?;
    let record_bytes = record_bytes(&database).await?;
    let (mut relayed, mut ceiling) = (Vec::new(), Vec::new());
    for _ in 0..environment.sizes.repetitions {
        relayed.push(relay_all(&database, events).await?);
        ceiling.push(producer_perf_test(&database, events, record_bytes).await?);
    }
    let baseline = format!("records/s, producer-perf-test, {record_bytes} B each");
    let row = Row::new(format!("{events} events, log to acknowledged"), "events/s", Spread::of(relayed))
        .baseline(baseline, Spread::of(ceiling).median)
        .goal(Goal::AtLeast(0.6));
    Ok(vec![row])
}

/// The mean size of the records that the relay publishes from this log.
async fn record_bytes(database: &Database) -> anyhow::Result<usize> {
    let store = database.store(Context::Orders).await?;
    let events: Vec<RawEvent> = store.scan(0, SIZE_SAMPLE).await?;
    store.shutdown().await;
    ensure!(!events.is_empty(), "the log has events");
    let bytes: usize = events.iter().map(|event| cloud_event::encode(Context::Orders, event).len()).sum();
    Ok(bytes / events.len())
}

/// Publishes the whole log to new topics; events a second.
async fn relay_all(database: &Database, events: u64) -> anyhow::Result<f64> {
    let admin = database.admin().await?;
    admin
        .batch_execute(
            "UPDATE orders.relay SET cursor = 0, holder = '', lease_epoch = lease_epoch + 1, lease_expires_at = 'epoch'",
        )
        .await?;
    let prefix = topic_prefix("relay");
    database.tradewind(&["topics"], &[("TOPIC_PREFIX", &prefix)]).await?;
    let env = [("DATABASE_URL", database.url.expose()), ("TOPIC_PREFIX", &prefix)];
    let role = Role::start(&binary(), &["relay", "--context", "orders"], &env, None).await?;
    let begun = Instant::now();
    let mut first: Option<(Instant, i64)> = None;
    let head = i64::try_from(events)?;
    loop {
        let cursor: i64 = admin.query_one("SELECT cursor FROM orders.relay", &[]).await?.try_get(0)?;
        match first {
            None if cursor > 0 => first = Some((Instant::now(), cursor)),
            Some((since, from)) if cursor == head => {
                role.stop().await?;
                // Everything was published before the first poll: then the time counts from the start.
                let (since, published) = if cursor > from { (since, cursor - from) } else { (begun, cursor) };
                return Ok(published as f64 / since.elapsed().as_secs_f64());
            }
            None | Some(_) if begun.elapsed() > RELAY_MAX => bail!("the cursor is at {cursor} of {head}"),
            None | Some(_) => {}
        }
        tokio::time::sleep(CURSOR_POLL).await;
    }
}

/// Runs Kafka's tool as its scripts do; records a second.
async fn producer_perf_test(database: &Database, records: u64, record_bytes: usize) -> anyhow::Result<f64> {
    let prefix = topic_prefix("perf");
    database.tradewind(&["topics"], &[("TOPIC_PREFIX", &prefix)]).await?;
    let home = std::env::var_os("TRADEWIND_KAFKA_HOME").map(PathBuf::from);
    let home = home.context(
        "TRADEWIND_KAFKA_HOME, where Kafka's jars are, is not set: start the benchmarks with `make bench`",
    )?;
    let output = Command::new("java")
        .args(["-Xmx256m", "-cp"])
        .arg(format!("{}/libs/*", home.display()))
        .arg(format!("-Dlog4j2.configurationFile={}/log4j2-tools.properties", home.display()))
        .arg("org.apache.kafka.tools.ProducerPerformance")
        .args(["--topic", &format!("{prefix}{}", Context::Orders.topic())])
        .args(["--num-records", &records.to_string(), "--record-size", &record_bytes.to_string()])
        .args(["--throughput", "-1", "--producer-props"])
        .arg(format!("bootstrap.servers={}", testkit::kafka_brokers()))
        .args(["acks=all", "enable.idempotence=true", "linger.ms=0", "batch.size=1000000"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("start java")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    // 200000 records sent, 83125.519534 records/sec (43.60 MB/sec), ...
    let last = printed.lines().rfind(|line| line.contains("records sent"));
    let rate = last.and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok());
    rate.with_context(|| format!("producer-perf-test: {printed}{}", String::from_utf8_lossy(&output.stderr)))
}
