//! The sizes of a run: durations, repetitions, lengths of logs.

use std::time::Duration;

/// The sizes of one run.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Of each rate; the table shows the median, the minimum and the maximum.
    pub repetitions: usize,
    pub warm_up: Duration,
    /// One repetition of a rate or of a latency.
    pub span: Duration,
    pub callers: Vec<usize>,
    pub connections: usize,
    pub stream_lengths: Vec<usize>,
    /// Commands timed for each length of stream.
    pub stream_samples: usize,
    pub relay_events: u64,
    pub pipe_rate: u64,
    pub settle_span: Duration,
    /// Orders in the burst that estimates the capacity of the sagas.
    pub settle_burst: usize,
    /// Orders a second; each rate is kept for `seen_span`.
    pub seen_rates: Vec<u64>,
    pub seen_span: Duration,
    pub hot_orders: usize,
    pub hot_stock: usize,
    pub projection_orders: usize,
    pub replay_events: Vec<u64>,
    /// The length of the logs on which the memory of `tradewind verify` is measured.
    pub verify_events: u64,
    pub growth_events: Vec<u64>,
    pub load_minutes: u32,
    /// Orders of the real file; all where it is none.
    pub real_orders: Option<usize>,
}

impl Sizes {
    pub fn full(size: u32, minutes: u32) -> Self {
        let size = u64::from(size.max(1));
        Self {
            repetitions: 3,
            warm_up: Duration::from_secs(1),
            span: Duration::from_secs(4),
            callers: vec![1, 8, 32, 256],
            connections: 128,
            stream_lengths: vec![10, 1_000, 100_000],
            stream_samples: 60,
            relay_events: 200_000 * size,
            pipe_rate: 1_000,
            settle_span: Duration::from_secs(60),
            settle_burst: 3_000,
            seen_rates: vec![10, 20, 50, 150],
            seen_span: Duration::from_secs(30),
            hot_orders: 20_000,
            hot_stock: 2_000,
            projection_orders: 5_000,
            replay_events: vec![1_000_000, 5_000_000],
            verify_events: 1_500_000,
            growth_events: vec![10_000, 1_000_000, 10_000_000],
            load_minutes: minutes,
            real_orders: None,
        }
    }

    /// Small enough for `make test`, in a debug build on a busy machine.
    pub fn quick() -> Self {
        let blink = Duration::from_millis(300);
        Self {
            repetitions: 1,
            warm_up: Duration::from_millis(50),
            span: blink,
            callers: vec![1, 8],
            connections: 4,
            stream_lengths: vec![10, 300],
            stream_samples: 3,
            relay_events: 2_000,
            pipe_rate: 100,
            settle_span: Duration::from_secs(2),
            settle_burst: 20,
            seen_rates: vec![5],
            seen_span: Duration::from_secs(2),
            hot_orders: 40,
            hot_stock: 4,
            projection_orders: 20,
            replay_events: vec![2_000],
            verify_events: 2_000,
            growth_events: vec![1_000, 2_000],
            load_minutes: 0,
            real_orders: Some(5),
        }
    }
}
