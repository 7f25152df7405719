//! The orders of a real shop, from POST to settled, then verified: `tradewind load` on its own platform.
//! The file is not in the repository; without it this benchmark prints SKIPPED and measures nothing.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::benchmarks::verify::verify;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::platform::BenchPlatform;

const SETTLE_SECONDS_MAX: &str = "900";

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    if !environment.real_file.is_file() {
        eprintln!(
            "bench: SKIPPED: {} does not exist (--real-file takes another path)",
            environment.real_file.display()
        );
        return Ok(Vec::new());
    }
    environment.stop_platform();
    let mut platform = BenchPlatform::start("real_file", 1).await?;
    let file = environment.real_file.canonicalize()?.display().to_string();
    let summary_path = platform.up.state_dir().join("summary.json").display().to_string();
    let (command_url, query_url) = (platform.up.endpoint("command_url"), platform.up.endpoint("query_url"));
    let limit = environment.sizes.real_orders.map(|limit| limit.to_string());
    let mut args = vec!["load", &file, "--summary-json", &summary_path];
    args.extend(["--settle-timeout-seconds", SETTLE_SECONDS_MAX]);
    args.extend(["--command-url", &command_url, "--query-url", &query_url]);
    args.extend(limit.iter().flat_map(|limit| ["--limit-orders", limit]));
    let before = platform.cpu();
    let begun = Instant::now();
    let (code, printed) = platform.up.tradewind(&args).await;
    let wall = begun.elapsed().as_secs_f64();
    ensure!(code == 0, "tradewind load ended with {code}:\n{printed}");
    let after = platform.cpu();
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(&summary_path)?)?;
    let accepted = summary["accepted"].as_f64().context("how many were accepted")?;
    let events = platform.events().await?;
    let settled = |percentile: &str| summary["settled_ms"][percentile].as_f64().unwrap_or_default();
    let mut rows = vec![
        Row::new(format!("{accepted} orders, POST to settled: wall time"), "s", Spread::one(wall)),
        Row::new("orders settled", "orders/s", Spread::one(accepted / wall)),
        Row::new("events of all contexts", "events/s", Spread::one(events / wall)),
        Row::new("settled after, p50 (all orders are sent at once)", "ms", Spread::one(settled("p50"))),
        Row::new("settled after, p99", "ms", Spread::one(settled("p99"))),
    ];
    for (process, seconds) in &after {
        let cores = (seconds - before[process]) / wall;
        rows.push(Row::new(format!("CPU used by {process}"), "cores", Spread::one(cores)));
    }
    platform.stop_roles().await?;
    let unsettled = summary["unsettled"].as_array().map_or(f64::NAN, |orders| orders.len() as f64);
    rows.push(Row::new(
        "duration of `tradewind verify` afterwards",
        "s",
        Spread::one(verify(&platform.database, &platform.topic_prefix).await?.seconds),
    ));
    rows.push(Row::new("orders not settled", "orders", Spread::one(unsettled)).goal(Goal::AtMost(0.0)));
    Ok(rows)
}
