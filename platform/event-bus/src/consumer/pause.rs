//! The pause between the batches of a handler: under load they are fewer and larger, and share a transaction.
//!
//! PURE: the time is given.

use std::time::{Duration, Instant};

/// The longest pause: who waits for an effect would feel it.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// So much idle time counts for later batches: a few in a row, such as those of one order, need no pause.
const SAVED_MAX: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Pause {
    over_at: Option<Instant>,
}

impl Pause {
    /// A batch has ended that took `took`: so much, in `percent`, is to be idle for it. What was idle before counts.
    pub fn after_batch(&mut self, ended_at: Instant, took: Duration, percent: u32) {
        let earliest = ended_at.checked_sub(took + SAVED_MAX).unwrap_or(ended_at);
        let since = self.over_at.map_or(earliest, |over_at| over_at.max(earliest));
        self.over_at = Some((since + took + took * percent / 100).min(ended_at + PAUSE_MAX));
    }

    /// When it will be over; none when it is.
    pub fn over_at(&self, now: Instant) -> Option<Instant> {
        self.over_at.filter(|over_at| now < *over_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Batches that follow one another as soon as each pause is over; gives the pauses.
    fn pauses(took: Duration, percent: u32, batches: usize) -> Vec<Duration> {
        let (mut pause, mut now) = (Pause::default(), Instant::now() + Duration::from_secs(60));
        let mut pauses = Vec::new();
        for _ in 0..batches {
            now += took;
            pause.after_batch(now, took, percent);
            let over_at = pause.over_at(now).unwrap_or(now);
            pauses.push(over_at - now);
            now = over_at;
        }
        pauses
    }

    #[test]
    fn batches_after_an_idle_time_need_no_pause_until_it_is_used_up() {
        assert_eq!(pauses(ms(20), 100, 5), [ms(0), ms(0), ms(10), ms(20), ms(20)]);
        assert_eq!(pauses(ms(20), 50, 7)[4..], [ms(0), ms(10), ms(10)]);
    }

    #[test]
    fn idle_time_counts_up_to_a_limit() {
        let (mut pause, begun) = (Pause::default(), Instant::now() + Duration::from_secs(60));
        pause.after_batch(begun, ms(100), 100);
        assert_eq!(pause.over_at(begun), Some(begun + ms(50)));
        let much_later = begun + Duration::from_secs(9);
        pause.after_batch(much_later, ms(60), 100);
        assert_eq!(pause.over_at(much_later), Some(much_later + ms(10)));
    }

    #[test]
    fn without_a_percentage_there_is_no_pause_and_none_is_longer_than_the_longest() {
        assert_eq!(pauses(ms(20), 0, 4), [ms(0); 4]);
        assert_eq!(pauses(Duration::from_secs(9), 100, 2), [PAUSE_MAX; 2]);
    }
}
