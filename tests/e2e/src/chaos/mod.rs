//! `make chaos`: real processes, a recorded load, a seeded nemesis; then quiet, then the verdict.
//!
//! What is done follows from the seed; what comes of it does not, which is why everything is recorded.
//! Never: a run that is called good because it could not be checked. Read next: `nemesis.rs` (what goes wrong),
//! `scene.rs` (how it is done), `check.rs` (what must hold).

mod check;
#[cfg(test)]
mod check_tests;
mod client;
mod history;
mod inject;
mod load;
mod logs;
mod nemesis;
mod quiesce;
mod rng;
mod scene;
mod topics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use nemesis::{Fault, Nemesis, ROLES, Step};
pub use scene::{Figures, Own, Scene};

/// How long a run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// No fault begins after this.
    Time(Duration),
    Faults(usize),
}

/// What a run came to.
#[derive(Debug)]
pub struct Summary {
    pub seed: u64,
    took: Duration,
    /// What really happened, by kind.
    faults: BTreeMap<&'static str, usize>,
    /// What was tried and did not happen: crash points that nobody came by.
    in_vain: Vec<String>,
    operations: BTreeMap<String, usize>,
    figures: Figures,
    longest_recovery: (Duration, String),
    alarms: Vec<String>,
    pub violations: Vec<String>,
}

/// One run on a platform and engines of its own. Leaves `history.jsonl`, `summary.json` and the platform's log in `out`.
///
/// # Panics
/// When the platform does not come up, or `out` cannot be written.
pub async fn run(seed: u64, length: Length, out: &Path) -> Summary {
    let started = Instant::now();
    let engines = std::env::temp_dir().join(testkit::unique("tradewind-chaos-postgres"));
    let clients = Some(load::CHAOS_CLIENTS);
    let own = Own { postgres: Some(engines.clone()), kafka_nodes: 1, clients, ..Own::default() };
    let mut scene = Scene::start("chaos", own, seed).await;
    let mut summary = Summary {
        seed,
        took: Duration::ZERO,
        faults: BTreeMap::new(),
        in_vain: Vec::new(),
        operations: BTreeMap::new(),
        figures: Figures::default(),
        longest_recovery: (Duration::ZERO, String::new()),
        alarms: Vec::new(),
        violations: Vec::new(),
    };
    summary.suffer(&mut scene, length).await;
    let (figures, violations) = scene.verdict().await;
    summary.figures = figures;
    summary.violations.extend(violations);
    summary.operations = scene.history.counts();
    summary.alarms = scene.alarms();
    summary.took = started.elapsed();
    summary.keep(&scene, out);
    drop(scene);
    let _ = std::fs::remove_dir_all(engines);
    summary
}

impl Summary {
    async fn suffer(&mut self, scene: &mut Scene, length: Length) {
        let started = Instant::now();
        for (done, step) in Nemesis::new(self.seed).enumerate() {
            let over = match length {
                Length::Time(time) => started.elapsed() >= time,
                Length::Faults(faults) => done >= faults,
            };
            if over {
                return;
            }
            println!("{:>7.1} s  {step}", started.elapsed().as_secs_f32());
            match scene.suffer(&step).await {
                Ok(happened) => self.count(&step, &happened),
                Err(why) => self.violations.push(format!("{} could not be done: {why}", step.fault)),
            }
            match scene.recovered().await {
                Ok(took) if took > self.longest_recovery.0 => {
                    self.longest_recovery = (took, step.fault.to_string());
                }
                Ok(_) => {}
                Err(why) => self.violations.push(format!("after {}: {why}", step.fault)),
            }
            tokio::time::sleep(step.calm).await;
        }
    }

    fn count(&mut self, step: &Step, happened: &[&'static str]) {
        for kind in happened {
            *self.faults.entry(kind).or_default() += 1;
        }
        if !happened.contains(&step.fault.kind()) {
            self.in_vain.push(step.fault.to_string());
        }
    }

    fn keep(&self, scene: &Scene, out: &Path) {
        std::fs::create_dir_all(out).expect("the folder for the results can be made");
        let copy = |from: PathBuf, name: &str| {
            std::fs::copy(&from, out.join(name))
                .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        };
        copy(scene.folder().join("history.jsonl"), "history.jsonl");
        copy(scene.platform.state_dir().join("up.log"), "up.log");
        let _ = std::fs::remove_dir_all(scene.folder());
        std::fs::write(out.join("summary.json"), format!("{:#}\n", self.json()))
            .expect("the folder for the results can be written");
    }

    pub fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "took_seconds": self.took.as_secs(),
            "faults": self.faults.values().sum::<usize>(),
            "faults_by_kind": self.faults,
            "faults_in_vain": self.in_vain,
            "operations": self.operations.values().sum::<usize>(),
            "operations_by_result": self.operations,
            "events": self.figures.events,
            "records_on_kafka": self.figures.records,
            "duplicates_on_kafka": self.figures.duplicates,
            "longest_recovery_ms": u64::try_from(self.longest_recovery.0.as_millis()).unwrap_or(u64::MAX),
            "longest_recovery_after": self.longest_recovery.1,
            "alarms": self.alarms,
            "violations": self.violations,
        })
    }
}
