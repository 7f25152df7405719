//! What a client waits for: from POST to `?wait=settled`'s answer, and of that, how long the read side takes once the order is
//! confirmed in the log; beside it what an order costs each process, and how often Kafka is asked for records.
//!
//! The platform is that of TRADEWIND_BIN, so two builds can be measured in one sitting. Read next: `saga.rs`.

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

use crate::figures::{Row, Spread};
use crate::floor::processes;
use crate::http::Connection;
use crate::pace::{Latencies, latencies, ms, note, open_loop};
use crate::parts::command::Shop;
use crate::proc::cpu_seconds;
use crate::stage::Stage;

const SKUS: usize = 500;
const STOCK: i64 = 1_000_000;
/// Orders that may be under way: each waits on a connection of its own.
const CALLERS: usize = 200;
/// The longest that the query side lets a request wait.
const WAIT_MS: u64 = 60_000;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    stage.close_floor();
    let platform = Platform::start("bench_seen", &[]).await;
    let load = Load::open(&platform).await?;
    load.at(stage.sizes.seen_rates[0], stage.sizes.span).await?; // warms up
    let mut rows = Vec::new();
    for &rate in &stage.sizes.seen_rates {
        rows.extend(measured(&platform, &load, rate, stage.sizes.seen_span).await?);
    }
    Ok(rows)
}

async fn measured(platform: &Platform, load: &Load, rate: u64, span: Duration) -> anyhow::Result<Vec<Row>> {
    let (cpu_before, fetches_before) = (cpu(platform), fetches().await);
    let (settled, seen_at) = load.at(rate, span).await?;
    let (cpu_after, fetches_after) = (cpu(platform), fetches().await);
    let (confirmed, behind) = against_the_log(platform, &seen_at).await?;
    let count = seen_at.len() as f64;
    let row = |what: &str, figure| Row::new(format!("{what}, {rate} orders/s"), "ms", Spread::one(figure));
    let mut rows = Vec::new();
    for (what, latencies) in [
        ("POST to settled", &settled),
        ("placed to confirmed, in the log", &confirmed),
        ("confirmed in the log to seen", &behind),
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

/// Requests for records that the broker has answered so far; none where it cannot be asked.
async fn fetches() -> Option<u64> {
    let pid = std::env::var("TRADEWIND_KAFKA_PID").ok()?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("Fetches.java");
    let output = Command::new("java").arg(program).arg(pid).output().await.ok()?;
    let count = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    if count.is_none() {
        eprintln!(
            "bench: the broker's fetches cannot be counted: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    count
}

/// When each order was seen settled.
type SeenAt = Vec<(Uuid, SystemTime)>;

/// Callers that place an order and wait until they see it settled.
struct Load {
    shop: Shop,
    queries: Arc<[tokio::sync::Mutex<Connection>]>,
}

impl Load {
    async fn open(platform: &Platform) -> anyhow::Result<Self> {
        let address = |name: &str| platform.endpoint(name).replace("http://", "");
        let shop = Shop::open(&address("command_url"), CALLERS, 201).await?;
        let stocked = Shop::open(&address("command_url"), 1, 200).await?;
        for number in 0..SKUS {
            stocked.receive_stock(&sku(number), STOCK).await?;
        }
        let query = address("query_url");
        let opened = try_join_all((0..CALLERS).map(|_| Connection::open(&query))).await?;
        Ok(Self { shop, queries: opened.into_iter().map(tokio::sync::Mutex::new).collect() })
    }

    /// How long each order took from the time that was meant for it, and when it was seen settled.
    async fn at(&self, rate: u64, span: Duration) -> anyhow::Result<(Latencies, SeenAt)> {
        let seen_at = Arc::<Mutex<SeenAt>>::default();
        let call = {
            let (shop, queries, seen_at) =
                (self.shop.clone(), Arc::clone(&self.queries), Arc::clone(&seen_at));
            move |caller: usize| {
                let (shop, queries, seen_at) = (shop.clone(), Arc::clone(&queries), Arc::clone(&seen_at));
                async move {
                    let order = Uuid::now_v7();
                    let number = order.as_u128() as usize % SKUS;
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

fn sku(number: usize) -> String {
    format!("SKU-{number}")
}

/// From placed to confirmed by the log's own times, and from there to when it was seen; all clocks are this machine's.
async fn against_the_log(platform: &Platform, seen_at: &SeenAt) -> anyhow::Result<(Latencies, Latencies)> {
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
        let (placed_at, confirmed_at) = times.get(stream).context("an order that was seen is in the log")?;
        note(&mut confirmed, confirmed_at.duration_since(*placed_at).unwrap_or_default());
        note(&mut behind, seen.duration_since(*confirmed_at).unwrap_or_default());
    }
    Ok((confirmed, behind))
}
