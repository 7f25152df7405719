//! A `tradewind up` of a test's own, in a folder that nobody else may enter.
//!
//! Never: a process that outlives its test. Read next: `up.rs`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A closed folder with a state folder in it, that has Kafka's jars already.
pub struct Place {
    folder: PathBuf,
}

impl Place {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(testkit::unique(name));
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("the temporary folder can be written");
        let place = Self { folder };
        fs::create_dir(place.state()).expect("our own folder can be written");
        let jars = std::env::var_os("TRADEWIND_KAFKA_HOME").expect("`make test` says where Kafka's jars are");
        symlink(jars, place.state().join("kafka-home")).expect("our own folder can be written");
        place
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A command line of the binary, without the engines of `make test`.
    pub fn tradewind(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tradewind"));
        command.args(words).current_dir(&self.folder).stdin(Stdio::null());
        command.env_remove("DATABASE_URL").env_remove("KAFKA_BROKERS");
        command.env("TRADEWIND_STATE_DIR", self.state());
        command
    }

    /// Starts `up` on free ports and waits until everything is ready.
    pub fn up(&self, words: &[&str], env: &[(&str, String)]) -> Up {
        let printed = self.folder.join("up.log");
        let output = fs::File::create(&printed).expect("our own folder can be written");
        let child = self
            .tradewind(&["up", "--command-port", "0", "--query-port", "0"])
            .args(words)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .spawn()
            .expect("the binary was built with the test");
        let mut up = Up { child, state: self.state(), printed };
        // Not endpoints.json: that of a killed `up` may still be there.
        wait_until("up says that it is up", || {
            let ended = up.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "up ended: {ended:?}\n{}", up.printed());
            up.printed().contains("Tradewind is up")
        });
        up
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A running `tradewind up`. Told to stop when it is dropped.
pub struct Up {
    child: Child,
    state: PathBuf,
    printed: PathBuf,
}

impl Up {
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.printed).unwrap_or_default()
    }

    pub fn endpoints(&self) -> Value {
        let text = fs::read(self.state.join("endpoints.json")).expect("up is ready");
        serde_json::from_slice(&text).expect("endpoints.json is JSON")
    }

    pub fn pid(&self, name: &str) -> Option<u64> {
        self.endpoints()["pids"][name].as_u64()
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> Option<i32> {
        signal("TERM", self.child.id().into());
        self.child.wait().expect("a child can be waited for").code()
    }

    /// SIGKILL, which leaves it no time for anything.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal("TERM", self.child.id().into());
            let _ = self.child.wait();
        }
    }
}

/// The exit code, and all that was printed.
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the command can be started");
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

pub fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("there is a kill command").success(), "kill -{name} {pid}");
}

/// Whether the process is there, and not only waiting to be buried by a parent that does not care.
pub fn runs(pid: u64) -> bool {
    fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

/// # Panics
/// When it does not come true in time.
#[track_caller]
pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
