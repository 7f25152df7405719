//! `tradewind topics`: the topic of each context, made once.
//!
//! Never: a topic changed or removed.
//! Read next: `platform/event-bus/src/topics.rs`.

use std::process::ExitCode;

use event_bus::{BusConfig, ensure_topics};
use events::Context;

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    bus: BusConfig,
    /// Copies of each record, on as many brokers
    #[arg(long, env = "TOPIC_REPLICATION", default_value_t = 1)]
    replication: i32,
}

/// # Errors
/// When Kafka does not answer, or a topic exists in another shape.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    ensure(&options).await?;
    println!("topics: {}", Context::ALL.map(|context| options.bus.topic(context)).join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Makes the topics that are not there.
///
/// # Errors
/// When Kafka does not answer, or a topic exists in another shape.
pub async fn ensure(options: &Options) -> anyhow::Result<()> {
    Ok(ensure_topics(&options.bus, options.replication).await?)
}
