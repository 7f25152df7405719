//! The one binary: `up`, a subcommand for each role, and the tools. This file is the table of contents.
//!
//! Never: a decision, a query or a loop; those stand in the crate that a subcommand names.
//! Read next: `up/mod.rs`, the order in which a Tradewind comes up and goes down.

mod engines;
mod health;
mod migrate;
mod roles;
mod tools;
mod topics;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced order platform on PostgreSQL and Apache Kafka
#[derive(Parser, Debug)]
#[command(name = "tradewind", version)]
struct Cli {
    /// Write logs as JSON, one object per line
    #[arg(long, global = true, env = "TRADEWIND_JSON_LOGS")]
    json_logs: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Start everything: engines, schemas, topics, every role; Ctrl-C stops it
    Up(up::Options),

    /// Role: takes commands over HTTP, decides, appends events
    CommandSide(command_side::Config),
    /// Role: carries the events of every log to Kafka, in order
    Relay(tools::relay::Relay),
    /// Role: reacts to events with commands
    Sagas(roles::SagasOptions),
    /// Role: builds the read models from Kafka and answers queries over HTTP
    QuerySide(query_side::Config),
    /// Role: the payment provider that ships with Tradewind
    PaymentProvider(payment_provider::Config),

    /// Tool: send a file of real orders through the HTTP door, and say what became of them
    Load(tools::load::Args),
    /// Tool: rebuild projections from the logs, compare them with the live ones, swap
    Replay(tools::replay::Args),
    /// Tool: prove that logs, topics, checkpoints, read models, stock and money agree; exit code 0, 1, or 2: not checked
    Verify(tools::verify::Args),
    /// Tool: show the log itself
    Events(tools::events::Args),
    /// Tool: after a restore, bring topics and read models to what the logs say
    Reconcile(tools::reconcile::Args),
    /// Tool: what consumers could not handle: list, show, retry, discard
    Parked(tools::parked::Args),

    /// Create or bring up to date the schemas, roles and tables
    Migrate(migrate::Options),
    /// Create the topics
    Topics(topics::Options),
    /// Run a command with private engines of its own
    Engines(engines::run::Options),
    /// Ask a role whether it is ready: exit code 0 when it is
    Health(health::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { json_logs, task } = Cli::parse();
    let log = |name| runtime::telemetry::init(name, json_logs);
    let outcome = match task {
        Task::Up(options) => {
            log("up");
            up::run(options, json_logs).await
        }
        Task::CommandSide(config) => {
            log("command-side");
            until_told(|shutdown| roles::command_side(config, shutdown)).await
        }
        Task::Relay(tools::relay::Relay::Role(config)) => {
            log("relay");
            until_told(|shutdown| roles::relay(config, shutdown)).await
        }
        Task::Relay(tools::relay::Relay::Status(databases)) => tools::relay::status(databases).await,
        Task::Sagas(config) => {
            log("sagas");
            until_told(|shutdown| roles::sagas(config, shutdown)).await
        }
        Task::QuerySide(config) => {
            log("query-side");
            until_told(|shutdown| query_side::run(config, shutdown)).await
        }
        Task::PaymentProvider(config) => {
            log("payment-provider");
            until_told(|shutdown| payment_provider::run(config, shutdown)).await
        }
        Task::Load(args) => tools::load::run(args).await,
        Task::Replay(args) => tools::replay::run(args).await,
        Task::Verify(args) => tools::verify::run(args).await,
        Task::Events(args) => tools::events::run(args).await,
        Task::Reconcile(args) => tools::reconcile::run(args).await,
        Task::Parked(args) => tools::parked::run(args).await,
        Task::Migrate(options) => migrate::run(options).await,
        Task::Topics(options) => topics::run(options).await,
        Task::Engines(options) => engines::run::run(options).await,
        Task::Health(options) => health::run(options).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("tradewind: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a role until SIGTERM or SIGINT, and lets it drain.
async fn until_told<E, F>(role: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<ExitCode>
where
    E: Into<anyhow::Error>,
    F: Future<Output = Result<(), E>>,
{
    role(up::stop_signal()).await.map_err(Into::into)?;
    Ok(ExitCode::SUCCESS)
}
