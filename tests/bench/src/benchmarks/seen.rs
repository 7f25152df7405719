//! Latency from POST until `?wait=settled` answers, and the part of it after the order is confirmed in the log; the CPU
//! time of each process per order, and the fetch requests to Kafka. The platform is the binary in TRADEWIND_BIN, so
//! that two builds can be measured one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use e2e::Platform;
use futures::future::try_join_all;
use runtime::Secret;
use runtime::postgres;
use tokio::process::Command;
use uuid::Uuid;

use crate::environment::Environment;
use crate::figures::{Row, Spread};
use crate::http::Connection;
use crate::load_generator::{Latencies, latencies, ms, open_loop, record};
use crate::platform::processes;
use crate::proc::cpu_seconds;
use crate::shop::{Shop, sku};

/// Orders in flight at most: each waits on its own connection.
const CALLERS: usize = 200;
/// The longest that the query side lets a request wait.
const WAIT_MS: u64 = 60_000;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    environment.stop_platform();
    let platform = Platform::start("bench_seen", &[]).await;
    let load = Load::open(&platform).await?;
    load.at(environment.sizes.seen_rates[0], environment.sizes.span).await?; // warms up
    let mut rows = Vec::new();
    for &rate in &environment.sizes.seen_rates {
        rows.extend(measured(&platform, &load, rate, environment.sizes.seen_span).await?);
    }
    Ok(rows)
}

async fn measured(platform: &Platform, load: &Load, rate: u64, span: Duration) -> anyhow::Result<Vec<Row>> {
    let (cpu_before, fetches_before) = (cpu(platform), fetches().await);
    let (settled, seen_at) = load.at(rate, span).await?;
    let (cpu_after, fetches_after) = (cpu(platform), fetches().await);
    let (confirmed, seen_later) = latencies_by_log(platform, &seen_at).await?;
    let count = seen_at.len() as f64;
    let row = |what: &str, figure| Row::new(format!("{what}, {rate} orders/s"), "ms", Spread::one(figure));
    let mut rows = Vec::new();
    for (what, latencies) in [
        ("POST to settled", &settled),
        ("placed to confirmed, in the log", &confirmed),
        ("confirmed in the log to seen", &seen_later),
    ] {
        rows.push(row(&format!("{what}, p50"), ms(latencies, 0.5)));
        rows.push(row(&format!("{what}, p99"), ms(latencies, 0.99)));
    }
    for (process, before) in &cpu_before {
        let cpu_ms = (cpu_after[process] - before) * 1_000.0 / count;
        rows.push(row(&format!("CPU per order, {process}"), cpu_ms));
    }
    if let (Some(before), Some(after)) = (fetches_before, fetches_after) {
        let per_order = (after - before) as f64 / count;
        rows.push(Row::new(format!("fetches per order, {rate} orders/s"), "", Spread::one(per_order)));
    }
    Ok(rows)
}

fn cpu(platform: &Platform) -> BTreeMap<&'static str, f64> {
    processes(platform).into_iter().map(|(name, pid)| (name, cpu_seconds(pid))).collect()
}

/// The number of fetch requests that the broker has answered so far; none where the JVM cannot be asked.
async fn fetches() -> Option<u64> {
    let pid = std::env::var("TRADEWIND_KAFKA_PID").ok()?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("Fetches.java");
    let output = Command::new("java").arg(program).arg(pid).output().await.ok()?;
    let count = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    if count.is_none() {
        eprintln!(
            "bench: cannot count the fetch requests of the broker: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    count
}

/// When the query side showed each order as settled.
type SeenAt = Vec<(Uuid, SystemTime)>;

/// Callers that place an order and wait until the query side shows it as settled.
struct Load {
    shop: Shop,
    queries: Arc<[tokio::sync::Mutex<Connection>]>,
}

impl Load {
    async fn open(platform: &Platform) -> anyhow::Result<Self> {
        let address = |name: &str| platform.endpoint(name).replace("http://", "");
        let shop = Shop::open(&address("command_url"), CALLERS, 201).await?;
        let stocked = Shop::open(&address("command_url"), 1, 200).await?;
        stocked.receive_all_stock().await?;
        let query = address("query_url");
        let opened = try_join_all((0..CALLERS).map(|_| Connection::open(&query))).await?;
        Ok(Self { shop, queries: opened.into_iter().map(tokio::sync::Mutex::new).collect() })
    }

    /// The latency of each order from its intended time, and the time at which it was seen as settled.
    async fn at(&self, rate: u64, span: Duration) -> anyhow::Result<(Latencies, SeenAt)> {
        let seen_at = Arc::<Mutex<SeenAt>>::default();
        let call = {
            let (shop, queries, seen_at) =
                (self.shop.clone(), Arc::clone(&self.queries), Arc::clone(&seen_at));
            move |caller: usize| {
                let (shop, queries, seen_at) = (shop.clone(), Arc::clone(&queries), Arc::clone(&seen_at));
                async move {
                    let order = Uuid::now_v7();
                    let number = order.as_u128() as usize;
                    shop.place_order(caller, order, &[sku(number)]).await?;
                    let path = format!("/v1/orders/{order}?wait=settled&timeout_ms={WAIT_MS}");
                    let status = queries[caller].lock().await.get(&path).await?;
                    ensure!(status == 200, "{path} was answered with {status}");
                    seen_at.lock().unwrap_or_else(PoisonError::into_inner).push((order, SystemTime::now()));
                    Ok(())
                }
            }
        };
        let settled = open_loop(CALLERS, rate as f64, Duration::ZERO, span, call).await?.latencies;
        let seen_at = std::mem::take(&mut *seen_at.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((settled, seen_at))
    }
}

/// Latency from placed to confirmed by the times in the log, and from there until it was seen. All clocks are this machine's.
async fn latencies_by_log(platform: &Platform, seen_at: &SeenAt) -> anyhow::Result<(Latencies, Latencies)> {
    let client = postgres::connect(&Secret::from(platform.endpoint("database_url"))).await?;
    let streams: Vec<String> = seen_at.iter().map(|(order, _)| format!("order-{order}")).collect();
    let rows = client
        .query(
            "SELECT stream, min(recorded_at) FILTER (WHERE type = 'OrderPlaced'),
                    min(recorded_at) FILTER (WHERE type = 'OrderConfirmed')
               FROM orders.events WHERE stream = ANY($1) GROUP BY stream",
            &[&streams],
        )
        .await?;
    let mut times = BTreeMap::<String, (SystemTime, SystemTime)>::new();
    for row in rows {
        times.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    let (mut confirmed, mut behind) = (latencies(), latencies());
    for ((_, seen), stream) in seen_at.iter().zip(&streams) {
        let (placed_at, confirmed_at) =
            times.get(stream).context("an order that was seen is not in the log")?;
        record(&mut confirmed, confirmed_at.duration_since(*placed_at).unwrap_or_default());
        record(&mut behind, seen.duration_since(*confirmed_at).unwrap_or_default());
    }
    Ok((confirmed, behind))
}
