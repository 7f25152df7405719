//! `make chaos SEED=n MINUTES=m`. Exit code 1 when a promise was broken.
//!
//! Never: a decision; those are in `chaos/mod.rs`, which is what to read next.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::chaos::{Length, run};

/// Breaks a platform of its own in every way it knows, under load, and checks that no promise was broken
#[derive(Parser, Debug)]
#[command(name = "chaos")]
struct Cli {
    /// What goes wrong follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long things go wrong
    #[arg(long, default_value_t = 10, conflicts_with = "faults")]
    minutes: u64,
    /// How many things go wrong, instead
    #[arg(long)]
    faults: Option<usize>,
    /// Where history.jsonl, summary.json and the platform's log are left
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { seed, minutes, faults, out } = Cli::parse();
    let length = faults.map_or(Length::Time(Duration::from_secs(minutes * 60)), Length::Faults);
    let out = out.join(format!("seed-{seed}"));
    println!("seed {seed}, {length:?}; results in {}", out.display());
    let summary = run(seed, length, &out).await;
    println!("{:#}", summary.json());
    if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
