//! `tradewind engines serve postgres | kafka`: runs one service alone, at an address that stays the same, so that a
//! test can kill and restart it. Kafka may be a cluster of several nodes. Nothing restarts it by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use futures::future::{join_all, select_all, try_join_all};

use super::kafka::{Kafka, Node};
use super::{Durability, Postgres, StateDir, kafka_home};

#[derive(clap::Args, Debug)]
pub struct Options {
    /// The service to run
    service: Service,
    /// The folder for its data, its log, its pid file and Kafka's jars
    #[arg(long, env = "TRADEWIND_STATE_DIR", default_value = ".tradewind")]
    state_dir: PathBuf,
    /// The number of nodes in the Kafka cluster, 1 to 9
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Run only this node of the cluster: 1, 2, … [default: all of them]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    node: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Service {
    Postgres,
    Kafka,
}

/// Runs until SIGTERM or SIGINT, or until every process has ended by itself.
///
/// # Errors
/// When the service does not start, or ended by itself.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let state = StateDir::open(&options.state_dir)?;
    match options.service {
        Service::Postgres => serve_postgres(&state).await,
        Service::Kafka => serve_kafka(&state, &options).await,
    }
}

async fn serve_postgres(state: &StateDir) -> anyhow::Result<ExitCode> {
    let mut postgres = Postgres::start(state, Durability::Durable).await?;
    println!("DATABASE_URL={}", postgres.url().expose());
    tokio::select! {
        how = postgres.ended() => bail!("postgres ended by itself: {how}"),
        () = runtime::shutdown_signal() => postgres.stop().await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve_kafka(state: &StateDir, options: &Options) -> anyhow::Result<ExitCode> {
    let jars = state.kafka_home();
    if let Err(refusal) = kafka_home::ensure(&jars).await? {
        bail!("Kafka is not available: {refusal}");
    }
    let wanted = |node: &Node| options.node.is_none_or(|number| number == node.number);
    let nodes: Vec<Node> = Node::all(options.nodes).filter(wanted).collect();
    let first = nodes.first().with_context(|| format!("--node must be 1 to {}", options.nodes))?;
    let brokers = first.brokers(state)?;
    let mut running = try_join_all(nodes.iter().map(|node| Kafka::start_node(state, &jars, *node))).await?;
    println!("KAFKA_BROKERS={brokers}");
    let stop = std::pin::pin!(runtime::shutdown_signal());
    let mut stop = stop.fuse();
    while !running.is_empty() {
        let ended = select_all(running.iter_mut().map(|node| Box::pin(node.ended())));
        let ended = tokio::select! {
            (how, index, _) = ended => Some((how, index)),
            () = &mut stop => None,
        };
        let Some((how, index)) = ended else {
            join_all(running.into_iter().map(Kafka::stop)).await;
            return Ok(ExitCode::SUCCESS);
        };
        eprintln!("a node of Kafka (pid {}) ended by itself: {how}", running[index].pid());
        running.swap_remove(index).kill().await;
    }
    bail!("kafka ended by itself")
}
