//! `tradewind up`: engines, schemas, topics, roles, in this order; and down again, in the opposite one.
//!
//! Never: a role started on schemas or topics that are not there; an engine stopped before the roles that use it.
//! Read next: `plan.rs` (who listens where), `crew.rs` (the roles while they run), `endpoints.rs` (what is told to others).

mod crew;
mod endpoints;
mod plan;
mod separate;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use crate::engines::{Durability, Engines, StateDir, process};
use crate::roles::options_from;
use crate::{migrate, topics};
use crew::Crew;
use endpoints::Endpoints;
use plan::Plan;

#[derive(clap::Args, Debug)]
pub struct Options {
    /// Where everything is kept: data, logs, Kafka's jars, endpoints.json
    #[arg(long, env = "TRADEWIND_STATE_DIR", default_value = ".tradewind")]
    state_dir: PathBuf,
    /// Begin anew: remove all data first (Kafka's jars stay)
    #[arg(long)]
    fresh: bool,
    /// Run each role in a process of its own
    #[arg(long)]
    separate: bool,
    /// With --separate: leave a role that died dead, instead of starting it again
    #[arg(long, requires = "separate")]
    no_restart: bool,
    #[command(flatten)]
    ports: plan::Ports,
    #[command(flatten)]
    told: plan::Told,
}

/// Runs until SIGTERM, Ctrl-C, or a role that cannot go on.
///
/// # Errors
/// When anything does not come up, or a role fails; what had been started is stopped.
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
                "--fresh removes the data of private engines only, and {variable} names another: unset it, or clear it yourself"
            );
        }
        stop_left_over(&state).await?;
        state.clear(&lock)?;
    }
    stop_left_over(&state).await?;
    state.rotate_logs()?;
    // Before anything is started: a taken port is found out at once.
    let ports = options.ports.choose(&state)?;
    let jars = state.kafka_home();
    let engines = tokio::select! {
        engines = Engines::start(&state, &jars, Durability::Kept) => engines?,
        () = stop.cancelled() => bail!("interrupted while the engines were starting"),
    };
    let plan = Plan::new(&engines, ports, &options.told, json_logs);
    let outcome = run_on(&engines, &plan, &options, &state, &stop, started).await;
    endpoints::withdraw(&state)?;
    engines.stop().await;
    outcome?;
    println!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn run_on(
    engines: &Engines,
    plan: &Plan,
    options: &Options,
    state: &StateDir,
    stop: &CancellationToken,
    started: Instant,
) -> anyhow::Result<()> {
    migrate::migrate_all(&engines.database_url).await?;
    topics::ensure(&options_from("topics", &plan.settings)?).await?;
    endpoints::write_env(state, engines, plan)?;
    let mut crew = if options.separate {
        Crew::separate(state, plan, !options.no_restart)
    } else {
        Crew::together(plan)
    };
    let outcome = keep_running(&mut crew, engines, plan, state, stop, started).await;
    crew.stop().await;
    outcome
}

async fn keep_running(
    crew: &mut Crew,
    engines: &Engines,
    plan: &Plan,
    state: &StateDir,
    stop: &CancellationToken,
    started: Instant,
) -> anyhow::Result<()> {
    tokio::select! {
        ready = crew.wait_until_ready(plan) => ready?,
        () = stop.cancelled() => return Ok(()),
    }
    let endpoints = Endpoints { engines, plan };
    endpoints.write(state, crew.pids())?;
    println!("{}", endpoints.table(state, started.elapsed()));
    loop {
        tokio::select! {
            changed = crew.changed() => {
                changed?;
                endpoints.write(state, crew.pids())?;
            }
            () = stop.cancelled() => return Ok(()),
        }
    }
}

async fn stop_left_over(state: &StateDir) -> anyhow::Result<()> {
    for (name, pid) in process::stop_left_over(state).await? {
        eprintln!("stopped {name} (pid {pid}), which an earlier run had left behind");
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
