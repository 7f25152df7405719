//! `tradewind up`, started for one test on a database and topics of its own.
//!
//! Never: a process that outlives its test. Read next: [`crate::Shop`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{PATIENCE, Shop};

/// A platform with each role in its own process. It stops when it is dropped.
pub struct Platform {
    up: Child,
    state_dir: PathBuf,
    topic_prefix: String,
}

impl Platform {
    /// Starts a fresh platform on the engines of `make test`.
    ///
    /// # Panics
    /// When it is not ready in time; shows its log.
    pub async fn start(name: &str, extra: &[&str]) -> Self {
        let database = testkit::fresh_database(name).await;
        let topic_prefix = format!("{}.", testkit::unique(name));
        let state_dir = std::env::temp_dir().join(testkit::unique(&format!("tradewind-{name}")));
        std::fs::create_dir_all(&state_dir).expect("the temporary folder can be written");
        let log = std::fs::File::create(state_dir.join("up.log")).expect("the state folder can be written");
        let up = Command::new(binary())
            .args(["up", "--separate", "--command-port", "0", "--query-port", "0"])
            .arg("--state-dir")
            .arg(&state_dir)
            .args(extra)
            .env("DATABASE_URL", &database.url)
            .env("KAFKA_BROKERS", testkit::kafka_brokers())
            .env("TOPIC_PREFIX", &topic_prefix)
            .env(fault::CONTROL_VARIABLE, faults(&state_dir).path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be copied"))
            .stderr(log)
            .spawn()
            .expect("TRADEWIND_BIN is the tradewind binary");
        let mut platform = Self { up, state_dir, topic_prefix };
        platform.wait_until_ready().await;
        platform
    }

    async fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while !self.state_dir.join("endpoints.json").exists() {
            let ended = self.up.try_wait().expect("the state of a child can be asked");
            if ended.is_some() || started.elapsed() > PATIENCE {
                panic!("`tradewind up` is not ready ({ended:?}); its log:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `tradewind up` and its roles printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state_dir.join("up.log")).unwrap_or_default()
    }

    /// The content of `endpoints.json`.
    pub fn endpoints(&self) -> Value {
        let text = std::fs::read_to_string(self.state_dir.join("endpoints.json"))
            .expect("endpoints.json is written");
        serde_json::from_str(&text).expect("endpoints.json is JSON")
    }

    pub fn endpoint(&self, name: &str) -> String {
        self.endpoints()[name].as_str().unwrap_or_else(|| panic!("endpoints.json has no {name}")).to_owned()
    }

    /// A client of its doors.
    pub fn shop(&self) -> Shop {
        Shop::new(
            self.endpoint("command_url"),
            self.endpoint("query_url"),
            self.endpoint("payment_provider_url"),
        )
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub fn topic(&self, context: events::Context) -> String {
        format!("{}{}", self.topic_prefix, context.topic())
    }

    pub fn pid(&self, role: &str) -> u32 {
        self.pid_if_running(role).unwrap_or_else(|| panic!("no pid of {role}"))
    }

    /// None while the role is dead and not yet started again.
    pub fn pid_if_running(&self, role: &str) -> Option<u32> {
        self.endpoints()["pids"][role].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Where crash points and planted bugs of all its processes are armed.
    pub fn faults(&self) -> fault::Control {
        faults(&self.state_dir)
    }

    /// SIGKILL to one role. `up` starts it again.
    pub async fn kill(&self, role: &str) {
        let pid = self.pid(role).to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status().await.expect("there is a kill command");
        assert!(killed.success(), "kill -9 {pid} ({role})");
    }

    /// Runs `tradewind <args>` against this platform and returns (exit code, stdout and stderr).
    pub async fn tradewind(&self, args: &[&str]) -> (i32, String) {
        let database_url = self.endpoint("database_url");
        let output = Command::new(binary())
            .args(args)
            .current_dir(&self.state_dir)
            .env("DATABASE_URL", database_url)
            .env("KAFKA_BROKERS", testkit::kafka_brokers())
            .env("TOPIC_PREFIX", &self.topic_prefix)
            .env(fault::CONTROL_VARIABLE, self.faults().path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("TRADEWIND_BIN is the tradewind binary");
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap_or(-1), text)
    }

    /// SIGTERM, and the exit code of `up`.
    pub async fn stop(mut self) -> i32 {
        let pid = self.up.id().expect("up is running").to_string();
        let told =
            Command::new("kill").args(["-TERM", &pid]).status().await.expect("there is a kill command");
        assert!(told.success());
        let ended = tokio::time::timeout(PATIENCE, self.up.wait()).await;
        ended.expect("up stops on SIGTERM").expect("the exit code can be read").code().unwrap_or(-1)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Some(pid) = self.up.id() {
            // SIGTERM, so that `up` ends its roles; they are not our children.
            let told = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
            let started = Instant::now();
            while told.as_ref().is_ok_and(|status| status.success())
                && matches!(self.up.try_wait(), Ok(None))
                && started.elapsed() < Duration::from_secs(20)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if std::thread::panicking() {
            eprintln!("the platform's log: {}", self.state_dir.join("up.log").display());
        } else {
            let _ = std::fs::remove_dir_all(&self.state_dir);
        }
    }
}

fn faults(state_dir: &Path) -> fault::Control {
    fault::Control::new(state_dir.join("faults"))
}

fn binary() -> PathBuf {
    std::env::var_os("TRADEWIND_BIN").map(PathBuf::from).expect(
        "TRADEWIND_BIN is not set: run the tests by `make test`, which builds the binary and names it",
    )
}
