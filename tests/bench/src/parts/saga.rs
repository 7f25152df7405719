//! Orders from POST to settled: how many a second, sustained with bounded lag; how long one takes at half that rate; and
//! what each order costs each process.
//!
//! Beside the latency the sum of the story's hops, each at the floor measured here: five appends, five records through
//! Kafka, one call over HTTP. Read next: `sagas/src/order_fulfilment/mod.rs`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use events::Context;

use crate::figures::{Goal, Row, Spread};
use crate::floor::{Floor, Settled};
use crate::pace::{Latencies, latencies, ms, note};
use crate::parts::append::appending;
use crate::parts::pipe::bare;
use crate::stage::{Database, Stage};

/// OrderPlaced, ReservationMade with its stock, PaymentRequested, PaymentAuthorised, OrderConfirmed.
const APPENDS: f64 = 5.0;
/// Each of them to the next, and the last to us.
const RECORDS: f64 = 5.0;
const SKUS: usize = 500;
const STOCK: i64 = 1_000_000;
/// Of the capacity that a burst shows, this much is tried first, then less, until the lag is bounded.
const TRIES: [f64; 3] = [0.95, 0.75, 0.5];
/// Bounded: at the end not more orders are open than are placed in this time.
const LAG_SECONDS_MAX: f64 = 5.0;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let sizes = stage.sizes.clone();
    let floor = stage.floor().await?;
    stock_up(floor).await?;
    let capacity = burst(floor, sizes.settle_burst).await?;
    let sustained = sustained(floor, capacity, sizes.settle_span).await?;
    floor.idle().await?;
    let half = settling(floor, sustained.per_second / 2.0, sizes.settle_span / 2).await?;
    let floor_ms = hops_ms(sizes.pipe_rate, sizes.span).await?;
    let mut rows = vec![
        Row::new("burst, POST to settled", "orders/s", Spread::one(capacity)),
        Row::new(
            format!("sustained for {} s, lag bounded", sizes.settle_span.as_secs()),
            "orders/s",
            Spread::one(sustained.per_second),
        ),
        Row::new("lag at its end", "s of placing", Spread::one(sustained.lag_seconds))
            .goal(Goal::AtMost(LAG_SECONDS_MAX)),
        Row::new("settled after, p50 at half that rate", "ms", Spread::one(ms(&half, 0.5)))
            .beside("ms, the sum of the hops' floors", floor_ms)
            .goal(Goal::AtMost(2.0)),
        Row::new("settled after, p99 at half that rate", "ms", Spread::one(ms(&half, 0.99)))
            .beside("ms, the sum of the hops' floors", floor_ms),
    ];
    let of = |name: &str| sustained.cpu_ms.iter().find(|(process, _)| *process == name).map(|(_, ms)| *ms);
    let engines = of("postgres").into_iter().chain(of("kafka")).fold(0.0, f64::max);
    for (process, cpu_ms) in &sustained.cpu_ms {
        let row = Row::new(format!("CPU per order, {process}"), "ms", Spread::one(*cpu_ms));
        let ours = !matches!(*process, "postgres" | "kafka") && engines > 0.0;
        rows.push(if ours {
            row.beside("ms, the busier engine", engines).goal(Goal::AtMost(1.0))
        } else {
            row
        });
    }
    Ok(rows)
}

/// Pieces enough of every SKU that [`two_lines`] names.
///
/// # Errors
/// When a receipt is not accepted.
pub async fn stock_up(floor: &Floor) -> anyhow::Result<()> {
    for number in 0..SKUS {
        floor.shop.receive_stock(&sku(number), STOCK).await?;
    }
    Ok(())
}

fn sku(number: usize) -> String {
    format!("SKU-{}", number % SKUS)
}

/// The SKUs of an order: two that stand in many others, too.
pub fn two_lines(number: usize) -> Vec<String> {
    vec![sku(number), sku(number * 7 + 1)]
}

/// Orders a second when all are placed as fast as they are accepted.
///
/// # Errors
/// When one is not accepted, or not settled.
pub async fn burst(floor: &Floor, count: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let orders = floor.place(count, two_lines).await?;
    let settled = floor.all_settled(&orders).await?;
    let last = settled.iter().map(|settled| settled.at).max().unwrap_or(begun);
    Ok(count as f64 / last.duration_since(begun).as_secs_f64())
}

struct Sustained {
    per_second: f64,
    /// Orders that were not settled when the last one was placed, and how many seconds of placing they are.
    open: f64,
    lag_seconds: f64,
    /// Milliseconds on a processor for each order, by process.
    cpu_ms: Vec<(&'static str, f64)>,
}

/// At the highest of the rates whose lag is bounded; at the lowest where none is, and the lag is what shows it.
async fn sustained(floor: &Floor, capacity: f64, span: Duration) -> anyhow::Result<Sustained> {
    let mut last = None;
    for part in TRIES {
        let rate = (capacity * part).max(1.0);
        let sustained = sustaining(floor, rate, span).await?;
        if sustained.lag_seconds <= LAG_SECONDS_MAX {
            return Ok(sustained);
        }
        eprintln!("bench: at {rate:.0} orders/s {:.0} were open at the end; trying less", sustained.open);
        last = Some(sustained);
    }
    last.context("at least one rate was tried")
}

async fn sustaining(floor: &Floor, rate: f64, span: Duration) -> anyhow::Result<Sustained> {
    let (begun, before) = (Instant::now(), floor.cpu());
    let placed = floor.place_at(rate, span, two_lines).await?;
    let orders: Vec<_> = placed.iter().map(|(order, _)| *order).collect();
    let open = (orders.len() - floor.settled(&orders).len()) as f64;
    let settled = floor.all_settled(&orders).await?;
    let after = floor.cpu();
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

async fn settling(floor: &Floor, rate: f64, span: Duration) -> anyhow::Result<Latencies> {
    let placed = floor.place_at(rate.max(1.0), span, two_lines).await?;
    let orders: Vec<_> = placed.iter().map(|(order, _)| *order).collect();
    floor.all_settled(&orders).await?;
    let mut seen = latencies();
    for (order, intended) in placed {
        let [Settled { at, confirmed }] = floor.settled(&[order])[..] else { continue };
        ensure!(confirmed, "an order was rejected, with stock and money enough");
        note(&mut seen, at.saturating_duration_since(intended));
    }
    Ok(seen)
}

/// What the story would take if each hop took what it takes alone.
async fn hops_ms(rate: u64, span: Duration) -> anyhow::Result<f64> {
    let database = Database::fresh("hops").await?;
    let store = database.store(Context::Orders).await?;
    let append = ms(&appending(&store, 1, span / 4, span).await?.latencies, 0.5);
    store.shutdown().await;
    database.drop().await?;
    let record = ms(&bare(rate, span).await?, 0.5);
    // The call over HTTP is left out of the floor: it is less than the goal's slack.
    Ok(APPENDS * append + RECORDS * record)
}
