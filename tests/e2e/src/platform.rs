//! `tradewind up`, started for one test on a database and topics of its own.
//!
//! Never: a process that outlives its test. Read next: [`crate::Shop`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Shop, WAIT_MAX, eventually};

/// So many platforms run side by side in one test program, however many cores there are: they share one PostgreSQL and one
/// Kafka. A test that had two would wait for itself.
const PARALLEL_PLATFORMS_MAX: usize = 4;
static PARALLEL_PLATFORMS: Semaphore = Semaphore::const_new(PARALLEL_PLATFORMS_MAX);

/// A platform with each role in its own process. It stops when it is dropped.
pub struct Platform {
    up: Child,
    _permit: SemaphorePermit<'static>,
    state_dir: PathBuf,
    /// The engines and settings that `up` and every process beside it are given.
    env: Vec<(String, String)>,
    extra: Vec<String>,
}

/// Where a platform is to run, and what it is told besides.
#[derive(Clone, Debug)]
pub struct TestEnvironment {
    pub database_url: String,
    pub kafka_brokers: String,
    /// Further variables for `up` and its roles.
    pub env: Vec<(String, String)>,
}

impl TestEnvironment {
    /// The engines of `make test`, with a database of its own.
    pub async fn of_make_test(name: &str) -> Self {
        let database_url = testkit::fresh_database(name).await.url;
        Self { database_url, kafka_brokers: testkit::kafka_brokers(), env: Vec::new() }
    }

    /// The same, with the read models and the provider's ledger in a database of their own, whose URL is returned.
    pub async fn with_read_models_beside(name: &str) -> (Self, String) {
        let mut environment = Self::of_make_test(name).await;
        let beside = testkit::fresh_database(&format!("{name}_beside")).await.url;
        let migrated = Command::new(binary())
            .args(["migrate", "--database-url", &beside, "--owner", "readmodel", "--owner", "provider"])
            .output()
            .await
            .expect("TRADEWIND_BIN is the tradewind binary");
        assert!(migrated.status.success(), "{migrated:?}");
        for (variable, role) in
            [("READMODEL_DATABASE_URL", "readmodel"), ("PROVIDER_DATABASE_URL", "provider")]
        {
            environment.env.push((variable.to_owned(), as_role(&beside, &format!("tradewind_{role}"))));
        }
        (environment, beside)
    }
}

/// The URL with another user; the password stays.
fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    let (user, place) = rest.rsplit_once('@').expect("the URL of the engines names a user");
    let password = user.split_once(':').map_or_else(String::new, |(_, password)| format!(":{password}"));
    format!("{scheme}://{role}{password}@{place}")
}

/// What a role says of itself at /readyz: status and body.
///
/// # Errors
/// When it does not answer.
pub async fn readiness(ops_url: &str) -> Result<(u16, Value), String> {
    let answer = reqwest::get(format!("{ops_url}/readyz")).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await.map_err(|error| error.to_string())?))
}

impl Platform {
    /// Starts a fresh platform on the engines of `make test`.
    ///
    /// # Panics
    /// When it is not ready in time; shows its log.
    pub async fn start(name: &str, extra: &[&str]) -> Self {
        Self::start_on(name, TestEnvironment::of_make_test(name).await, extra).await
    }

    /// Starts a platform on these engines, with topics of its own.
    ///
    /// # Panics
    /// When it is not ready in time; shows its log.
    pub async fn start_on(name: &str, environment: TestEnvironment, extra: &[&str]) -> Self {
        let permit = PARALLEL_PLATFORMS.acquire().await.expect("it is never closed");
        let mut env = environment.env;
        env.push(("DATABASE_URL".to_owned(), environment.database_url));
        env.push(("KAFKA_BROKERS".to_owned(), environment.kafka_brokers));
        env.push(("TOPIC_PREFIX".to_owned(), format!("{}.", testkit::unique(name))));
        let state_dir = std::env::temp_dir().join(testkit::unique(&format!("tradewind-{name}")));
        std::fs::create_dir_all(&state_dir).expect("the temporary folder can be written");
        let control = faults(&state_dir).path().to_str().expect("our own folder's name is UTF-8").to_owned();
        env.push((fault::CONTROL_VARIABLE.to_owned(), control));
        let extra: Vec<String> = extra.iter().map(|word| (*word).to_owned()).collect();
        let up = launch(&state_dir, &env, &extra);
        let mut platform = Self { up, _permit: permit, state_dir, env, extra };
        platform.wait_until_ready().await;
        platform
    }

    pub fn database_url(&self) -> &str {
        self.variable("DATABASE_URL")
    }

    /// Starts `up` again after a [`stop`](Self::stop), and does not wait until it is ready: it may never be.
    pub fn start_again(&mut self) {
        self.up = launch(&self.state_dir, &self.env, &self.extra);
    }

    /// # Panics
    /// When it is not ready in time; shows its log.
    pub async fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while !self.state_dir.join("endpoints.json").exists() {
            let ended = self.up.try_wait().expect("the state of a child can be asked");
            if ended.is_some() || started.elapsed() > WAIT_MAX {
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
        format!("{}{}", self.variable("TOPIC_PREFIX"), context.topic())
    }

    pub fn kafka_brokers(&self) -> &str {
        self.variable("KAFKA_BROKERS")
    }

    fn variable(&self, name: &str) -> &str {
        let given = self.env.iter().find(|(given, _)| given == name);
        given.map(|(_, value)| value.as_str()).expect("start_on sets it")
    }

    /// The process of a role; none while `up` waits to start it again.
    pub fn pid_if_running(&self, role: &str) -> Option<u32> {
        self.endpoints()["pids"][role].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    pub fn pid(&self, role: &str) -> u32 {
        self.pid_if_running(role).unwrap_or_else(|| panic!("no pid of {role}"))
    }

    /// Where crash points and planted bugs of all its processes are armed.
    pub fn faults(&self) -> fault::Control {
        faults(&self.state_dir)
    }

    /// SIGKILL to one role. `up` starts it again.
    pub async fn kill(&self, role: &str) {
        let pid = self.pid(role);
        assert!(signal(pid, "KILL").await, "kill -KILL {pid} ({role})");
    }

    /// One more process of a role, beside that of `up`. It listens on a port of its own.
    pub fn one_more(&self, role: &str) -> Beside {
        let env = std::fs::read_to_string(self.state_dir.join("env")).expect("`up` writes env");
        let exported = env.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name, value.trim_matches('\'')))
        });
        let log_file = self.state_dir.join(format!("{}.log", testkit::unique(role)));
        let log = std::fs::File::create(&log_file).expect("the state folder can be written");
        let child = Command::new(binary())
            .arg(role)
            .envs(exported)
            .env(fault::CONTROL_VARIABLE, self.faults().path())
            .envs(LISTENS.map(|listens| (listens, "127.0.0.1:0")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be copied"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("TRADEWIND_BIN is the tradewind binary");
        Beside { child, log_file }
    }

    /// Runs `tradewind <args>` against this platform and returns (exit code, stdout and stderr).
    pub async fn tradewind(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(binary())
            .args(args)
            .current_dir(&self.state_dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .await
            .expect("TRADEWIND_BIN is the tradewind binary");
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap_or(-1), text)
    }

    /// Where a role answers for itself.
    pub fn ops_url(&self, role: &str) -> String {
        self.endpoints()["ops_urls"][role].as_str().unwrap_or_else(|| panic!("no {role}")).to_owned()
    }

    /// A connection as the owner of everything.
    pub async fn database(&self) -> tokio_postgres::Client {
        let connected = tokio_postgres::connect(self.database_url(), tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("the database answers");
        tokio::spawn(connection);
        client
    }

    /// SIGTERM to everything, and the exit code of `up`. State, database and topics stay.
    ///
    /// # Panics
    /// When `up` does not stop.
    pub async fn stop(&mut self) -> i32 {
        let pid = self.up.id().expect("up is running");
        assert!(signal(pid, "TERM").await, "kill -TERM {pid} (up)");
        let ended = tokio::time::timeout(WAIT_MAX, self.up.wait()).await;
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

fn launch(state_dir: &Path, env: &[(String, String)], extra: &[String]) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(state_dir.join("up.log"))
        .expect("the state folder can be written");
    Command::new(binary())
        .args(["up", "--separate", "--command-port", "0", "--query-port", "0"])
        .arg("--state-dir")
        .arg(state_dir)
        .args(extra)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file handle can be copied"))
        .stderr(log)
        .spawn()
        .expect("TRADEWIND_BIN is the tradewind binary")
}

fn faults(state_dir: &Path) -> fault::Control {
    fault::Control::new(state_dir.join("faults"))
}

/// Where a further process must not listen on the port of the first.
const LISTENS: [&str; 3] = ["QUERY_SIDE_LISTEN", "SAGAS_LISTEN", "RELAY_LISTEN"];

/// A process beside those of `up`. It ends when it is dropped.
pub struct Beside {
    child: Child,
    log_file: PathBuf,
}

impl Beside {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    /// SIGTERM, and the exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn leave(mut self) -> i32 {
        let pid = self.pid();
        assert!(signal(pid, "TERM").await, "kill -TERM {pid}");
        let ended = tokio::time::timeout(WAIT_MAX, self.child.wait()).await;
        ended.expect("a role stops on SIGTERM").expect("the exit code can be read").code().unwrap_or(-1)
    }
}

/// Sends a signal; false when there is no such process any more.
pub async fn signal(pid: u32, name: &str) -> bool {
    let told = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .await
        .expect("there is a kill command");
    told.success()
}

/// A role that answers HTTP, beside those of the platform. It is killed when it is dropped.
pub struct AnotherDoor {
    pub url: String,
    _process: Child,
}

impl Platform {
    /// Starts one more command side on the platform's database.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub async fn another_command_side(&self) -> AnotherDoor {
        self.another_door("command-side", "--listen").await
    }

    /// Starts one more query side, which shares the partitions with the first and writes the same tables.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub async fn another_query_side(&self) -> AnotherDoor {
        self.another_door("query-side", "--query-side-listen").await
    }

    async fn another_door(&self, role: &str, listen: &str) -> AnotherDoor {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound listener").to_string();
        drop(free);
        let process = Command::new(binary())
            .args([role, listen, &address])
            .current_dir(&self.state_dir)
            .envs(self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("TRADEWIND_BIN is the tradewind binary");
        let url = format!("http://{address}");
        eventually(&format!("another {role} is ready"), || async {
            let answer = reqwest::get(format!("{url}/readyz")).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        AnotherDoor { url, _process: process }
    }
}

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TRADEWIND_BIN").map(PathBuf::from).expect(
        "TRADEWIND_BIN is not set: run the tests by `make test`, which builds the binary and names it",
    )
}
