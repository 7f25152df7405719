//! Load generators. A closed loop measures throughput: each caller sends its next request as soon as it has a response.
//! An open loop measures latency: every request has an intended time, and its latency counts from that time, also when
//! slow requests before it delayed the sending. Kept by hand: the loads are calls of our own crates as well as HTTP
//! requests, and load tools (wrk, oha) send only the latter.
//!
//! Never: a latency from a closed loop shown as what users would see (coordinated omission; G. Tene, "How NOT to
//! Measure Latency").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// Latencies in microseconds, with three significant digits.
pub type Latencies = Histogram<u64>;

/// Longer latencies are recorded as this one.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

pub fn latencies() -> Latencies {
    Histogram::new_with_max(LATENCY_MICROS_MAX, 3).expect("the bounds are in order")
}

pub fn record(latencies: &mut Latencies, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MICROS_MAX));
}

/// A quantile in milliseconds.
pub fn ms(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}

/// What a load measured.
pub struct LoadResult {
    pub per_second: f64,
    pub latencies: Latencies,
}

impl LoadResult {
    fn of(latencies: Latencies, span: Duration) -> Self {
        Self { per_second: latencies.len() as f64 / span.as_secs_f64(), latencies }
    }
}

/// Runs `callers` concurrent callers, each with one request in flight, for `span` after `warm_up`, and until at least one
/// response came. `call` gets the caller's number; an error stops the whole load.
///
/// # Errors
/// The first error of any call.
pub async fn closed_loop<C, F>(
    callers: usize,
    warm_up: Duration,
    span: Duration,
    call: C,
) -> anyhow::Result<LoadResult>
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
                // On an overloaded machine the first response may come after the end; then it is the measurement.
                if ended >= begin && (ended < end || !answered.load(Ordering::Relaxed)) {
                    answered.store(true, Ordering::Relaxed);
                    record(&mut seen, ended - started);
                }
            }
        }
    };
    let latencies = run_callers((0..callers).map(caller)).await?;
    // The last calls end a little after the span and are not counted; one late response took as long as it took.
    let late = begin.elapsed() > span * 2;
    Ok(LoadResult::of(latencies, if late { begin.elapsed() } else { span }))
}

/// Sends `rate` requests a second for `warm_up` and `span`, by the `callers` in turn; measures those of the span.
///
/// # Errors
/// The first error of any call.
pub async fn open_loop<C, F>(
    callers: usize,
    rate: f64,
    warm_up: Duration,
    span: Duration,
    call: C,
) -> anyhow::Result<LoadResult>
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
                    record(&mut seen, intended.elapsed());
                }
            }
            anyhow::Ok(seen)
        }
    };
    Ok(LoadResult::of(run_callers((0..callers).map(caller)).await?, span))
}

/// Runs each caller as a task, as a server runs each connection.
async fn run_callers<F>(callers: impl Iterator<Item = F>) -> anyhow::Result<Latencies>
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

/// Runs a load on one thread with its sockets, as `wrk` does. With several threads one would be notified of a response and
/// another would handle it, and waking that thread costs more than handling the response.
///
/// # Errors
/// The load's own.
pub async fn on_one_thread<F>(load: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<LoadResult>
where
    F: Future<Output = anyhow::Result<LoadResult>>,
{
    tokio::task::spawn_blocking(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(load())
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds on a slow machine too: the requests behind the slow one waited at least that long.
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
        assert!(late >= 5, "the slow one and the four with an intended time during it are late; {late} are");
    }

    #[tokio::test]
    async fn requests_of_the_warm_up_are_not_counted() {
        let (warm_up, span) = (Duration::from_millis(200), Duration::from_millis(300));
        let outcome = open_loop(2, 100.0, warm_up, span, async |_| Ok(())).await.expect("no call fails");
        assert_eq!(outcome.latencies.len(), 30);
    }

    #[tokio::test]
    async fn the_first_error_of_any_caller_ends_the_load() {
        let call = |number| async move {
            // A call that never waits would not let the other tasks run.
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
