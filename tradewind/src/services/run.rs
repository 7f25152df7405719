//! `tradewind engines run -- <command>`: runs a command with a fresh private PostgreSQL and Kafka, and removes their
//! data when the command ends. Only Kafka's jars are kept.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::{Durability, ServiceError, Services, StateDir, StateLock, left_over};

const RUNS: &str = "engine-runs";

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Run a command with a fresh private PostgreSQL and Kafka, and exit with the command's exit code. The command gets
    /// DATABASE_URL, KAFKA_BROKERS and TRADEWIND_KAFKA_HOME, and the pids in TRADEWIND_POSTGRES_PID and TRADEWIND_KAFKA_PID
    Run {
        /// The folder for Kafka's jars, and for all data until the command ends
        #[arg(long, env = "TRADEWIND_STATE_DIR", default_value = ".tradewind")]
        state_dir: PathBuf,
        /// Wait for the disk on every write (fsync on), as with durable data: slower; for measurements
        #[arg(long)]
        durable: bool,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Run one private service in the foreground and keep its data; prints its address when it is ready
    Serve(super::serve::Options),
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (state_dir, durable, command) = match options.action {
        Action::Run { state_dir, durable, command } => (state_dir, durable, command),
        Action::Serve(options) => return super::serve::run(options).await,
    };
    let durability = if durable { Durability::DurableForTheRun } else { Durability::Ephemeral };
    let home = StateDir::open(&state_dir)?;
    remove_abandoned_runs(&home).await?;
    let state = StateDir::open(&home.path(RUNS).join(std::process::id().to_string()))?;
    let lock = state.lock()?;

    let started = Instant::now();
    let jars = home.kafka_home();
    let services = tokio::select! {
        services = Services::start(&state, &jars, durability) => services?,
        () = runtime::shutdown_signal() => bail!("interrupted while PostgreSQL and Kafka were starting"),
    };
    eprintln!("PostgreSQL and Kafka are ready after {:.1?}", started.elapsed());
    let outcome = run_command(&services, &command).await;
    services.kill().await;
    remove(&state, lock)?;
    outcome
}

async fn run_command(services: &Services, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut child = Command::new(&command[0]);
    child
        .args(&command[1..])
        .env("DATABASE_URL", services.database_url.expose())
        .env("KAFKA_BROKERS", &services.kafka_brokers)
        .kill_on_drop(true);
    if let Some(kafka_home) = &services.kafka_home {
        child.env("TRADEWIND_KAFKA_HOME", kafka_home);
    }
    // For commands that measure the services.
    for (name, pid) in services.pids() {
        child.env(format!("TRADEWIND_{}_PID", name.to_uppercase()), pid.to_string());
    }
    let mut child = child.spawn().with_context(|| format!("cannot start {}", command[0].display()))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        // Ctrl-C reached the command too; SIGTERM did not. kill_on_drop ends the command in both cases.
        () = runtime::shutdown_signal() => bail!("interrupted"),
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Removes what killed runs left. The lock of a killed run is free; that of a live run is held.
async fn remove_abandoned_runs(home: &StateDir) -> Result<(), ServiceError> {
    let Ok(runs) = fs::read_dir(home.path(RUNS)) else { return Ok(()) };
    for run in runs.flatten() {
        // A run that is just starting has its folder and not yet its lock.
        if Path::new("/proc").join(run.file_name()).exists() {
            continue;
        }
        let state = StateDir::open(&run.path())?;
        if let Ok(lock) = state.lock() {
            left_over::stop_left_over(&state).await?;
            remove(&state, lock)?;
        }
    }
    Ok(())
}

fn remove(state: &StateDir, _held: StateLock) -> Result<(), ServiceError> {
    fs::remove_dir_all(state.root()).map_err(|source| ServiceError::io("remove", state.root(), source))
}
