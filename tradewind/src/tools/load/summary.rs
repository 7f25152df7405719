//! The summary of a load: for people on standard output, for scripts as JSON. Rates and percentiles are integers, never
//! floats.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::invoices::Invoices;
use super::orders::Sent;
use super::settle::Settled;
use super::stock::Received;

const UNSETTLED_SHOWN_MAX: usize = 10;

pub struct Summary {
    pub run: String,
    pub file: Invoices,
    pub received: Received,
    pub sent: Sent,
    /// None with --no-wait.
    pub settled: Option<Settled>,
    pub retries: u64,
    pub took: Duration,
}

impl Summary {
    /// Whether every order got a response and, without --no-wait, settled.
    pub fn is_complete(&self) -> bool {
        let all_settled = self.settled.as_ref().is_none_or(|settled| settled.unsettled.is_empty());
        self.sent.failed.is_empty() && all_settled
    }

    pub fn json(&self) -> Value {
        let settled = self.settled.as_ref();
        json!({
            "run": self.run,
            "lines": self.file.lines,
            "invoices": self.file.invoices.len() + self.file.cancellations,
            "cancellations_skipped": self.file.cancellations,
            "stock": {"skus": self.received.skus, "pieces": self.received.pieces},
            "accepted": self.sent.accepted.len(),
            "placed_before": self.sent.placed_before,
            "refused": self.sent.refused,
            "failed": self.sent.failed,
            "settled": settled.map(|settled| &settled.outcomes),
            "unsettled": settled.map(|settled| &settled.unsettled),
            "accepted_ms": percentiles(&self.sent.accepted),
            "settled_ms": settled.map(|settled| percentiles(&settled.took)),
            "orders_per_second": tenths_per_second(self.sent.accepted.len(), self.sent.took) / 10,
            "retries": self.retries,
            "took_ms": milliseconds(self.took),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, file, received, sent, .. } = self;
        let rate = tenths_per_second(sent.accepted.len(), sent.took);
        writeln!(f, "\nload, run {run:?}, {} ms\n", milliseconds(self.took))?;
        writeln!(
            f,
            "  {:>8} invoices read, on {} lines",
            file.invoices.len() + file.cancellations,
            file.lines
        )?;
        writeln!(f, "  {:>8} cancellations among them, not loaded", file.cancellations)?;
        writeln!(f, "  {:>8} pieces of {} SKUs received as stock", received.pieces, received.skus)?;
        write!(f, "  {:>8} orders accepted, {}.{}/s", sent.accepted.len(), rate / 10, rate % 10)?;
        writeln!(f, " ({})", shown(&sent.accepted))?;
        if sent.placed_before > 0 {
            writeln!(f, "  {:>8} of them were placed by an earlier attempt or run", sent.placed_before)?;
        }
        counted(f, "orders refused", &sent.refused)?;
        if let Some(settled) = &self.settled {
            counted(f, "orders settled", &settled.outcomes)?;
            writeln!(f, "           time from POST to settled: {}", shown(&settled.took))?;
            if !settled.unsettled.is_empty() {
                let some: Vec<String> =
                    settled.unsettled.iter().take(UNSETTLED_SHOWN_MAX).map(ToString::to_string).collect();
                writeln!(
                    f,
                    "  {:>8} ORDERS NOT SETTLED, such as {}",
                    settled.unsettled.len(),
                    some.join(", ")
                )?;
            }
        }
        if !sent.failed.is_empty() {
            counted(f, "ORDERS WITHOUT A RESPONSE", &sent.failed)?;
        }
        write!(f, "  {:>8} requests repeated after a 503 or a lost connection", self.retries)
    }
}

fn counted(f: &mut fmt::Formatter<'_>, what: &str, counts: &BTreeMap<String, usize>) -> fmt::Result {
    writeln!(f, "  {:>8} {what}", counts.values().sum::<usize>())?;
    counts.iter().try_for_each(|(name, count)| writeln!(f, "           {count:>8} {name}"))
}

fn shown(times: &[Duration]) -> String {
    format!("p50 {} ms, p99 {} ms", percentile(times, 50), percentile(times, 99))
}

fn percentiles(times: &[Duration]) -> Value {
    json!({"p50": percentile(times, 50), "p99": percentile(times, 99)})
}

/// The percentile by nearest rank, in milliseconds; 0 without values.
fn percentile(times: &[Duration], percent: usize) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map_or(0, milliseconds)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn tenths_per_second(count: usize, time: Duration) -> u64 {
    count as u64 * 10_000 / milliseconds(time).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!((percentile(&times, 50), percentile(&times, 99)), (50, 99));
        assert_eq!(percentile(&times[..1], 99), 100);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn a_rate_has_one_decimal() {
        assert_eq!(tenths_per_second(3, Duration::from_millis(2_000)), 15);
        assert_eq!(tenths_per_second(3, Duration::ZERO), 30_000);
    }
}
