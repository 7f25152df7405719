//! The benchmarks, in the order of the table. Each is one file, which states what it measures, the baseline and the
//! goal.
//!
//! Never: a benchmark that needs another to have run. Read next: `append.rs`, the simplest.

mod append;
mod command;
mod growth;
mod hot_sku;
mod libraries;
mod long_stream;
mod memory;
mod pipe;
mod projection;
mod real_file;
mod relay;
mod replay;
mod saga;
mod seen;
mod verify;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;

use crate::environment::Environment;
use crate::figures::Row;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Benchmark {
    /// The workloads of the fastest Rust event-sourcing libraries, with their figures
    Libraries,
    /// Events a second through the appender; baseline: `pgbench` on the same SQL function
    Append,
    /// Accepted orders a second over HTTP, and the latency of one
    Command,
    /// The latency of one command on an aggregate with a long history
    LongStream,
    /// Events a second from a full log to Kafka; baseline: Kafka's producer-perf-test
    Relay,
    /// Latency from a commit to a Kafka consumer; baseline: a plain Kafka client
    Pipe,
    /// Orders from POST to settled: throughput, latency, and CPU time per order
    Saga,
    /// Latency from POST until the query side shows the order as settled
    Seen,
    /// Orders that all contain the same SKU
    HotSku,
    /// Events a second of each projection; baseline: COPY of its rows
    Projection,
    /// `tradewind verify` of a platform; baseline: COPY TO STDOUT of its logs
    Verify,
    /// The resident memory of each role under load
    Memory,
    /// The orders of a real shop, from POST to settled
    RealFile,
    /// `tradewind replay` of long logs; baseline: COPY TO STDOUT
    Replay,
    /// Append, command and replay on short and long logs
    Growth,
}

impl Benchmark {
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }
}

/// Runs one benchmark.
///
/// # Errors
/// When it cannot measure its figures. A figure that misses its goal is no error.
pub async fn run(
    benchmark: Benchmark,
    environment: &mut Environment,
) -> anyhow::Result<(Vec<Row>, Duration)> {
    let begun = Instant::now();
    let rows = match benchmark {
        Benchmark::Libraries => libraries::rows(environment).await,
        Benchmark::Append => append::rows(environment).await,
        Benchmark::Command => command::rows(environment).await,
        Benchmark::LongStream => long_stream::rows(environment).await,
        Benchmark::Relay => relay::rows(environment).await,
        Benchmark::Pipe => pipe::rows(environment).await,
        Benchmark::Saga => saga::rows(environment).await,
        Benchmark::Seen => seen::rows(environment).await,
        Benchmark::HotSku => hot_sku::rows(environment).await,
        Benchmark::Projection => projection::rows(environment).await,
        Benchmark::Verify => verify::rows(environment).await,
        Benchmark::Memory => memory::rows(environment).await,
        Benchmark::RealFile => real_file::rows(environment).await,
        Benchmark::Replay => {
            // Idle roles still cost memory and some CPU.
            environment.stop_platform();
            replay::rows(environment).await
        }
        Benchmark::Growth => growth::rows(environment).await,
    };
    Ok((rows.with_context(|| format!("benchmark {benchmark:?}"))?, begun.elapsed()))
}
