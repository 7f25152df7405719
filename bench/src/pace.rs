//! Loads. A closed loop finds out how much goes through: each caller begins anew as soon as it is answered. An open loop
//! finds out how long it takes: every request has its time, and its latency counts from that time, also when it could
//! not be sent because the ones before were slow.
//!
//! Never: a latency from a closed loop shown as what users would see (coordinated omission; G. Tene, "How NOT to
//! Measure Latency"). Read next: `parts/command.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hdrhistogram::Histogram;

/// Latencies in microseconds, to three digits.
pub type Latencies = Histogram<u64>;

/// The longest latency that is told from a longer one.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

pub fn latencies() -> Latencies {
    Histogram::new_with_max(LATENCY_MICROS_MAX, 3).expect("the bounds are in order")
}

pub fn note(latencies: &mut Latencies, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MICROS_MAX));
}

/// A quantile in milliseconds.
pub fn ms(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}

/// What came of a load.
pub struct Outcome {
    pub per_second: f64,
    pub latencies: Latencies,
}

/// `callers` at once, each with one request under way, for `span` after `warm_up`, and on until there was an answer.
/// `call` is given the caller's number and returns an error to stop the whole load.
///
/// # Errors
/// The first one of any call.
pub async fn closed_loop<F>(
    callers: usize,
    warm_up: Duration,
    span: Duration,
    call: impl Fn(usize) -> F,
) -> anyhow::Result<Outcome>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let begin = Instant::now() + warm_up;
    let end = begin + span;
    let answered = AtomicBool::new(false);
    let (call, answered) = (&call, &answered);
    let caller = |number: usize| async move {
        let mut seen = latencies();
        loop {
            let started = Instant::now();
            if started >= end && answered.load(Ordering::Relaxed) {
                return anyhow::Ok(seen);
            }
            call(number).await?;
            let ended = Instant::now();
            // On a machine that is overloaded the first answer may come after the end: it is the measurement then.
            if ended >= begin && (ended < end || !answered.load(Ordering::Relaxed)) {
                answered.store(true, Ordering::Relaxed);
                note(&mut seen, ended - started);
            }
        }
    };
    let outcomes = join_all((0..callers).map(caller)).await;
    // The last calls of all ended a little after the span, uncounted; a lone late answer took as long as it took.
    let late = begin.elapsed() > span * 2;
    merged(outcomes, if late { begin.elapsed() } else { span })
}

/// `rate` requests a second for `span`, shared out among `callers` in turn.
///
/// # Errors
/// The first one of any call.
pub async fn open_loop<F>(
    callers: usize,
    rate: f64,
    span: Duration,
    call: impl Fn(usize) -> F,
) -> anyhow::Result<Outcome>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let total = (rate * span.as_secs_f64()) as usize;
    let begin = tokio::time::Instant::now() + Duration::from_millis(20);
    let call = &call;
    let caller = |number: usize| async move {
        let mut seen = latencies();
        for request in (number..total).step_by(callers) {
            let intended = begin + Duration::from_secs_f64(request as f64 / rate);
            tokio::time::sleep_until(intended).await;
            call(number).await?;
            note(&mut seen, intended.elapsed());
        }
        anyhow::Ok(seen)
    };
    merged(join_all((0..callers).map(caller)).await, span)
}

/// A load that is one thread's own work, sockets and all, as `wrk` does it: with several, each answer would be noticed by one
/// and handled by another, and waking that one costs more than handling it.
///
/// # Errors
/// The load's own.
pub async fn by_one_thread<F>(load: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<Outcome>
where
    F: Future<Output = anyhow::Result<Outcome>>,
{
    tokio::task::spawn_blocking(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(load())
    })
    .await?
}

fn merged(callers: Vec<anyhow::Result<Latencies>>, span: Duration) -> anyhow::Result<Outcome> {
    let mut all = latencies();
    for seen in callers {
        all.add(seen?).expect("all have the same bounds");
    }
    Ok(Outcome { per_second: all.len() as f64 / span.as_secs_f64(), latencies: all })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However slow the machine: what had to wait for the slow one waited at least that long.
    #[tokio::test]
    async fn a_slow_answer_counts_against_the_requests_that_had_to_wait_for_it() {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let outcome = open_loop(1, 10.0, Duration::from_secs(1), async |_| {
            if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(450)).await;
            }
            Ok(())
        })
        .await
        .expect("no call fails");
        assert_eq!(outcome.latencies.len(), 10);
        let late: u64 = outcome
            .latencies
            .iter_recorded()
            .filter(|value| value.value_iterated_to() > 40_000)
            .map(|value| value.count_at_value())
            .sum();
        assert!(late >= 5, "the slow one, and the four whose time came meanwhile; late were {late}");
    }
}
