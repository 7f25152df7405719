//! A `tradewind up` of one test, in a folder that no other user may enter.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const WAIT_MAX: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A folder for one test, with a state folder that has Kafka's jars already.
pub struct TestFolder {
    folder: PathBuf,
}

impl TestFolder {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(testkit::unique(name));
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("the temporary folder can be written");
        let folder = Self { folder };
        fs::create_dir(folder.state()).expect("our own folder can be written");
        let jars = std::env::var_os("TRADEWIND_KAFKA_HOME").expect("`make test` sets TRADEWIND_KAFKA_HOME");
        symlink(jars, folder.state().join("kafka-home")).expect("our own folder can be written");
        folder
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A command of the binary, without the PostgreSQL and Kafka of `make test`.
    pub fn tradewind(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tradewind"));
        command.args(words).current_dir(&self.folder).stdin(Stdio::null());
        command.env_remove("DATABASE_URL").env_remove("KAFKA_BROKERS");
        command.env("TRADEWIND_STATE_DIR", self.state());
        command
    }

    /// Starts `up` on free ports and waits until the platform is ready.
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
        // Not endpoints.json: a killed `up` leaves its file.
        wait_until("up prints that it is up", || {
            let ended = up.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "up ended: {ended:?}\n{}", up.printed());
            up.printed().contains("Tradewind is up")
        });
        up
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A running `tradewind up`. Dropping it stops it.
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

    /// Stops it with SIGTERM; returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        signal("TERM", self.child.id().into());
        self.child.wait().expect("a child can be waited for").code()
    }

    /// Kills it with SIGKILL.
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

/// Runs the command; returns its exit code and its output.
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the command can be started");
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

pub fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("the kill command exists").success(), "kill -{name} {pid}");
}

/// Whether the process runs; a zombie does not.
pub fn runs(pid: u64) -> bool {
    fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

/// # Panics
/// When the condition is not true in time.
#[track_caller]
pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < WAIT_MAX, "not within {WAIT_MAX:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
