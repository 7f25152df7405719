//! Progress on standard error: bars on a terminal, otherwise a line every few seconds. Standard output is for the
//! summary.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// All the bars.
pub struct Progress {
    bars: MultiProgress,
    stages: Vec<Stage>,
    lines: Option<JoinHandle<()>>,
}

/// One bar. A clone is the same bar.
#[derive(Clone)]
pub struct Stage {
    name: &'static str,
    bar: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        Self { bars: MultiProgress::new(), stages: Vec::new(), lines: None }
    }

    pub fn stage(&mut self, name: &'static str, total: usize) -> Stage {
        let style = ProgressStyle::with_template("{prefix:>8} {bar:40} {pos}/{len} {per_sec} {elapsed}")
            .expect("the template is one of indicatif's");
        let bar = ProgressBar::new(total as u64).with_prefix(name).with_style(style);
        let stage = Stage { name, bar: self.bars.add(bar) };
        stage.bar.tick();
        self.stages.push(stage.clone());
        if !std::io::stderr().is_terminal() {
            self.stop_lines();
            self.lines = Some(tokio::spawn(print_lines(self.stages.clone())));
        }
        stage
    }

    pub fn finish(mut self) {
        self.stop_lines();
        for stage in &self.stages {
            stage.bar.finish();
        }
    }

    fn stop_lines(&mut self) {
        if let Some(lines) = self.lines.take() {
            lines.abort();
        }
    }
}

impl Stage {
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Lowers the total.
    pub fn expect_only(&self, total: usize) {
        self.bar.set_length(total as u64);
    }
}

async fn print_lines(stages: Vec<Stage>) {
    loop {
        tokio::time::sleep(LINE_INTERVAL).await;
        let parts: Vec<String> = stages
            .iter()
            .map(|stage| {
                format!("{} {}/{}", stage.name, stage.bar.position(), stage.bar.length().unwrap_or(0))
            })
            .collect();
        eprintln!("load: {}", parts.join(", "));
    }
}
