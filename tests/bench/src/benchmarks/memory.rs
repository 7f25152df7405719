//! The resident memory of each role: before a load, its peak during the load, and at the end. An hour is `--minutes
//! 60`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::benchmarks::saga::burst;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::platform::BenchPlatform;
use crate::proc::rss_mib;
use crate::shop::two_lines;

/// The limit of each role; a role above it has some unbounded buffer.
const ROLE_MIB_MAX: f64 = 512.0;
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The part of a burst's throughput that can about be sustained; at more, orders only queue.
const OF_CAPACITY: f64 = 0.5;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let sizes = environment.sizes.clone();
    let minutes = sizes.load_minutes;
    let span = if minutes == 0 { sizes.settle_span } else { Duration::from_secs(60) * minutes };
    let platform = &*environment.platform().await?;
    platform.shop.receive_all_stock().await?;
    let rest = resident(platform);
    let rate = burst(platform, sizes.settle_burst).await? * OF_CAPACITY;
    let mut most = rest.clone();
    let mut early = rest.clone();
    let load = platform.place_at(rate, span, two_lines);
    let watch = async {
        let mut polls = 0_u32;
        loop {
            for (role, mib) in resident(platform) {
                let most = most.entry(role).or_insert(mib);
                *most = most.max(mib);
                // The first sixth is warm-up: the caches fill to their limits.
                if POLL_INTERVAL * polls < span / 6 {
                    let early = early.entry(role).or_insert(mib);
                    *early = early.max(mib);
                }
            }
            polls += 1;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let placed = tokio::select! {
        placed = load => placed?,
        () = watch => unreachable!("the watch never ends"),
    };
    let end = resident(platform);
    platform.wait_until_settled(&placed.iter().map(|(order, _)| *order).collect::<Vec<_>>()).await?;
    let rows = most.iter().map(|(role, most)| {
        let spread = Spread { median: end[role], min: rest[role], max: *most };
        Row::new(format!("{role}, at the end of {} s (idle–peak)", span.as_secs()), "MiB", spread)
            .baseline("MiB, its peak in the first sixth", early[role])
    });
    let largest = most.values().copied().fold(0.0, f64::max);
    let bound =
        Row::new("peak of the largest role", "MiB", Spread::one(largest)).goal(Goal::AtMost(ROLE_MIB_MAX));
    Ok(rows.chain([bound]).collect())
}

fn resident(platform: &BenchPlatform) -> BTreeMap<&'static str, f64> {
    let ours = |name: &&str| !matches!(*name, "postgres" | "kafka");
    let processes = platform.processes();
    processes.into_iter().filter(|(name, _)| ours(name)).map(|(name, pid)| (name, rss_mib(pid))).collect()
}
