//! The real orders of a real shop through HTTP to settled and verified: `tradewind load` on a platform of its own.
//!
//! The file is not in the repository; where it is absent this part says so and measures nothing.
//! Read next: `tradewind/src/tools/load/mod.rs`.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::figures::{Goal, Row, Spread};
use crate::floor::Floor;
use crate::parts::verify::verify;
use crate::stage::Stage;

const SETTLE_SECONDS_MAX: &str = "900";

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    if !stage.real_file.is_file() {
        eprintln!("bench: SKIPPED: {} is not there (--real-file names another)", stage.real_file.display());
        return Ok(Vec::new());
    }
    stage.close_floor();
    let mut floor = Floor::open("real_file", 1).await?;
    let file = stage.real_file.canonicalize()?.display().to_string();
    let summary_path = floor.platform.state_dir().join("summary.json").display().to_string();
    let (command_url, query_url) =
        (floor.platform.endpoint("command_url"), floor.platform.endpoint("query_url"));
    let limit = stage.sizes.real_orders.map(|limit| limit.to_string());
    let mut args = vec!["load", &file, "--summary-json", &summary_path];
    args.extend(["--settle-timeout-seconds", SETTLE_SECONDS_MAX]);
    args.extend(["--command-url", &command_url, "--query-url", &query_url]);
    args.extend(limit.iter().flat_map(|limit| ["--limit-orders", limit]));
    let before = floor.cpu();
    let begun = Instant::now();
    let (code, printed) = floor.platform.tradewind(&args).await;
    let wall = begun.elapsed().as_secs_f64();
    ensure!(code == 0, "tradewind load ended with {code}:\n{printed}");
    let after = floor.cpu();
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(&summary_path)?)?;
    let accepted = summary["accepted"].as_f64().context("how many were accepted")?;
    let events = floor.events().await?;
    let settled = |percentile: &str| summary["settled_ms"][percentile].as_f64().unwrap_or_default();
    let mut rows = vec![
        Row::new(format!("{accepted} orders, POST to settled: wall time"), "s", Spread::one(wall)),
        Row::new("orders settled", "orders/s", Spread::one(accepted / wall)),
        Row::new("events of all contexts", "events/s", Spread::one(events / wall)),
        Row::new("settled after, p50 (all are sent at once)", "ms", Spread::one(settled("p50"))),
        Row::new("settled after, p99", "ms", Spread::one(settled("p99"))),
    ];
    for (process, seconds) in &after {
        let cores = (seconds - before[process]) / wall;
        rows.push(Row::new(format!("processors used by {process}"), "cores", Spread::one(cores)));
    }
    floor.rest().await?;
    let unsettled = summary["unsettled"].as_array().map_or(f64::NAN, |orders| orders.len() as f64);
    rows.push(Row::new(
        "verified afterwards, in",
        "s",
        Spread::one(verify(&floor.database, &floor.prefix).await?.seconds),
    ));
    rows.push(Row::new("orders not settled", "orders", Spread::one(unsettled)).goal(Goal::AtMost(0.0)));
    Ok(rows)
}
