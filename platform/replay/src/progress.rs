//! Shows how far the rebuild is, on stderr: a bar on a terminal, a line for every tenth elsewhere. Stdout belongs to the report.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Counts positions of the logs. Shared by the tasks that read them.
pub struct Progress {
    projection: &'static str,
    positions_total: AtomicU64,
    positions_done: AtomicU64,
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    pub fn new(projection: &'static str) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style =
            ProgressStyle::with_template("{msg:14} {wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}")
                .expect("the template is well-formed");
        Self {
            projection,
            positions_total: AtomicU64::new(0),
            positions_done: AtomicU64::new(0),
            bar: bar.with_style(style).with_message(projection),
            is_terminal,
        }
    }

    /// So many more are to come.
    pub fn expect(&self, positions: u64) {
        self.positions_total.fetch_add(positions, Ordering::Relaxed);
        self.bar.inc_length(positions);
    }

    pub fn add(&self, positions: u64) {
        self.bar.inc(positions);
        let before = self.positions_done.fetch_add(positions, Ordering::Relaxed);
        let total = self.positions_total.load(Ordering::Relaxed);
        let tenth = |done: u64| (done.saturating_mul(10) / total.max(1)).min(10);
        if !self.is_terminal && tenth(before + positions) > tenth(before) {
            eprintln!("{}: {} % of {total} positions", self.projection, tenth(before + positions) * 10);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
