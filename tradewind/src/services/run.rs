//! `tradewind engines run -- <command>`: the command gets engines of its own, fresh, and gone when it ends.
//!
//! Never: data of a run kept for the next one (only Kafka's jars are).
//! Read next: `mod.rs`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::{Durability, EngineError, Engines, StateDir, StateLock, process};

const RUNS: &str = "engine-runs";

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Run a command with fresh private engines; DATABASE_URL, KAFKA_BROKERS and TRADEWIND_KAFKA_HOME tell it
    /// where they are, TRADEWIND_POSTGRES_PID and TRADEWIND_KAFKA_PID which processes they are. Returns the command's exit code.
    Run {
        /// Where Kafka's jars are kept, and the engines' data until the command ends
        #[arg(long, env = "TRADEWIND_STATE_DIR", default_value = ".tradewind")]
        state_dir: PathBuf,
        /// Write as an engine does whose data is kept (fsync on): slower, and what `make bench` measures
        #[arg(long)]
        durable: bool,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Run one private engine in the foreground, its data kept; prints where it is, once it answers
    Serve(super::serve::Options),
}

pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (state_dir, durable, command) = match options.action {
        Action::Run { state_dir, durable, command } => (state_dir, durable, command),
        Action::Serve(options) => return super::serve::run(options).await,
    };
    let durability = if durable { Durability::KeptForTheRun } else { Durability::ThrownAway };
    let home = StateDir::open(&state_dir)?;
    remove_abandoned_runs(&home).await?;
    let state = StateDir::open(&home.path(RUNS).join(std::process::id().to_string()))?;
    let lock = state.lock()?;

    let started = Instant::now();
    let jars = home.kafka_home();
    let engines = tokio::select! {
        engines = Engines::start(&state, &jars, durability) => engines?,
        () = runtime::shutdown_signal() => bail!("interrupted while the engines were starting"),
    };
    eprintln!("engines ready after {:.1?}", started.elapsed());
    let outcome = run_command(&engines, &command).await;
    engines.kill().await;
    remove(&state, lock)?;
    outcome
}

async fn run_command(engines: &Engines, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut child = Command::new(&command[0]);
    child
        .args(&command[1..])
        .env("DATABASE_URL", engines.database_url.expose())
        .env("KAFKA_BROKERS", &engines.kafka_brokers)
        .kill_on_drop(true);
    if let Some(kafka_home) = &engines.kafka_home {
        child.env("TRADEWIND_KAFKA_HOME", kafka_home);
    }
    // For whoever measures what they cost.
    for (name, pid) in engines.pids() {
        child.env(format!("TRADEWIND_{}_PID", name.to_uppercase()), pid.to_string());
    }
    let mut child = child.spawn().with_context(|| format!("cannot start {}", command[0].display()))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        // The terminal's Ctrl-C reached the command too; a SIGTERM did not. It ends with us either way.
        () = runtime::shutdown_signal() => bail!("interrupted"),
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// A killed run could not clean up. Its lock is free, which tells it from one that still goes on.
async fn remove_abandoned_runs(home: &StateDir) -> Result<(), EngineError> {
    let Ok(runs) = fs::read_dir(home.path(RUNS)) else { return Ok(()) };
    for run in runs.flatten() {
        // One that is just starting has its folder, and not yet its lock.
        if Path::new("/proc").join(run.file_name()).exists() {
            continue;
        }
        let state = StateDir::open(&run.path())?;
        if let Ok(lock) = state.lock() {
            process::stop_left_over(&state).await?;
            remove(&state, lock)?;
        }
    }
    Ok(())
}

fn remove(state: &StateDir, _held: StateLock) -> Result<(), EngineError> {
    fs::remove_dir_all(state.root()).map_err(|source| EngineError::io("remove", state.root(), source))
}
