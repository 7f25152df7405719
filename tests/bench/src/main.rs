//! The benchmarks: they measure every figure of `docs/performance.md`, each with its baseline in the same run (what
//! PostgreSQL, Kafka or HTTP can do alone). They use the PostgreSQL and Kafka of the environment (`make bench` starts
//! private ones with durable settings), with their own databases and topics. This file is the table of contents.
//!
//! Never: a figure that was not measured in this run.
//! Read next: `benchmarks/mod.rs` (the list), `load_generator.rs` (open and closed loops), `figures.rs` (a row).
#![allow(clippy::float_arithmetic)] // rates and ratios; no money is counted here

mod appends;
mod benchmarks;
mod database;
mod echo;
mod environment;
mod figures;
mod history;
mod http;
mod load_generator;
mod orders;
mod pgbench;
mod platform;
mod proc;
mod role;
mod seed_log;
mod shop;
mod sizes;
mod table;
mod tail;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use benchmarks::Benchmark;
use environment::Environment;
use sizes::Sizes;

/// The allocator of the measured binary: the appends and the echo run in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tradewind, and beside it what PostgreSQL, Kafka and HTTP can do alone
#[derive(Parser, Debug)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Run benchmarks, print the table, write the results as JSON
    Run(Options),
    /// Create an idle platform with a long history; print its DATABASE_URL and TOPIC_PREFIX
    History {
        /// The number of events in the four logs together
        #[arg(long)]
        events: u64,
    },
    /// Serve an echo of every POST body: the HTTP server without a command behind it
    Echo {
        /// The address to listen on, as host:port
        #[arg(long)]
        listen: String,
    },
}

#[derive(Args, Debug)]
struct Options {
    /// The benchmarks to run [default: all]
    #[arg(value_enum)]
    benchmarks: Vec<Benchmark>,
    /// Run every benchmark with small sizes: shows that it works, not how fast anything is
    #[arg(long)]
    quick: bool,
    /// Multiplies the length of the log of the benchmark `relay` (200,000 events)
    #[arg(long, default_value_t = 1)]
    size: u32,
    /// The duration of the load of the benchmark `memory`, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 1)]
    minutes: u32,
    /// The file of the benchmark `real-file`: a gzipped CSV file of invoices
    #[arg(long, value_name = "FILE", default_value = "../shared/data/online-retail/2010-12_2011-06.csv.gz")]
    real_file: PathBuf,
    /// Write the results to this file, as JSON
    #[arg(long, value_name = "FILE", default_value = "tests/bench/results.json")]
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
    println!("export TOPIC_PREFIX={}", history.topic_prefix);
    Ok(())
}

async fn run(options: Options) -> anyhow::Result<()> {
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full(options.size, options.minutes) };
    let mut environment = Environment::new(sizes, options.real_file)?;
    let selected = if options.benchmarks.is_empty() { Benchmark::all() } else { options.benchmarks };
    let mut report = table::Report::begin(options.quick).await?;
    for benchmark in selected {
        let (rows, took) = benchmarks::run(benchmark, &mut environment).await?;
        report.add(benchmark, rows, took);
        // After each benchmark: an interrupted run keeps its results.
        report.write(&options.results)?;
    }
    println!("{}", report.markdown());
    Ok(())
}
