//! `tradewind topics`: creates the topic of each context. It changes and deletes none.

use std::process::ExitCode;

use event_bus::{BusConfig, ensure_topics};
use events::Context;

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    bus: BusConfig,
    /// The replication factor: copies of each record, on as many brokers
    #[arg(long, env = "TOPIC_REPLICATION", default_value_t = 1)]
    replication: i32,
}

/// # Errors
/// When Kafka does not answer, or a topic exists with other settings.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    ensure(&options).await?;
    println!("topics: {}", Context::ALL.map(|context| options.bus.topic(context)).join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Creates the topics that do not exist.
///
/// # Errors
/// When Kafka does not answer, or a topic exists with other settings.
pub async fn ensure(options: &Options) -> anyhow::Result<()> {
    Ok(ensure_topics(&options.bus, &events::Context::NAMES, options.replication).await?)
}
