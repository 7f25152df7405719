//! The bench: every figure of `docs/performance.md`, each beside the ceiling or floor of the engine under it, measured
//! in the same run. This file is the table of contents.
//!
//! It runs on the engines that it is given (`make bench` gives it private ones with durable settings), on databases and
//! topics of its own. Never: a figure that was not measured in this run; a latency that forgets the time a request had
//! to wait to be sent.
//! Read next: `parts/mod.rs` (the table), `pace.rs` (open and closed loops), `figures.rs` (what a row is).
#![allow(clippy::float_arithmetic)] // rates and ratios; no money is counted here

mod echo;
mod figures;
mod fill;
mod floor;
mod history;
mod http;
mod orders;
mod pace;
mod parts;
mod pgbench;
mod proc;
mod role;
mod sizes;
mod stage;
mod table;
mod tail;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use parts::Part;
use sizes::Sizes;
use stage::Stage;

/// The same as in the binary that is measured: what runs in this process, the appends and the echo, has what it has there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tradewind beside the engines that it stands on
#[derive(Parser, Debug)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Measure, print the table, write the results
    Run(Options),
    /// Make a platform with a long past that rests, and print where it is
    History {
        /// In the four logs together
        #[arg(long)]
        events: u64,
    },
    /// Answer every POST with its own body: what the server stack costs by itself
    Echo {
        /// Where to listen: host:port
        #[arg(long)]
        listen: String,
    },
}

#[derive(Args, Debug)]
struct Options {
    /// The parts to measure; all of them when none is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Every part in miniature: shows that it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// A factor on the length of the log that the relay empties
    #[arg(long, default_value_t = 1)]
    size: u32,
    /// How long the load of `memory` lasts
    #[arg(long, value_name = "MINUTES", default_value_t = 1)]
    minutes: u32,
    /// The file of real orders
    #[arg(long, value_name = "FILE", default_value = "../shared/data/online-retail/2010-12_2011-06.csv.gz")]
    real_file: PathBuf,
    /// Where the results go, as JSON
    #[arg(long, value_name = "FILE", default_value = "bench/results.json")]
    results: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Run(options) => run(options).await,
        Task::History { events } => history(events).await,
        Task::Echo { listen } => echo::serve(&listen).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn history(events: u64) -> anyhow::Result<()> {
    let history = history::platform_of(events).await?;
    println!("export DATABASE_URL={}", history.database.url.expose());
    println!("export TOPIC_PREFIX={}", history.prefix);
    Ok(())
}

async fn run(options: Options) -> anyhow::Result<()> {
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full(options.size, options.minutes) };
    let mut stage = Stage::new(sizes, options.real_file)?;
    let parts = if options.parts.is_empty() { Part::all() } else { options.parts };
    let mut report = table::Report::begin(options.quick).await?;
    for part in parts {
        let (rows, took) = parts::run(part, &mut stage).await?;
        report.add(part, rows, took);
        // After each part: a run that is broken off keeps what it measured.
        report.write(&options.results)?;
    }
    println!("{}", report.markdown());
    Ok(())
}
