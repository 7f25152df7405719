//! Child processes that do not outlive this process: each asks the kernel for a signal when its parent dies (`setpriv
//! --pdeathsig`; a call of prctl would need `unsafe`). Where `setpriv` is missing, the next start finds the children by
//! their pid files (`left_over.rs`).

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ServiceError, StateDir};

pub const STOP_LIMIT: Duration = Duration::from_secs(30);
const LOG_TAIL_LINES: usize = 12;
const LOG_TAIL_BYTES: u64 = 8 * 1024;
/// Every child has this variable; it tells which state folder the child belongs to.
pub const STATE_DIR_VARIABLE: &str = "TRADEWIND_STATE_DIR";

/// The kernel sends the parent-death signal when the *thread* that forked ends, so one thread that lives as long as the
/// process spawns all children (threads of the runtime may end earlier).
static SPAWNER: LazyLock<SyncSender<SpawnRequest>> = LazyLock::new(|| {
    let (sender, requests) = sync_channel::<SpawnRequest>(16);
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for mut request in requests {
                let _context = request.runtime.enter();
                // When the receiver was dropped (its task was cancelled), kill_on_drop kills the child.
                let _ = request.reply.send(request.command.spawn());
            }
        })
        .expect("a thread can be started");
    sender
});

struct SpawnRequest {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<std::io::Result<Child>>,
}

/// What to run: the program with its arguments, and its environment.
#[derive(Debug)]
pub struct Program {
    /// The name of the log and the pid file.
    pub name: String,
    /// The command that changes the user before the program starts; mostly empty.
    pub wrapper: Vec<OsString>,
    pub argv: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// The signal that asks it to stop; the kernel sends it too when this process is killed.
    pub stop_signal: Signal,
    pub output: Output,
}

/// Where a child's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the log with its name.
    Log,
    /// To the output of this process.
    Inherited,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    child: Child,
    stop_signal: Signal,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Process {
    /// Starts a program in a new process group, so that Ctrl-C in the terminal reaches only this process, which then stops its
    /// children in order.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn start(state: &StateDir, program: Program) -> Result<Self, ServiceError> {
        let log = state.log(&program.name);
        let (output, errors) = match program.output {
            Output::Inherited => (Stdio::inherit(), Stdio::inherit()),
            Output::Log => open_twice(&log).map_err(|source| ServiceError::io("open", &log, source))?,
        };
        let argv = with_death_signal(&program);
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .envs(program.env)
            .env(STATE_DIR_VARIABLE, state.root())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        let (reply, child) = oneshot::channel();
        SPAWNER
            .send(SpawnRequest { command, runtime: Handle::current(), reply })
            .expect("the spawner lives as long as the process");
        let child = child
            .await
            .expect("the spawner answers every request")
            .map_err(|source| ServiceError::io("start", &argv[0], source))?;
        let pid =
            child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a child not yet awaited has a pid");
        let pid_file = state.pid_file(&program.name);
        fs::write(&pid_file, pid.to_string())
            .map_err(|source| ServiceError::io("write", &pid_file, source))?;
        Ok(Self { name: program.name, pid, child, stop_signal: program.stop_signal, log, pid_file })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Fails with the end of the log when the child has ended.
    ///
    /// # Errors
    /// [`ServiceError::Exited`].
    pub fn ensure_running(&mut self) -> Result<(), ServiceError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.exited(&status.to_string())),
            Err(unknown) => Err(self.exited(&unknown.to_string())),
        }
    }

    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits until the child ends by itself; returns its exit status as text.
    pub async fn ended(&mut self) -> String {
        self.child.wait().await.map_or_else(|lost| lost.to_string(), |status| status.to_string())
    }

    /// Asks the child to stop and waits; kills it when it does not stop within the limit.
    pub async fn stop(mut self) {
        // ESRCH: the child has ended already.
        let _ = kill(Pid::from_raw(self.pid), self.stop_signal);
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            tracing::warn!(process = %self.name, pid = self.pid, limit = ?STOP_LIMIT, "process did not stop in time, killing it");
        }
        self.kill().await;
    }

    /// Kills the child: for data that is removed anyway.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
        let _ = fs::remove_file(&self.pid_file);
    }

    /// The error that this child was not ready within its limit.
    pub fn not_ready(&self, limit: Duration, reason: String) -> ServiceError {
        ServiceError::NotReady {
            service: self.name.clone(),
            seconds: limit.as_secs(),
            reason,
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }

    fn exited(&self, status: &str) -> ServiceError {
        ServiceError::Exited {
            service: self.name.clone(),
            status: status.to_owned(),
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

fn open_twice(log: &Path) -> std::io::Result<(Stdio, Stdio)> {
    let file = OpenOptions::new().create(true).append(true).open(log)?;
    Ok((file.try_clone()?.into(), file.into()))
}

/// `setpriv --pdeathsig` comes after any change of user, because the kernel clears the setting when credentials change.
fn with_death_signal(program: &Program) -> Vec<OsString> {
    let mut argv = program.wrapper.clone();
    if find_program("setpriv").is_some() {
        let signal = program.stop_signal.as_str().trim_start_matches("SIG");
        argv.extend(["setpriv", "--pdeathsig", signal, "--"].map(OsString::from));
    }
    argv.extend_from_slice(&program.argv);
    argv
}

/// The first program with this name in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a command to its end; returns its output.
///
/// # Errors
/// [`ServiceError::Command`] with its output, when it fails or cannot be started.
pub async fn run_to_end(what: &str, argv: &[OsString], env: &[(&str, &str)]) -> Result<String, ServiceError> {
    let failed =
        |status: String, output: String| ServiceError::Command { what: what.to_owned(), status, output };
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|cause| failed(cause.to_string(), String::new()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        Ok(if printed.is_empty() { errors } else { printed })
    } else {
        Err(failed(output.status.to_string(), [printed, errors].join("\n").trim().to_owned()))
    }
}

/// A command line of words of several types.
pub fn argv<const N: usize>(words: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

fn tail(log: &Path) -> String {
    let read = || {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
