//! Processes that an earlier run left running on a state folder, found by their pid files.
//!
//! Never: a signal to a process that is not provably ours.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::process::STOP_LIMIT;
use super::{ServiceError, StateDir};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Stops the processes that an earlier run left running on this folder; returns their names and pids.
///
/// # Errors
/// When the pid files cannot be read.
pub async fn stop_left_over(state: &StateDir) -> Result<Vec<(String, i32)>, ServiceError> {
    let folder = state.path("pids");
    let io = |source| ServiceError::io("read", &folder, source);
    let mut left_over = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i32>().ok());
        if let Some(pid) = pid
            && belongs_to(pid, state)
        {
            left_over.push((name, pid));
        }
        fs::remove_file(&file).map_err(io)?;
    }
    // PostgreSQL and Kafka last: a role without its database only logs errors.
    left_over.sort_by_key(|(name, _)| match name.as_str() {
        "postgres" => 2,
        "kafka" => 1,
        _ => 0,
    });
    for (name, pid) in &left_over {
        let signal = if name == "postgres" { Signal::SIGINT } else { Signal::SIGTERM };
        let _ = kill(Pid::from_raw(*pid), signal);
        let give_up = Instant::now() + STOP_LIMIT;
        while belongs_to(*pid, state) {
            if Instant::now() > give_up {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            sleep(POLL_INTERVAL).await;
        }
    }
    Ok(left_over)
}

/// The kernel may have given the pid to another process since. Ours have the state folder in the command line (PostgreSQL and
/// Kafka) or in the environment (the roles). A zombie has neither.
fn belongs_to(pid: i32, state: &StateDir) -> bool {
    let root = state.root().as_os_str().as_bytes();
    let marks = [[root, b"/"].concat(), [root, b"\0"].concat()];
    ["cmdline", "environ"].iter().any(|file| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|text| marks.iter().any(|mark| text.windows(mark.len()).any(|window| window == mark)))
    })
}
