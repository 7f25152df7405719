//! Child processes that do not outlive us.
//!
//! Each child asks the kernel for a signal when its parent dies (`setpriv --pdeathsig`), so that even a
//! killed `up` leaves nothing behind. Where `setpriv` is absent, the pid files let the next start find
//! and stop what was left.
//! Never: a signal to a process that is not provably ours.
//! Read next: `postgres.rs`, `kafka.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
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
use tokio::time::{Instant, sleep, timeout};

use super::{EngineError, StateDir};

const STOP_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const LOG_TAIL_LINES: usize = 12;
const LOG_TAIL_BYTES: u64 = 8 * 1024;
/// The variable that marks a child as belonging to a state folder.
pub const STATE_DIR_VARIABLE: &str = "TRADEWIND_STATE_DIR";

/// The parent-death signal is sent when the *thread* that forked ends, so all forking is done by one
/// thread that lives as long as the process (runtime threads come and go).
static NURSERY: LazyLock<SyncSender<Birth>> = LazyLock::new(|| {
    let (sender, births) = sync_channel::<Birth>(16);
    std::thread::Builder::new()
        .name("nursery".to_owned())
        .spawn(move || {
            for mut birth in births {
                let _context = birth.runtime.enter();
                // A receiver that has gone (its task was cancelled) takes the child with it: kill_on_drop.
                let _ = birth.born.send(birth.command.spawn());
            }
        })
        .expect("a thread can be started");
    sender
});

struct Birth {
    command: Command,
    runtime: Handle,
    born: oneshot::Sender<std::io::Result<Child>>,
}

/// What to run: the program with its arguments, and its environment.
#[derive(Debug)]
pub struct Program {
    /// Names the log and the pid file.
    pub name: String,
    /// What changes the user before the program starts; mostly empty.
    pub wrapper: Vec<OsString>,
    pub argv: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// Asks it to stop; also what the kernel sends it when we are killed.
    pub stop_signal: Signal,
    pub output: Output,
}

/// Where a child's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the log of its name.
    Log,
    /// Where ours goes.
    Ours,
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
    /// Starts a program in a process group of its own (Ctrl-C in the terminal reaches only us, so that
    /// we can stop things in order), its output appended to its log.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn start(state: &StateDir, program: Program) -> Result<Self, EngineError> {
        let log = state.log(&program.name);
        let (output, errors) = match program.output {
            Output::Ours => (Stdio::inherit(), Stdio::inherit()),
            Output::Log => open_twice(&log).map_err(|source| EngineError::io("open", &log, source))?,
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
        let (born, child) = oneshot::channel();
        NURSERY
            .send(Birth { command, runtime: Handle::current(), born })
            .expect("the nursery lives as long as the process");
        let child = child
            .await
            .expect("the nursery answers every birth")
            .map_err(|source| EngineError::io("start", &argv[0], source))?;
        let pid =
            child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a child not yet awaited has a pid");
        let pid_file = state.pid_file(&program.name);
        fs::write(&pid_file, pid.to_string())
            .map_err(|source| EngineError::io("write", &pid_file, source))?;
        Ok(Self { name: program.name, pid, child, stop_signal: program.stop_signal, log, pid_file })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// An error with the end of the log when the child has ended already.
    ///
    /// # Errors
    /// [`EngineError::Exited`].
    pub fn still_runs(&mut self) -> Result<(), EngineError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.exited(&status.to_string())),
            Err(unknown) => Err(self.exited(&unknown.to_string())),
        }
    }

    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Returns when the child has ended by itself; says how.
    pub async fn ended(&mut self) -> String {
        self.child.wait().await.map_or_else(|lost| lost.to_string(), |status| status.to_string())
    }

    /// Asks the child to stop and waits; kills it when it does not within the limit.
    pub async fn stop(mut self) {
        // ESRCH: it has ended by itself, which is what we want.
        let _ = kill(Pid::from_raw(self.pid), self.stop_signal);
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            tracing::warn!(process = %self.name, pid = self.pid, limit = ?STOP_LIMIT, "did not stop in time, killing it");
        }
        self.kill().await;
    }

    /// Ends the child at once: for data that is thrown away anyway.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
        let _ = fs::remove_file(&self.pid_file);
    }

    /// The error that this child was not ready within its limit.
    pub fn not_ready(&self, limit: Duration, reason: String) -> EngineError {
        EngineError::NotReady {
            engine: self.name.clone(),
            seconds: limit.as_secs(),
            reason,
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }

    fn exited(&self, status: &str) -> EngineError {
        EngineError::Exited {
            engine: self.name.clone(),
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

/// Stops what an earlier run left behind on this folder and says what it stopped, as (name, pid).
///
/// # Errors
/// When the pid files cannot be read.
pub async fn stop_left_over(state: &StateDir) -> Result<Vec<(String, i32)>, EngineError> {
    let folder = state.path("pids");
    let io = |source| EngineError::io("read", &folder, source);
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
    // The engines last: a role without its database only makes noise.
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

/// A pid may have been given to a stranger since: ours names the state folder in its command line (the
/// engines) or in its environment (the roles). A zombie has neither.
fn belongs_to(pid: i32, state: &StateDir) -> bool {
    let root = state.root().as_os_str().as_bytes();
    let marks = [[root, b"/"].concat(), [root, b"\0"].concat()];
    ["cmdline", "environ"].iter().any(|file| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|text| marks.iter().any(|mark| text.windows(mark.len()).any(|window| window == mark)))
    })
}

/// The wish stands innermost, after any change of user: the kernel forgets it when credentials change.
fn with_death_signal(program: &Program) -> Vec<OsString> {
    let mut argv = program.wrapper.clone();
    if find_program("setpriv").is_some() {
        let signal = program.stop_signal.as_str().trim_start_matches("SIG");
        argv.extend(["setpriv", "--pdeathsig", signal, "--"].map(OsString::from));
    }
    argv.extend_from_slice(&program.argv);
    argv
}

/// The first of this name in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a command to its end.
///
/// # Errors
/// [`EngineError::Command`] with what it printed, when it fails or cannot be started.
pub async fn run_to_end(what: &str, argv: &[OsString], env: &[(&str, &str)]) -> Result<String, EngineError> {
    let failed =
        |status: String, output: String| EngineError::Command { what: what.to_owned(), status, output };
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

/// Words to a command line.
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
