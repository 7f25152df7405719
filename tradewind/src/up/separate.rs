//! One role in its own process, restarted with exponential backoff when it dies.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::role_change::RoleChange;
use crate::roles::{Role, Settings};
use crate::services::process::{Output, Process, Program};
use crate::services::{ServiceError, StateDir};

const RESTART_DELAY_MIN: Duration = Duration::from_millis(500);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
/// After a run of this length the backoff starts again at its minimum.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Keeps the process of a role running until `shutdown`, and sends each start and end to `changes`.
pub async fn keep_running(
    role: Role,
    settings: Settings,
    state: StateDir,
    restart: bool,
    changes: mpsc::Sender<RoleChange>,
    shutdown: CancellationToken,
) {
    let mut delays = restart_delays();
    loop {
        let started = Instant::now();
        let mut process = match start(role, &settings, &state).await {
            Ok(process) => process,
            Err(cause) => {
                let _ = changes.send(RoleChange::GaveUp { role, cause: cause.into() }).await;
                return;
            }
        };
        let _ = changes.send(RoleChange::Started { role, pid: process.pid() }).await;
        let how = tokio::select! {
            status = process.wait() => status.map_or_else(|lost| lost.to_string(), |status| status.to_string()),
            () = shutdown.cancelled() => return process.stop().await,
        };
        let _ = changes.send(RoleChange::Died { role, how }).await;
        if !restart {
            return shutdown.cancelled().await;
        }
        if started.elapsed() > STABLE_AFTER {
            delays = restart_delays();
        }
        tokio::select! {
            () = sleep(delays.next().unwrap_or(RESTART_DELAY_MAX)) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn restart_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(RESTART_DELAY_MIN)
        .with_max_delay(RESTART_DELAY_MAX)
        .without_max_times()
        .build()
}

async fn start(role: Role, settings: &Settings, state: &StateDir) -> Result<Process, ServiceError> {
    let program =
        std::env::current_exe().map_err(|source| ServiceError::io("find", "the running program", source))?;
    let program = Program {
        name: role.name().to_owned(),
        wrapper: Vec::new(),
        argv: vec![program.into(), role.name().into()],
        env: settings.clone().into_iter().collect(),
        stop_signal: Signal::SIGTERM,
        output: Output::Inherited,
    };
    Process::start(state, program).await
}
