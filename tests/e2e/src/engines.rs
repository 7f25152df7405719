//! Engines of a test's own, each a process that the test may kill and start again.
//!
//! Never: an engine that outlives its test, or a signal to another's. Read next: `platform.rs`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use tokio::process::{Child, Command};

use crate::platform::{binary, signal};
use crate::{WAIT_MAX, eventually};

/// A PostgreSQL by `tradewind engines serve`.
pub struct PrivatePostgres {
    folder: PathBuf,
    env: Vec<(&'static str, String)>,
    serving: Child,
    pub url: String,
}

impl PrivatePostgres {
    /// # Panics
    /// When it does not come up; shows its log.
    pub async fn start(folder: &Path, env: Vec<(&'static str, String)>) -> Self {
        let (serving, url) = serve(folder, "postgres", &[], &env, "DATABASE_URL").await;
        Self { folder: folder.to_owned(), env, serving, url }
    }

    /// As `pg_ctl stop -m immediate` does: no checkpoint, no goodbye. Returns when it is gone.
    pub async fn kill(&mut self) {
        assert!(signal(pid_of(&self.folder, "postgres"), "QUIT").await, "postgres was running");
        ended(&mut self.serving).await;
    }

    pub fn runs(&mut self) -> bool {
        matches!(self.serving.try_wait(), Ok(None))
    }

    /// On the same port, with the data as the crash left it.
    pub async fn start_again(&mut self) {
        let (serving, url) = serve(&self.folder, "postgres", &[], &self.env, "DATABASE_URL").await;
        assert_eq!(url, self.url, "it is where it was");
        self.serving = serving;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("logs/postgres.log")).unwrap_or_default()
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        end(&mut self.serving);
    }
}

/// A Kafka of one or several nodes by `tradewind engines serve`.
pub struct PrivateKafka {
    folder: PathBuf,
    nodes: u16,
    /// By its first node; a node that was started again has a process of its own.
    serving: BTreeMap<u16, Child>,
    pub brokers: String,
}

impl PrivateKafka {
    /// # Panics
    /// When it does not come up; shows its log.
    pub async fn start(folder: &Path, nodes: u16) -> Self {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        let jars = std::env::var_os("TRADEWIND_KAFKA_HOME").expect(
            "TRADEWIND_KAFKA_HOME is not set: run the tests by `make test`, which fetches Kafka's jars",
        );
        symlink(jars, folder.join("kafka-home")).expect("the folder is ours");
        let (all, brokers) =
            serve(folder, "kafka", &["--nodes", &nodes.to_string()], &[], "KAFKA_BROKERS").await;
        Self { folder: folder.to_owned(), nodes, serving: BTreeMap::from([(1, all)]), brokers }
    }

    fn name(&self, node: u16) -> String {
        if self.nodes == 1 { "kafka".to_owned() } else { format!("kafka-{node}") }
    }

    /// SIGKILL to one node (from 1). Returns when it is gone.
    pub async fn kill(&mut self, node: u16) {
        let pid = pid_of(&self.folder, &self.name(node));
        assert!(signal(pid, "KILL").await, "node {node} was running");
        eventually("a killed node is gone", || async {
            if signal(pid, "0").await { Err(format!("{pid} is there")) } else { Ok(()) }
        })
        .await;
        if self.nodes == 1
            && let Some(mut serving) = self.serving.remove(&1)
        {
            ended(&mut serving).await;
        }
    }

    /// On the same port, with the data as the crash left it.
    pub async fn start_again(&mut self, node: u16) {
        let (nodes, node_number) = (self.nodes.to_string(), node.to_string());
        let args = ["--nodes", &nodes, "--node", &node_number];
        let (serving, brokers) = serve(&self.folder, "kafka", &args, &[], "KAFKA_BROKERS").await;
        assert_eq!(brokers, self.brokers, "it is where it was");
        if let Some(mut before) = self.serving.insert(node, serving) {
            // Node 1's first process may still serve the others.
            if self.nodes > 1 && node == 1 {
                self.serving.insert(0, before);
            } else {
                ended(&mut before).await;
            }
        }
    }
}

impl Drop for PrivateKafka {
    fn drop(&mut self) {
        self.serving.values_mut().for_each(end);
    }
}

/// Starts one engine and waits until it says where it is.
async fn serve(
    folder: &Path,
    engine: &str,
    args: &[&str],
    env: &[(&'static str, String)],
    says: &str,
) -> (Child, String) {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let log_file = folder.join(format!("{}.log", testkit::unique(engine)));
    let log = std::fs::File::create(&log_file).expect("the folder is ours");
    let mut serving = Command::new(binary())
        .args(["engines", "serve", engine])
        .args(args)
        .arg("--state-dir")
        .arg(folder)
        .env_remove("DATABASE_URL")
        .env_remove("KAFKA_BROKERS")
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file handle can be copied"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("TRADEWIND_BIN is the tradewind binary");
    let started = Instant::now();
    loop {
        let printed = std::fs::read_to_string(&log_file).unwrap_or_default();
        let said = printed.lines().find_map(|line| line.strip_prefix(says)?.strip_prefix('='));
        if let Some(place) = said {
            return (serving, place.to_owned());
        }
        let ended = serving.try_wait().expect("the state of a child can be asked");
        assert!(
            ended.is_none() && started.elapsed() < WAIT_MAX,
            "{engine} does not come up ({ended:?}): {printed}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn ended(serving: &mut Child) {
    let ended = tokio::time::timeout(WAIT_MAX, serving.wait()).await;
    ended.expect("it ends when its engine has ended").expect("a child can be waited for");
}

fn end(serving: &mut Child) {
    let Some(pid) = serving.id().filter(|_| matches!(serving.try_wait(), Ok(None))) else { return };
    // SIGTERM, so that it ends its engine, which is not our child.
    let _ = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    let started = Instant::now();
    while matches!(serving.try_wait(), Ok(None)) && started.elapsed() < WAIT_MAX {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn pid_of(folder: &Path, name: &str) -> u32 {
    let file = folder.join("pids").join(format!("{name}.pid"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim().parse().expect("a pid file holds a pid")
}
