//! A role in a process of its own, started again when it dies.
//!
//! Never: a restart without a pause (a role that cannot start must not eat the machine), or a silent one.
//! Read next: `crew.rs`.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::crew::Change;
use crate::engines::process::{Output, Process, Program};
use crate::engines::{EngineError, StateDir};
use crate::roles::{Role, Settings};

const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// After this long a death is news, not the next of a row.
const STEADY_AFTER: Duration = Duration::from_secs(30);

/// Keeps a role's process running until `shutdown`, and tells `changes` what becomes of it.
pub async fn supervise(
    role: Role,
    settings: Settings,
    state: StateDir,
    restart: bool,
    changes: mpsc::Sender<Change>,
    shutdown: CancellationToken,
) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let started = Instant::now();
        let mut process = match start(role, &settings, &state).await {
            Ok(process) => process,
            Err(cause) => {
                let _ = changes.send(Change::GaveUp { role, cause: cause.into() }).await;
                return;
            }
        };
        let _ = changes.send(Change::Started { role, pid: process.pid() }).await;
        let how = tokio::select! {
            status = process.wait() => status.map_or_else(|lost| lost.to_string(), |status| status.to_string()),
            () = shutdown.cancelled() => return process.stop().await,
        };
        let _ = changes.send(Change::Died { role, how }).await;
        if !restart {
            return shutdown.cancelled().await;
        }
        if started.elapsed() > STEADY_AFTER {
            back_off = BACK_OFF_MIN;
        }
        tokio::select! {
            () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_MAX),
            () = shutdown.cancelled() => return,
        }
    }
}

async fn start(role: Role, settings: &Settings, state: &StateDir) -> Result<Process, EngineError> {
    let own =
        std::env::current_exe().map_err(|source| EngineError::io("find", "the running program", source))?;
    let program = Program {
        name: role.name().to_owned(),
        wrapper: Vec::new(),
        argv: vec![own.into(), role.name().into()],
        env: settings.clone().into_iter().collect(),
        stop_signal: Signal::SIGTERM,
        output: Output::Ours,
    };
    Process::start(state, program).await
}
