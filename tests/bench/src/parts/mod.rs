//! The parts of the table, in its order; each is one file that says what it measures, beside what, and the goal.
//!
//! Never: a part that needs another to have run. Read next: `append.rs`, the simplest.

pub mod append;
pub mod command;
mod growth;
mod hot_sku;
mod libraries;
mod long_stream;
mod memory;
pub mod pipe;
mod projection;
mod real_file;
mod relay;
mod replay;
pub mod saga;
mod seen;
pub mod verify;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;

use crate::figures::Row;
use crate::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The workloads that the fastest Rust libraries were measured on
    Libraries,
    /// Events a second through the appender, beside `pgbench` on the same SQL function
    Append,
    /// Accepted orders a second over HTTP, and how long one takes
    Command,
    /// One more command on an aggregate with a long history
    LongStream,
    /// From a full log to Kafka, beside Kafka's own producer-perf-test
    Relay,
    /// From commit to a Kafka consumer, beside a bare client
    Pipe,
    /// Orders from POST to settled: how many, how long, what each costs
    Saga,
    /// From POST to seen settled at the query side, and of that what the read side takes
    Seen,
    /// Every order for the same SKU
    HotSku,
    /// Events a second of each projector, beside a COPY of its rows
    Projection,
    /// `tradewind verify` of a platform, beside COPY TO STDOUT of its logs
    Verify,
    /// The resident memory of each role under load
    Memory,
    /// The real orders of a real shop, through HTTP to settled
    RealFile,
    /// `tradewind replay` of long logs, beside COPY TO STDOUT
    Replay,
    /// Append, command and replay on ever longer logs
    Growth,
}

impl Part {
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }
}

/// Measures one part.
///
/// # Errors
/// When it could not be measured; a figure that misses its goal is none.
pub async fn run(part: Part, stage: &mut Stage) -> anyhow::Result<(Vec<Row>, Duration)> {
    let begun = Instant::now();
    let rows = match part {
        Part::Libraries => libraries::rows(stage).await,
        Part::Append => append::rows(stage).await,
        Part::Command => command::rows(stage).await,
        Part::LongStream => long_stream::rows(stage).await,
        Part::Relay => relay::rows(stage).await,
        Part::Pipe => pipe::rows(stage).await,
        Part::Saga => saga::rows(stage).await,
        Part::Seen => seen::rows(stage).await,
        Part::HotSku => hot_sku::rows(stage).await,
        Part::Projection => projection::rows(stage).await,
        Part::Verify => verify::rows(stage).await,
        Part::Memory => memory::rows(stage).await,
        Part::RealFile => real_file::rows(stage).await,
        Part::Replay => {
            // The floor's processes are idle, and still on the machine.
            stage.close_floor();
            replay::rows(stage).await
        }
        Part::Growth => growth::rows(stage).await,
    };
    Ok((rows.with_context(|| format!("part {part:?}"))?, begun.elapsed()))
}
