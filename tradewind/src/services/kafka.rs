//! A private Apache Kafka: one node that is broker and controller (KRaft), from its jars, or from its image where there
//! is docker and no Java. `tradewind engines serve` runs several nodes as a cluster. It listens on loopback only,
//! creates no topic by itself and never deletes a record for its age.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, sleep};

use super::process::{Output, Process, Program, argv, run_to_end};
use super::{ServiceError, StateDir, kafka_home};

const IMAGE: &str = "apache/kafka:4.1.1";
const READY_LIMIT: Duration = Duration::from_secs(120);
const METADATA_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx768m"];
/// For each node of a cluster: the nodes share the machine.
const HEAP_IN_A_CLUSTER: [&str; 2] = ["-Xms96m", "-Xmx320m"];

/// One of the cluster's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// 1, 2, 3, …
    pub number: u16,
    /// The number of nodes in the cluster.
    pub of: u16,
}

impl Node {
    pub const SINGLE: Self = Self { number: 1, of: 1 };

    /// The name of its folder, its log and its pid file.
    pub fn name(self) -> String {
        match self {
            Self::SINGLE => "kafka".to_owned(),
            Self { number, .. } => format!("kafka-{number}"),
        }
    }

    fn controller(self) -> String {
        match self {
            Self::SINGLE => "kafka_controller".to_owned(),
            Self { number, .. } => format!("kafka_controller-{number}"),
        }
    }

    pub fn all(of: u16) -> impl Iterator<Item = Self> {
        (1..=of).map(move |number| Self { number, of })
    }

    /// The addresses of all nodes, for clients.
    ///
    /// # Errors
    /// When no port is free.
    pub fn brokers(self, state: &StateDir) -> Result<String, ServiceError> {
        let address = |node: Self| Ok(format!("127.0.0.1:{}", state.fixed_port(&node.name())?));
        Ok(Self::all(self.of).map(address).collect::<Result<Vec<_>, ServiceError>>()?.join(","))
    }

    fn voters(self, state: &StateDir) -> Result<String, ServiceError> {
        let voter =
            |node: Self| Ok(format!("{}@127.0.0.1:{}", node.number, state.fixed_port(&node.controller())?));
        Ok(Self::all(self.of).map(voter).collect::<Result<Vec<_>, ServiceError>>()?.join(","))
    }
}

#[derive(Debug)]
pub struct Kafka {
    process: Process,
    port: u16,
    /// The name of its container, when it runs in docker.
    container: Option<String>,
}

impl Kafka {
    /// Starts the broker of this state folder and returns when it answers a metadata request.
    ///
    /// # Errors
    /// When Kafka is not available here (the message names every way to get it), or does not start.
    pub async fn start(state: &StateDir, jars: &Path) -> Result<Self, ServiceError> {
        let jars_refusal = match kafka_home::ensure(jars).await? {
            Ok(()) => {
                let ports = (state.port("kafka")?, state.port("kafka_controller")?);
                debug_assert_ne!(ports.0, ports.1, "a port has one purpose");
                return Self::start_node(state, jars, Node::SINGLE).await;
            }
            Err(refusal) => refusal,
        };
        match run_to_end("docker version", &argv([&"docker", &"version"]), &[]).await {
            Ok(_) => Self::start_in_docker(state).await,
            Err(refusal) => {
                Err(ServiceError::KafkaMissing { jars: jars_refusal, docker: refusal.to_string() })
            }
        }
    }

    /// Starts one node on its ports in the state folder, and returns when it answers; for that, a majority of its cluster must
    /// run.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_node(state: &StateDir, jars: &Path, node: Node) -> Result<Self, ServiceError> {
        let folder = state.path(&node.name());
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(|source| ServiceError::io("create", &data, source))?;
        let port = state.fixed_port(&node.name())?;
        let mut settings = settings(port, state.fixed_port(&node.controller())?);
        settings.insert("log.dirs", data.display().to_string());
        settings.insert("node.id", node.number.to_string());
        settings.insert("controller.quorum.voters", node.voters(state)?);
        if node.of > 1 {
            let replication = node.of.to_string();
            for copies in REPLICATION_FACTORS {
                settings.insert(copies, replication.clone());
            }
            for in_sync in IN_SYNC_MINIMA {
                settings.insert(in_sync, "2".to_owned());
            }
        }
        let properties = folder.join("server.properties");
        let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        fs::write(&properties, text).map_err(|source| ServiceError::io("write", &properties, source))?;

        let classpath = format!("{}/libs/*", jars.display());
        if !data.join("meta.properties").exists() {
            // The id of the cluster: Kafka requires the 22 characters of a base64 UUID; hex digits are accepted.
            let cluster = &state.secret("kafka-cluster-id")?[..22];
            let mut format = argv([&"java", &"-cp", &classpath, &"kafka.tools.StorageTool", &"format"]);
            format.extend(argv([&"-t", &cluster, &"-c", &properties, &"--ignore-formatted"]));
            run_to_end("formatting Kafka's storage", &format, &[]).await?;
        }
        let logging = format!("-Dlog4j2.configurationFile={}/log4j2-server.properties", jars.display());
        let heap = if node.of > 1 { HEAP_IN_A_CLUSTER } else { HEAP };
        let mut words = argv([&"java", &heap[0], &heap[1], &logging, &"-Djava.awt.headless=true"]);
        words.extend(argv([&"-cp", &classpath, &"kafka.Kafka", &properties]));
        Self::await_ready(state, words, &node.name(), port, None).await
    }

    /// No test of this repository runs this: the tests need Java.
    async fn start_in_docker(state: &StateDir) -> Result<Self, ServiceError> {
        let name = format!("tradewind-kafka-{}", &state.secret("kafka-container")?[..12]);
        // A container that a killed run left would hold the name.
        let _ = run_to_end("docker rm", &argv([&"docker", &"rm", &"--force", &name]), &[]).await;
        let port = state.port("kafka")?;
        let mut settings = settings(port, state.port("kafka_controller")?);
        settings.insert("log.dirs", "/var/lib/kafka/data".to_owned());
        settings.insert("listeners", format!("PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:19093"));
        settings.insert("controller.quorum.voters", "1@127.0.0.1:19093".to_owned());
        let mut words = argv([&"docker", &"run", &"--rm", &"--name", &name]);
        words.extend(argv([&"--publish", &format!("127.0.0.1:{port}:{port}")]));
        words.extend(argv([&"--volume", &format!("{name}:/var/lib/kafka/data")]));
        for (key, value) in settings {
            let variable = key.to_uppercase().replace('.', "_");
            words.extend(argv([&"--env", &format!("KAFKA_{variable}={value}")]));
        }
        words.extend(argv([&IMAGE]));
        Self::await_ready(state, words, "kafka", port, Some(name)).await
    }

    async fn await_ready(
        state: &StateDir,
        words: Vec<std::ffi::OsString>,
        name: &str,
        port: u16,
        container: Option<String>,
    ) -> Result<Self, ServiceError> {
        let program = Program {
            name: name.to_owned(),
            wrapper: Vec::new(),
            argv: words,
            env: Vec::new(),
            stop_signal: Signal::SIGTERM,
            output: Output::Log,
        };
        let process = Process::start(state, program).await?;
        let mut kafka = Self { process, port, container };
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            kafka.process.ensure_running()?;
            match answers(kafka.brokers()).await {
                Ok(()) => return Ok(kafka),
                Err(refusal) if Instant::now() > deadline => {
                    return Err(kafka.process.not_ready(READY_LIMIT, refusal));
                }
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Waits until it ends by itself; returns its exit status as text.
    pub async fn ended(&mut self) -> String {
        self.process.ended().await
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }

    pub async fn kill(self) {
        self.process.kill().await;
        if let Some(name) = self.container {
            let _ = run_to_end("docker rm", &argv([&"docker", &"rm", &"--force", &"--volumes", &name]), &[])
                .await;
        }
    }
}

/// The settings that set the number of copies.
const REPLICATION_FACTORS: [&str; 4] = [
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
];
/// The settings that set how many copies must have a record before it is acknowledged.
const IN_SYNC_MINIMA: [&str; 3] =
    ["min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"];

fn settings(port: u16, controller_port: u16) -> BTreeMap<&'static str, String> {
    let owned = |(key, value): (&'static str, &str)| (key, value.to_owned());
    let mut settings: BTreeMap<_, _> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        // A single node keeps one copy of everything.
        ("default.replication.factor", "1"),
        ("min.insync.replicas", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "10"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        // A new group starts without waiting for more members.
        ("group.initial.rebalance.delay.ms", "0"),
        ("auto.create.topics.enable", "false"),
        // Records are kept for ever: a new consumer reads the topics from the beginning.
        ("log.retention.ms", "-1"),
        ("log.retention.bytes", "-1"),
    ]
    .into_iter()
    .map(owned)
    .collect();
    settings.insert(
        "listeners",
        format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
    );
    settings.insert("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}"));
    settings.insert("controller.quorum.voters", format!("1@127.0.0.1:{controller_port}"));
    settings
}

/// Asks for metadata: a port that accepts connections does not mean that the broker is ready.
async fn answers(brokers: String) -> Result<(), String> {
    // First a plain connection, so that librdkafka does not log every refused one.
    tokio::net::TcpStream::connect(&brokers).await.map_err(|refused| refused.to_string())?;
    let answer = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        consumer.fetch_metadata(None, METADATA_LIMIT)
    })
    .await
    .expect("a metadata request does not panic");
    match answer {
        Ok(metadata) if metadata.brokers().is_empty() => Err("it knows no broker yet".to_owned()),
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.to_string()),
    }
}
