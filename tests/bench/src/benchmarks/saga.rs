//! Orders from POST to settled: the sustained throughput with bounded lag, the latency at half that rate, and the CPU
//! time of each process per order. Baseline of the latency: the sum of the hops of the process, each measured here
//! alone: five appends and five records through Kafka.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use events::Context;

use crate::appends::append_load;
use crate::benchmarks::pipe::plain_client_latency;
use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::load_generator::{Latencies, latencies, ms, record};
use crate::platform::{BenchPlatform, Settled};
use crate::shop::two_lines;

/// OrderPlaced, ReservationMade with its stock, PaymentRequested, PaymentAuthorised, OrderConfirmed.
const APPENDS: f64 = 5.0;
/// Each append leads to a record: four start the next append, and the last reaches this process.
const RECORDS: f64 = 5.0;
/// The parts of the burst's throughput that are tried, in this order, until the lag is bounded.
const RATES_TRIED: [f64; 3] = [0.95, 0.75, 0.5];
/// The lag is bounded when at the end no more orders are open than are placed in this time.
const LAG_SECONDS_MAX: f64 = 5.0;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let sizes = environment.sizes.clone();
    let platform = environment.platform().await?;
    platform.shop.receive_all_stock().await?;
    let capacity = burst(platform, sizes.settle_burst).await?;
    let sustained = sustained(platform, capacity, sizes.settle_span).await?;
    platform.wait_until_idle().await?;
    let half = settle_latency(platform, sustained.per_second / 2.0, sizes.settle_span / 2).await?;
    let hops_ms_alone = hops_ms(sizes.pipe_rate, sizes.span).await?;
    let mut rows = vec![
        Row::new("burst, POST to settled", "orders/s", Spread::one(capacity)),
        Row::new(
            format!("sustained for {} s, lag bounded", sizes.settle_span.as_secs()),
            "orders/s",
            Spread::one(sustained.per_second),
        ),
        Row::new("lag at its end", "s of orders", Spread::one(sustained.lag_seconds))
            .goal(Goal::AtMost(LAG_SECONDS_MAX)),
        Row::new("settled after, p50 at half that rate", "ms", Spread::one(ms(&half, 0.5)))
            .baseline("ms, the sum of the hops, each alone", hops_ms_alone)
            .goal(Goal::AtMost(2.0)),
        Row::new("settled after, p99 at half that rate", "ms", Spread::one(ms(&half, 0.99)))
            .baseline("ms, the sum of the hops, each alone", hops_ms_alone),
    ];
    let of = |name: &str| sustained.cpu_ms.iter().find(|(process, _)| *process == name).map(|(_, ms)| *ms);
    let engines = of("postgres").into_iter().chain(of("kafka")).fold(0.0, f64::max);
    for (process, cpu_ms) in &sustained.cpu_ms {
        let row = Row::new(format!("CPU per order, {process}"), "ms", Spread::one(*cpu_ms));
        let ours = !matches!(*process, "postgres" | "kafka") && engines > 0.0;
        rows.push(if ours {
            row.baseline("ms, PostgreSQL or Kafka, the higher", engines).goal(Goal::AtMost(1.0))
        } else {
            row
        });
    }
    Ok(rows)
}

/// Orders settled a second when they are placed as fast as the server accepts them.
///
/// # Errors
/// When the server refuses one, or one does not settle.
pub async fn burst(platform: &BenchPlatform, count: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let orders = platform.place(count, two_lines).await?;
    let settled = platform.wait_until_settled(&orders).await?;
    let last = settled.iter().map(|settled| settled.at).max().unwrap_or(begun);
    Ok(count as f64 / last.duration_since(begun).as_secs_f64())
}

struct Sustained {
    per_second: f64,
    /// Orders that were not settled when the last one was placed; and the time in which so many are placed.
    open: f64,
    lag_seconds: f64,
    /// CPU milliseconds per order, by process.
    cpu_ms: Vec<(&'static str, f64)>,
}

/// Runs the highest rate with a bounded lag; the lowest rate where no lag is bounded.
async fn sustained(platform: &BenchPlatform, capacity: f64, span: Duration) -> anyhow::Result<Sustained> {
    let mut last = None;
    for part in RATES_TRIED {
        let rate = (capacity * part).max(1.0);
        let sustained = run_at(platform, rate, span).await?;
        if sustained.lag_seconds <= LAG_SECONDS_MAX {
            return Ok(sustained);
        }
        eprintln!(
            "bench: at {rate:.0} orders/s {:.0} orders were open at the end; trying a lower rate",
            sustained.open
        );
        last = Some(sustained);
    }
    last.context("at least one rate was tried")
}

async fn run_at(platform: &BenchPlatform, rate: f64, span: Duration) -> anyhow::Result<Sustained> {
    let (begun, before) = (Instant::now(), platform.cpu());
    let placed = platform.place_at(rate, span, two_lines).await?;
    let orders: Vec<_> = placed.iter().map(|(order, _)| *order).collect();
    let open = (orders.len() - platform.settled(&orders).len()) as f64;
    let settled = platform.wait_until_settled(&orders).await?;
    let after = platform.cpu();
    let end = settled.iter().map(|settled| settled.at).max().unwrap_or(begun);
    let count = settled.len() as f64;
    let cpu_ms = |name| (after[name] - before[name]) * 1_000.0 / count;
    Ok(Sustained {
        per_second: count / end.duration_since(begun).as_secs_f64(),
        open,
        lag_seconds: open / rate,
        cpu_ms: before.keys().map(|name| (*name, cpu_ms(name))).collect(),
    })
}

async fn settle_latency(platform: &BenchPlatform, rate: f64, span: Duration) -> anyhow::Result<Latencies> {
    let placed = platform.place_at(rate.max(1.0), span, two_lines).await?;
    let orders: Vec<_> = placed.iter().map(|(order, _)| *order).collect();
    platform.wait_until_settled(&orders).await?;
    let mut seen = latencies();
    for (order, intended) in placed {
        let [Settled { at, confirmed }] = platform.settled(&[order])[..] else { continue };
        ensure!(confirmed, "an order was rejected although stock and money suffice");
        record(&mut seen, at.saturating_duration_since(intended));
    }
    Ok(seen)
}

/// The latency of the process if each hop took the time that it takes alone.
async fn hops_ms(rate: u64, span: Duration) -> anyhow::Result<f64> {
    let database = Database::fresh("hops").await?;
    let store = database.store(Context::Orders).await?;
    let append = ms(&append_load(&store, 1, span / 4, span).await?.latencies, 0.5);
    store.shutdown().await;
    database.drop().await?;
    let record = ms(&plain_client_latency(rate, span).await?, 0.5);
    // The HTTP call to the payment provider is left out: it is shorter than the slack of the goal.
    Ok(APPENDS * append + RECORDS * record)
}
