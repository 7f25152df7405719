//! A handler's health, for readiness and metrics.

use std::time::Instant;

use super::Worker;
use crate::consumer::ConsumerHealth;
use crate::consumer::membership::Membership;

impl Worker {
    /// Reports at once if the trouble has changed.
    pub fn report_trouble(&mut self, membership: &Membership) {
        if self.trouble != self.reported_trouble {
            self.report(membership);
        }
    }

    pub fn report(&mut self, membership: &Membership) {
        self.reported_trouble.clone_from(&self.trouble);
        let consumer = self.options.name.clone();
        let lags: Vec<(String, i32, i64)> = self
            .buffer
            .done_offsets()
            .filter_map(|((topic, partition), done)| {
                let end = membership.high_watermark(topic, *partition)?;
                Some((topic.to_string(), *partition, (end - done).max(0)))
            })
            .collect();
        let assigned = self.buffer.next_offsets().count();
        let lag_records =
            (!lags.is_empty() || assigned == 0).then(|| lags.iter().map(|(_, _, lag)| lag).sum());
        if let Some(lag) = lag_records {
            metrics::gauge!("consumer_lag_records", "consumer" => consumer.clone()).set(lag as f64);
        }
        let behind = self.buffer.behind().count();
        metrics::gauge!("consumer_partitions_behind", "consumer" => consumer.clone()).set(behind as f64);
        metrics::gauge!("consumer_partitions", "consumer" => consumer).set(assigned as f64);
        if self.in_flight.is_none() && lag_records == Some(0) && self.trouble.is_none() {
            self.progress_at = Instant::now();
        }
        let disconnected = || (!membership.is_connected()).then(|| "no broker is connected".to_owned());
        (self.health)(&ConsumerHealth {
            assigned,
            lag_records,
            furthest_behind: lags.into_iter().filter(|(_, _, lag)| *lag > 0).max_by_key(|(_, _, lag)| *lag),
            without_progress: self.progress_at.elapsed(),
            trouble: self.trouble.clone().or_else(disconnected),
        });
    }
}
