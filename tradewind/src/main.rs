//! The one binary: `up`, a subcommand for each role, and the tools. This file is the table of contents.

mod command_line;
mod health;
mod migrate;
mod roles;
mod services;
mod tools;
mod topics;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced order platform on PostgreSQL and Apache Kafka
#[derive(Parser, Debug)]
#[command(name = "tradewind", version)]
struct Cli {
    /// Write log lines as JSON, one object per line
    #[arg(long, global = true, env = "TRADEWIND_JSON_LOGS")]
    json_logs: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Start everything: PostgreSQL, Kafka, schemas, topics and all roles; Ctrl-C stops it
    Up(up::Options),

    /// Role: accepts commands over HTTP, decides and appends events
    CommandSide(command_side::Config),
    /// Role: publishes the events of every log to Kafka, in order
    Relay(tools::relay::Relay),
    /// Role: reacts to events with commands
    Sagas(roles::SagasOptions),
    /// Role: builds the read models from Kafka and answers queries over HTTP
    QuerySide(query_side::Config),
    /// Role: the fake payment provider for development and tests
    PaymentProvider(payment_provider::Config),

    /// Tool: send a file of real orders over HTTP and report the outcome of each
    Load(tools::load::Args),
    /// Tool: rebuild projections from the logs, compare them with the live ones, and swap them
    Replay(tools::replay::Args),
    /// Tool: check that logs, topics, checkpoints, read models, stock and money agree; exit code 0: they agree, 1: they differ, 2:
    /// something was not checked
    Verify(tools::verify::Args),
    /// Tool: show the events of the logs
    Events(tools::events::Args),
    /// Tool: after a restore of a database, rebuild topics and read models from the logs
    Reconcile(tools::reconcile::Args),
    /// Tool: list, show, retry or discard the events that consumers could not handle
    Parked(tools::parked::Args),

    /// Create or update the schemas, database roles and tables
    Migrate(migrate::Options),
    /// Create the topics
    Topics(topics::Options),
    /// Run a command with a private PostgreSQL and Kafka, or one of them alone
    Engines(services::run::Options),
    /// Check whether a role is ready; exit code 0: it is
    Health(health::Options),

    /// Print a completion script for a shell
    Completions(command_line::CompletionsOptions),
    /// Print the manual page, or write one page for each subcommand
    Man(command_line::ManOptions),
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
            run_until_signal(|shutdown| roles::command_side(config, shutdown)).await
        }
        Task::Relay(tools::relay::Relay::Role(config)) => {
            log("relay");
            run_until_signal(|shutdown| roles::relay(config, shutdown)).await
        }
        Task::Relay(tools::relay::Relay::Status(databases)) => tools::relay::status(databases).await,
        Task::Sagas(config) => {
            log("sagas");
            run_until_signal(|shutdown| roles::sagas(config, shutdown)).await
        }
        Task::QuerySide(config) => {
            log("query-side");
            run_until_signal(|shutdown| query_side::run(config, shutdown)).await
        }
        Task::PaymentProvider(config) => {
            log("payment-provider");
            run_until_signal(|shutdown| payment_provider::run(config, shutdown)).await
        }
        Task::Load(args) => tools::load::run(args).await,
        Task::Replay(args) => tools::replay::run(args).await,
        Task::Verify(args) => tools::verify::run(args).await,
        Task::Events(args) => tools::events::run(args).await,
        Task::Reconcile(args) => tools::reconcile::run(args).await,
        Task::Parked(args) => tools::parked::run(args).await,
        Task::Migrate(options) => migrate::run(options).await,
        Task::Topics(options) => topics::run(options).await,
        Task::Engines(options) => services::run::run(options).await,
        Task::Health(options) => health::run(options).await,
        Task::Completions(options) => command_line::completions(Cli::command(), &options),
        Task::Man(options) => command_line::man(Cli::command(), &options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("tradewind: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a role until SIGTERM or SIGINT; then the role finishes what is in flight.
async fn run_until_signal<E, F>(role: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<ExitCode>
where
    E: Into<anyhow::Error>,
    F: Future<Output = Result<(), E>>,
{
    role(up::stop_signal()).await.map_err(Into::into)?;
    Ok(ExitCode::SUCCESS)
}
