//! The services that every role needs: a real PostgreSQL and a real Apache Kafka. Private ones in a state folder, from
//! what the machine has installed, unless `DATABASE_URL` or `KAFKA_BROKERS` names a running one.
//!
//! Never: a process that outlives this one, or a file outside the state folder.
//! Read next: `postgres.rs` and `kafka.rs` (one service each), `run.rs` and `serve.rs` (`tradewind engines`).

pub mod error;
pub mod kafka;
pub mod kafka_home;
pub mod left_over;
pub mod postgres;
pub mod process;
pub mod run;
pub mod serve;
pub mod state_dir;

use std::path::{Path, PathBuf};

pub use error::ServiceError;
pub use kafka::Kafka;
pub use postgres::Postgres;
pub use state_dir::{StateDir, StateLock};

use runtime::Secret;

/// Whether the data outlives the run, and whether writes wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Kept, and safe when the machine crashes.
    Durable,
    /// Removed when the run ends, but written like durable data: for measurements.
    DurableForTheRun,
    /// Removed when the run ends; no write waits for the disk.
    Ephemeral,
}

/// PostgreSQL and Kafka, both ready.
#[derive(Debug)]
pub struct Services {
    pub database_url: Secret,
    pub kafka_brokers: String,
    /// The folder with Kafka's jars, if they were fetched.
    pub kafka_home: Option<PathBuf>,
    postgres: Option<Postgres>,
    kafka: Option<Kafka>,
}

impl Services {
    /// Starts each service that the environment does not name, and returns when both answer requests.
    ///
    /// `jars` is the folder of Kafka's jars; they are fetched there when they are missing.
    ///
    /// # Errors
    /// When a service is not available; the message names every way to get it.
    pub async fn start(state: &StateDir, jars: &Path, durability: Durability) -> Result<Self, ServiceError> {
        for (name, pid) in left_over::stop_left_over(state).await? {
            eprintln!("stopped {name} (pid {pid}), left running by an earlier run");
        }
        let postgres = match std::env::var("DATABASE_URL") {
            Ok(_) => None,
            Err(_) => {
                // Chooses another port when the last one is in use by another process.
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
        let variable = |name| std::env::var(name).expect("a service is private unless its variable is set");
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

    /// The pids of the private services, by name.
    pub fn pids(&self) -> Vec<(&'static str, i32)> {
        let postgres = self.postgres.as_ref().map(|postgres| ("postgres", postgres.pid()));
        let kafka = self.kafka.as_ref().map(|kafka| ("kafka", kafka.pid()));
        postgres.into_iter().chain(kafka).collect()
    }

    /// Stops the private services cleanly: Kafka, then PostgreSQL.
    pub async fn stop(self) {
        if let Some(kafka) = self.kafka {
            kafka.stop().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
    }

    /// Kills the private services: for data that is removed.
    pub async fn kill(self) {
        if let Some(kafka) = self.kafka {
            kafka.kill().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.kill().await;
        }
    }
}
