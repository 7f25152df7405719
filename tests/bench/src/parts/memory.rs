//! The resident memory of each role: before the load, at most during it, and at its end.
//!
//! An hour is `--minutes 60`; what grows is seen in a minute too. Read next: `platform/runtime/src/http/mod.rs` (the limits).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::figures::{Goal, Row, Spread};
use crate::floor::Floor;
use crate::parts::saga::{burst, stock_up, two_lines};
use crate::proc::rss_mib;
use crate::stage::Stage;

/// A role that holds more than this has no bound.
const ROLE_MIB_MAX: f64 = 512.0;
const LOOK: Duration = Duration::from_millis(250);
/// Of what a burst shows: about what can be sustained. More would only queue.
const OF_CAPACITY: f64 = 0.5;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let sizes = stage.sizes.clone();
    let minutes = sizes.load_minutes;
    let span = if minutes == 0 { sizes.settle_span } else { Duration::from_secs(60) * minutes };
    let floor = &*stage.floor().await?;
    stock_up(floor).await?;
    let rest = resident(floor);
    let rate = burst(floor, sizes.settle_burst).await? * OF_CAPACITY;
    let mut most = rest.clone();
    let mut early = rest.clone();
    let load = floor.place_at(rate, span, two_lines);
    let watch = async {
        let mut looks = 0_u32;
        loop {
            for (role, mib) in resident(floor) {
                let most = most.entry(role).or_insert(mib);
                *most = most.max(mib);
                // The first sixth is warm-up: caches fill up to their bounds.
                if LOOK * looks < span / 6 {
                    let early = early.entry(role).or_insert(mib);
                    *early = early.max(mib);
                }
            }
            looks += 1;
            tokio::time::sleep(LOOK).await;
        }
    };
    let placed = tokio::select! {
        placed = load => placed?,
        () = watch => unreachable!("the watch never ends"),
    };
    let end = resident(floor);
    floor.all_settled(&placed.iter().map(|(order, _)| *order).collect::<Vec<_>>()).await?;
    let rows = most.iter().map(|(role, most)| {
        let spread = Spread { median: end[role], min: rest[role], max: *most };
        Row::new(format!("{role}, at the end of {} s (rest–most)", span.as_secs()), "MiB", spread)
            .beside("MiB, the most of its first sixth", early[role])
    });
    let largest = most.values().copied().fold(0.0, f64::max);
    let bound = Row::new("the largest role at its most", "MiB", Spread::one(largest))
        .goal(Goal::AtMost(ROLE_MIB_MAX));
    Ok(rows.chain([bound]).collect())
}

fn resident(floor: &Floor) -> BTreeMap<&'static str, f64> {
    let ours = |name: &&str| !matches!(*name, "postgres" | "kafka");
    let processes = floor.processes();
    processes.into_iter().filter(|(name, _)| ours(name)).map(|(name, pid)| (name, rss_mib(pid))).collect()
}
