//! A wait that doubles up to a limit, and starts over when there was something to do.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

#[derive(Debug)]
pub(crate) struct Backoff {
    waits: ExponentialBuilder,
    longest: Duration,
    current: ExponentialBackoff,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        let waits = ExponentialBuilder::new()
            .with_min_delay(first.min(longest))
            .with_max_delay(longest)
            .with_factor(2.0)
            .without_max_times();
        Self { waits, longest, current: waits.build() }
    }

    pub fn next(&mut self) -> Duration {
        self.current.next().expect("the number of waits has no limit")
    }

    pub fn longest(&self) -> Duration {
        self.longest
    }

    pub fn reset(&mut self) {
        self.current = self.waits.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_reset() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(1), ms(5));
        let waits: Vec<Duration> = (0..5).map(|_| backoff.next()).collect();
        assert_eq!(waits, [ms(1), ms(2), ms(4), ms(5), ms(5)]);
        backoff.reset();
        assert_eq!(backoff.next(), ms(1));
    }
}
