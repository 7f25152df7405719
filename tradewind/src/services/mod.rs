//! The engines: a real PostgreSQL and a real Apache Kafka, always. Private ones in a state folder, from
//! what the machine has, unless `DATABASE_URL` or `KAFKA_BROKERS` names one that runs already.
//!
//! Never: a process left running when ours has ended, or a file outside the state folder.
//! Read next: `postgres.rs` and `kafka.rs` (one engine each), `run.rs` and
//! `serve.rs` (`tradewind engines`).

pub mod error;
pub mod kafka;
pub mod kafka_home;
pub mod postgres;
pub mod process;
pub mod run;
pub mod serve;
pub mod state_dir;

use std::path::{Path, PathBuf};

pub use error::EngineError;
pub use kafka::Kafka;
pub use postgres::Postgres;
pub use state_dir::{StateDir, StateLock};

use runtime::Secret;

/// What the data is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It survives a crash of the machine.
    Kept,
    /// It is thrown away when the run ends, and written until then as if it were kept: for measurements.
    KeptForTheRun,
    /// It is thrown away when the run ends, so nobody waits for the disk.
    ThrownAway,
}

/// Both engines, answering.
#[derive(Debug)]
pub struct Engines {
    pub database_url: Secret,
    pub kafka_brokers: String,
    /// The folder with Kafka's jars, where there is one.
    pub kafka_home: Option<PathBuf>,
    postgres: Option<Postgres>,
    kafka: Option<Kafka>,
}

impl Engines {
    /// Starts what is not there yet, and returns when both really answer.
    ///
    /// `jars` is the folder that holds Kafka's jars or will.
    ///
    /// # Errors
    /// When an engine cannot be had; the message names each way to have it.
    pub async fn start(state: &StateDir, jars: &Path, durability: Durability) -> Result<Self, EngineError> {
        for (name, pid) in process::stop_left_over(state).await? {
            eprintln!("stopped {name} (pid {pid}), which an earlier run had left behind");
        }
        let postgres = match std::env::var("DATABASE_URL") {
            Ok(_) => None,
            Err(_) => {
                // Another port when the one of last time was taken by somebody else since.
                state.port("postgres")?;
                Some(Postgres::start(state, durability).await?)
            }
        };
        let kafka = match std::env::var("KAFKA_BROKERS") {
            Ok(_) => Ok(None),
            Err(_) => Kafka::start(state, jars).await.map(Some),
        };
        match (kafka, postgres) {
            (Ok(kafka), postgres) => Ok(Self::running(postgres, kafka, jars)),
            (Err(cause), Some(postgres)) => {
                postgres.stop().await;
                Err(cause)
            }
            (Err(cause), None) => Err(cause),
        }
    }

    fn running(postgres: Option<Postgres>, kafka: Option<Kafka>, jars: &Path) -> Self {
        let variable = |name| std::env::var(name).expect("an engine is private unless its variable is set");
        Self {
            database_url: postgres
                .as_ref()
                .map_or_else(|| Secret::from(variable("DATABASE_URL")), |own| own.url().clone()),
            kafka_brokers: kafka.as_ref().map_or_else(|| variable("KAFKA_BROKERS"), Kafka::brokers),
            kafka_home: kafka_home::is_fetched(jars).then(|| jars.to_owned()),
            postgres,
            kafka,
        }
    }

    /// The private engines' processes, by name.
    pub fn pids(&self) -> Vec<(&'static str, i32)> {
        let postgres = self.postgres.as_ref().map(|postgres| ("postgres", postgres.pid()));
        let kafka = self.kafka.as_ref().map(|kafka| ("kafka", kafka.pid()));
        postgres.into_iter().chain(kafka).collect()
    }

    /// Stops what was started here, cleanly: Kafka, then PostgreSQL.
    pub async fn stop(self) {
        if let Some(kafka) = self.kafka {
            kafka.stop().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
    }

    /// Ends what was started here at once, for data that is thrown away.
    pub async fn kill(self) {
        if let Some(kafka) = self.kafka {
            kafka.kill().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.kill().await;
        }
    }
}
