//! The waits before retries: exponential, bounded, with jitter so that many consumers do not retry at once.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Jitter adds up to as much again: the first wait is 25 to 50 ms, the longest 2.5 to 5 s.
const WAITS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(25))
    .with_max_delay(Duration::from_millis(2_500))
    .with_factor(2.0)
    .without_max_times()
    .with_jitter();

#[derive(Debug)]
pub(super) struct Backoff(ExponentialBackoff);

impl Default for Backoff {
    fn default() -> Self {
        Self(WAITS.build())
    }
}

impl Backoff {
    /// The wait after one more failure.
    pub fn next(&mut self) -> Duration {
        self.0.next().expect("the number of waits has no limit")
    }

    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_start_over_after_a_reset() {
        let first_max = Duration::from_millis(50);
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!((first_max / 2..=first_max).contains(&first), "{first:?}");
        for _ in 0..100 {
            assert!(backoff.next() <= longest);
        }
        assert!(backoff.next() >= longest / 2);
        backoff.reset();
        assert!(backoff.next() <= first_max);
    }
}
