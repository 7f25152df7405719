//! `tradewind up` starts PostgreSQL and Kafka, migrates the schemas, creates the topics and starts the roles, in this
//! order; it stops them in the reverse order.
//!
//! Never: a role started before its schemas and topics exist; PostgreSQL or Kafka stopped before the roles.
//! Read next: `plan.rs` (addresses and settings), `supervisor.rs` (the running roles), `endpoints.rs` (what `up` writes
//! and prints).

mod endpoints;
mod plan;
mod role_change;
mod separate;
mod supervisor;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use crate::roles::options_from;
use crate::services::{Durability, Services, StateDir, left_over};
use crate::{migrate, topics};
use endpoints::Endpoints;
use plan::Plan;
use supervisor::Supervisor;

#[derive(clap::Args, Debug)]
pub struct Options {
    /// The folder for all state: data, logs, Kafka's jars, endpoints.json
    #[arg(long, env = "TRADEWIND_STATE_DIR", default_value = ".tradewind")]
    state_dir: PathBuf,
    /// Remove all data first (Kafka's jars are kept)
    #[arg(long)]
    fresh: bool,
    /// Run each role in its own process, and restart a role that dies [default: all roles in one process]
    #[arg(long)]
    separate: bool,
    /// With --separate: do not restart a role that dies
    #[arg(long, requires = "separate")]
    no_restart: bool,
    #[command(flatten)]
    ports: plan::Ports,
    #[command(flatten)]
    overrides: plan::Overrides,
}

/// Runs until SIGTERM, Ctrl-C, or the failure of a role.
///
/// # Errors
/// When something does not start, or a role fails; everything that was started is stopped.
pub async fn run(options: Options, json_logs: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let stop = stop_signal();
    let state = StateDir::open(&options.state_dir)?;
    let lock = state.lock()?;
    endpoints::withdraw(&state)?;
    if options.fresh {
        let named =
            ["DATABASE_URL", "KAFKA_BROKERS"].into_iter().find(|name| std::env::var_os(name).is_some());
        if let Some(variable) = named {
            bail!(
                "--fresh removes only the data of the private PostgreSQL and Kafka, and {variable} names another server: unset it, or clear that server yourself"
            );
        }
        stop_left_over(&state).await?;
        state.clear(&lock)?;
    }
    stop_left_over(&state).await?;
    state.rotate_logs()?;
    // Before anything is started, so that a port in use is reported at once.
    let ports = options.ports.choose(&state)?;
    let jars = state.kafka_home();
    let services = tokio::select! {
        services = Services::start(&state, &jars, Durability::Durable) => services?,
        () = stop.cancelled() => bail!("interrupted while PostgreSQL and Kafka were starting"),
    };
    let plan = Plan::new(&services, ports, &options.overrides, json_logs);
    let outcome = run_on(&services, &plan, &options, &state, &stop, started).await;
    endpoints::withdraw(&state)?;
    services.stop().await;
    outcome?;
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn run_on(
    services: &Services,
    plan: &Plan,
    options: &Options,
    state: &StateDir,
    stop: &CancellationToken,
    started: Instant,
) -> anyhow::Result<()> {
    migrate::migrate_all(&services.database_url).await?;
    topics::ensure(&options_from("topics", &plan.settings)?).await?;
    endpoints::write_env(state, services, plan)?;
    let mut supervisor = if options.separate {
        Supervisor::separate(state, plan, !options.no_restart)
    } else {
        Supervisor::together(plan)
    };
    let outcome = keep_running(&mut supervisor, services, plan, state, stop, started).await;
    supervisor.stop().await;
    outcome
}

async fn keep_running(
    supervisor: &mut Supervisor,
    services: &Services,
    plan: &Plan,
    state: &StateDir,
    stop: &CancellationToken,
    started: Instant,
) -> anyhow::Result<()> {
    tokio::select! {
        ready = supervisor.wait_until_ready(plan) => ready?,
        () = stop.cancelled() => return Ok(()),
    }
    let endpoints = Endpoints { services, plan };
    endpoints.write(state, supervisor.pids())?;
    println!("{}", endpoints.table(state, started.elapsed()));
    loop {
        tokio::select! {
            changed = supervisor.changed() => {
                changed?;
                endpoints.write(state, supervisor.pids())?;
            }
            () = stop.cancelled() => return Ok(()),
        }
    }
}

async fn stop_left_over(state: &StateDir) -> anyhow::Result<()> {
    for (name, pid) in left_over::stop_left_over(state).await? {
        eprintln!("stopped {name} (pid {pid}), left running by an earlier run");
    }
    Ok(())
}

/// Cancelled at the first Ctrl-C or SIGTERM.
pub fn stop_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        runtime::shutdown_signal().await;
        signalled.cancel();
    });
    stop
}
