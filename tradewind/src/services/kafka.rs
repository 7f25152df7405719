//! A private Apache Kafka: one node that is broker and controller (KRaft), from its own jars, or from its
//! own image where there is a docker engine and no Java. `tradewind engines serve` runs three of them as a cluster.
//!
//! Never: reachable from another machine; a topic made by a typing error; a record dropped for its age.
//! Read next: `kafka_home.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, sleep};

use super::process::{Output, Process, Program, argv, run_to_end};
use super::{EngineError, StateDir, kafka_home};

const IMAGE: &str = "apache/kafka:4.1.1";
const READY_LIMIT: Duration = Duration::from_secs(120);
const METADATA_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx768m"];
/// Of one node of several: they share the machine.
const HEAP_OF_SEVERAL: [&str; 2] = ["-Xms96m", "-Xmx320m"];

/// One of the cluster's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// 1, 2, 3, …
    pub number: u16,
    /// How many the cluster has.
    pub of: u16,
}

impl Node {
    pub const ALONE: Self = Self { number: 1, of: 1 };

    /// Also the name of its folder, its log and its pid file.
    pub fn name(self) -> String {
        match self {
            Self::ALONE => "kafka".to_owned(),
            Self { number, .. } => format!("kafka-{number}"),
        }
    }

    fn controller(self) -> String {
        match self {
            Self::ALONE => "kafka_controller".to_owned(),
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
    pub fn brokers(self, state: &StateDir) -> Result<String, EngineError> {
        let address = |node: Self| Ok(format!("127.0.0.1:{}", state.own_port(&node.name())?));
        Ok(Self::all(self.of).map(address).collect::<Result<Vec<_>, EngineError>>()?.join(","))
    }

    fn voters(self, state: &StateDir) -> Result<String, EngineError> {
        let voter =
            |node: Self| Ok(format!("{}@127.0.0.1:{}", node.number, state.own_port(&node.controller())?));
        Ok(Self::all(self.of).map(voter).collect::<Result<Vec<_>, EngineError>>()?.join(","))
    }
}

#[derive(Debug)]
pub struct Kafka {
    process: Process,
    port: u16,
    /// The container's name, where it is one.
    container: Option<String>,
}

impl Kafka {
    /// Starts the broker of this state folder and returns when it answers a metadata request.
    ///
    /// # Errors
    /// When there is no way to have Kafka here (each is named), or it does not come up.
    pub async fn start(state: &StateDir, jars: &Path) -> Result<Self, EngineError> {
        let jars_refusal = match kafka_home::ensure(jars).await? {
            Ok(()) => {
                let ports = (state.port("kafka")?, state.port("kafka_controller")?);
                debug_assert_ne!(ports.0, ports.1, "a port has one purpose");
                return Self::start_node(state, jars, Node::ALONE).await;
            }
            Err(refusal) => refusal,
        };
        match run_to_end("docker version", &argv([&"docker", &"version"]), &[]).await {
            Ok(_) => Self::start_in_docker(state).await,
            Err(refusal) => {
                Err(EngineError::KafkaMissing { jars: jars_refusal, docker: refusal.to_string() })
            }
        }
    }

    /// Starts one node, on the ports that the state folder holds for it, and returns when it answers: for that, most
    /// of its cluster must be there.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_node(state: &StateDir, jars: &Path, node: Node) -> Result<Self, EngineError> {
        let folder = state.path(&node.name());
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(|source| EngineError::io("create", &data, source))?;
        let port = state.own_port(&node.name())?;
        let mut settings = settings(port, state.own_port(&node.controller())?);
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
        fs::write(&properties, text).map_err(|source| EngineError::io("write", &properties, source))?;

        let classpath = format!("{}/libs/*", jars.display());
        if !data.join("meta.properties").exists() {
            // A name for the cluster; Kafka wants the 22 characters of a base64 uuid, hex will do.
            let cluster = &state.secret("kafka-cluster-id")?[..22];
            let mut format = argv([&"java", &"-cp", &classpath, &"kafka.tools.StorageTool", &"format"]);
            format.extend(argv([&"-t", &cluster, &"-c", &properties, &"--ignore-formatted"]));
            run_to_end("formatting Kafka's storage", &format, &[]).await?;
        }
        let logging = format!("-Dlog4j2.configurationFile={}/log4j2-server.properties", jars.display());
        let heap = if node.of > 1 { HEAP_OF_SEVERAL } else { HEAP };
        let mut words = argv([&"java", &heap[0], &heap[1], &logging, &"-Djava.awt.headless=true"]);
        words.extend(argv([&"-cp", &classpath, &"kafka.Kafka", &properties]));
        Self::await_ready(state, words, &node.name(), port, None).await
    }

    /// Not exercised by the tests of this repository: they run where Java is.
    async fn start_in_docker(state: &StateDir) -> Result<Self, EngineError> {
        let name = format!("tradewind-kafka-{}", &state.secret("kafka-container")?[..12]);
        // One left over by a killed run would hold the name.
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
    ) -> Result<Self, EngineError> {
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
        let give_up = Instant::now() + READY_LIMIT;
        loop {
            kafka.process.still_runs()?;
            match answers(kafka.brokers()).await {
                Ok(()) => return Ok(kafka),
                Err(refusal) if Instant::now() > give_up => {
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

    /// Returns when it has ended by itself; says how.
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

/// How many copies there are of what is replicated.
const REPLICATION_FACTORS: [&str; 4] = [
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
];
/// How many of them must have a record before it is acknowledged.
const IN_SYNC_MINIMA: [&str; 3] =
    ["min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"];

fn settings(port: u16, controller_port: u16) -> BTreeMap<&'static str, String> {
    let owned = |(key, value): (&'static str, &str)| (key, value.to_owned());
    let mut settings: BTreeMap<_, _> = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        // One node: everything that is replicated by default exists once.
        ("default.replication.factor", "1"),
        ("min.insync.replicas", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "10"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        // A consumer that joins alone does not wait for company.
        ("group.initial.rebalance.delay.ms", "0"),
        ("auto.create.topics.enable", "false"),
        // The topics are kept: a new consumer reads them from the beginning.
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

/// Whether a broker answers a metadata request; a port that listens proves nothing.
async fn answers(brokers: String) -> Result<(), String> {
    // First the cheap question, so that librdkafka does not complain about every refused connection.
    tokio::net::TcpStream::connect(&brokers).await.map_err(|refused| refused.to_string())?;
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        consumer.fetch_metadata(None, METADATA_LIMIT)
    })
    .await
    .expect("asking for metadata does not panic");
    match asked {
        Ok(metadata) if metadata.brokers().is_empty() => Err("it knows no broker yet".to_owned()),
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.to_string()),
    }
}
