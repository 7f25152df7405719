//! Loads. A closed loop finds out how much goes through: each caller begins anew as soon as it is answered. An open loop
//! finds out how long it takes: every request has its time, and its latency counts from that time, also when it could
//! not be sent because the ones before were slow.
//!
//! Never: a latency from a closed loop shown as what users would see (coordinated omission; G. Tene, "How NOT to
//! Measure Latency"). Read next: `parts/command.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

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

impl Outcome {
    fn of(latencies: Latencies, span: Duration) -> Self {
        Self { per_second: latencies.len() as f64 / span.as_secs_f64(), latencies }
    }
}

/// `callers` at once, each with one request under way, for `span` after `warm_up`, and on until there was an answer.
/// `call` is given the caller's number and returns an error to stop the whole load.
///
/// # Errors
/// The first one of any call.
pub async fn closed_loop<C, F>(
    callers: usize,
    warm_up: Duration,
    span: Duration,
    call: C,
) -> anyhow::Result<Outcome>
where
    C: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let begin = Instant::now() + warm_up;
    let end = begin + span;
    let answered = Arc::new(AtomicBool::new(false));
    let caller = |number: usize| {
        let (call, answered) = (call.clone(), Arc::clone(&answered));
        async move {
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
        }
    };
    let latencies = side_by_side((0..callers).map(caller)).await?;
    // The last calls of all ended a little after the span, uncounted; a lone late answer took as long as it took.
    let late = begin.elapsed() > span * 2;
    Ok(Outcome::of(latencies, if late { begin.elapsed() } else { span }))
}

/// `rate` requests a second for `warm_up` and `span`, shared out among `callers` in turn; those of the span are measured.
///
/// # Errors
/// The first one of any call.
pub async fn open_loop<C, F>(
    callers: usize,
    rate: f64,
    warm_up: Duration,
    span: Duration,
    call: C,
) -> anyhow::Result<Outcome>
where
    C: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let uncounted = (rate * warm_up.as_secs_f64()) as usize;
    let total = uncounted + (rate * span.as_secs_f64()) as usize;
    let begin = tokio::time::Instant::now() + Duration::from_millis(20);
    let caller = |number: usize| {
        let call = call.clone();
        async move {
            let mut seen = latencies();
            for request in (number..total).step_by(callers) {
                let intended = begin + Duration::from_secs_f64(request as f64 / rate);
                tokio::time::sleep_until(intended).await;
                call(number).await?;
                if request >= uncounted {
                    note(&mut seen, intended.elapsed());
                }
            }
            anyhow::Ok(seen)
        }
    };
    Ok(Outcome::of(side_by_side((0..callers).map(caller)).await?, span))
}

/// Each caller is a task of its own, as each connection of a server is: its turn comes as that of any other task does.
async fn side_by_side<F>(callers: impl Iterator<Item = F>) -> anyhow::Result<Latencies>
where
    F: Future<Output = anyhow::Result<Latencies>> + Send + 'static,
{
    let mut callers: JoinSet<_> = callers.collect();
    let mut all = latencies();
    while let Some(ended) = callers.join_next().await {
        all.add(ended??).expect("all have the same bounds");
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// However slow the machine: what had to wait for the slow one waited at least that long.
    #[tokio::test]
    async fn a_slow_answer_counts_against_the_requests_that_had_to_wait_for_it() {
        let slow = Arc::new(AtomicBool::new(true));
        let call = move |_| {
            let is_slow = slow.swap(false, Ordering::SeqCst);
            async move {
                if is_slow {
                    tokio::time::sleep(Duration::from_millis(450)).await;
                }
                Ok(())
            }
        };
        let outcome =
            open_loop(1, 10.0, Duration::ZERO, Duration::from_secs(1), call).await.expect("no call fails");
        assert_eq!(outcome.latencies.len(), 10);
        let late: u64 = outcome
            .latencies
            .iter_recorded()
            .filter(|value| value.value_iterated_to() > 40_000)
            .map(|value| value.count_at_value())
            .sum();
        assert!(late >= 5, "the slow one, and the four whose time came meanwhile; late were {late}");
    }

    #[tokio::test]
    async fn what_was_asked_in_the_warm_up_is_not_counted() {
        let (warm_up, span) = (Duration::from_millis(200), Duration::from_millis(300));
        let outcome = open_loop(2, 100.0, warm_up, span, async |_| Ok(())).await.expect("no call fails");
        assert_eq!(outcome.latencies.len(), 30);
    }

    #[tokio::test]
    async fn the_first_error_of_any_caller_ends_the_load() {
        let call = |number| async move {
            // As a call does that waits for an answer: one that never waits leaves no turn to the others.
            tokio::task::yield_now().await;
            anyhow::ensure!(number != 1, "the second caller is refused");
            Ok(())
        };
        let outcome = closed_loop(3, Duration::ZERO, Duration::from_secs(3_600), call).await;
        assert_eq!(
            outcome.err().map(|error| error.to_string()).as_deref(),
            Some("the second caller is refused")
        );
    }
}
