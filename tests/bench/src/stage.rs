//! Where the parts play: databases and topics of their own, stores on them, and what one part leaves to the next.
//!
//! Never: a part that needs another to have run; what it needs and finds absent, it makes.
//! Read next: `role.rs` (the processes), `fill.rs` (the long logs).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use event_store::{EventStore, StoreOptions};
use events::Context;
use runtime::Secret;
use runtime::postgres::{self, owner_url};
use tokio::process::Command;
use tokio_postgres::Client;

use crate::floor::Floor;
use crate::sizes::Sizes;

/// Connections of a store that many callers share.
const STORE_CONNECTIONS: usize = 16;

pub struct Stage {
    pub sizes: Sizes,
    pub real_file: PathBuf,
    /// The long logs that were made, by their number of events.
    pub logs: BTreeMap<u64, Database>,
    floor: Option<Floor>,
}

/// A database with every schema of a platform.
#[derive(Clone)]
pub struct Database {
    /// As the owner of the database.
    pub url: Secret,
}

impl Stage {
    /// # Errors
    /// When an engine or the binary is not named; `make bench` names them.
    pub fn new(sizes: Sizes, real_file: PathBuf) -> anyhow::Result<Self> {
        for variable in ["DATABASE_URL", "KAFKA_BROKERS", "TRADEWIND_BIN"] {
            if std::env::var_os(variable).is_none() {
                bail!("{variable} is not set: run the bench by `make bench`, which starts private engines");
            }
        }
        Ok(Self { sizes, real_file, logs: BTreeMap::new(), floor: None })
    }

    /// The running platform.
    ///
    /// # Errors
    /// When its doors do not open.
    pub async fn floor(&mut self) -> anyhow::Result<&mut Floor> {
        let mut floor = match self.floor.take() {
            Some(floor) => floor,
            None => Floor::open("floor", self.sizes.connections).await?,
        };
        floor.rise().await?;
        Ok(self.floor.insert(floor))
    }

    /// Stops it.
    pub fn close_floor(&mut self) {
        self.floor = None;
    }
}

impl Database {
    /// A new one, migrated.
    ///
    /// # Errors
    /// When the migrations fail.
    pub async fn fresh(name: &str) -> anyhow::Result<Self> {
        let url = Secret::from(testkit::fresh_database(&format!("bench_{name}")).await.url);
        let database = Self { url };
        database.tradewind(&["migrate"], &[]).await?;
        Ok(database)
    }

    pub async fn admin(&self) -> anyhow::Result<Client> {
        Ok(postgres::connect(&self.url).await?)
    }

    /// A store of its own: its cache is empty.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn store(&self, context: Context) -> anyhow::Result<EventStore> {
        let pool = postgres::pool(&owner_url(&self.url, context.name()), STORE_CONNECTIONS)?;
        Ok(EventStore::new(context, pool, StoreOptions::default()).await?)
    }

    /// Runs `tradewind <args>` on this database; returns what it printed.
    ///
    /// # Errors
    /// When it ends with an error.
    pub async fn tradewind(&self, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<String> {
        let output = Command::new(binary())
            .args(args)
            .env("DATABASE_URL", self.url.expose())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .with_context(|| format!("start tradewind {args:?}"))?;
        if !output.status.success() {
            bail!("tradewind {args:?} ended with {}", output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Removes it: long logs take room.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop(self) -> anyhow::Result<()> {
        let name = self.url.expose().rsplit_once('/').context("a URL ends in the database")?.1;
        admin().await?.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
        Ok(())
    }
}

/// The server's own database.
///
/// # Errors
/// When it does not answer.
pub async fn admin() -> anyhow::Result<Client> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL")?;
    Ok(postgres::connect(&Secret::from(url)).await?)
}

/// The release binary that is measured.
pub fn binary() -> PathBuf {
    std::env::var_os("TRADEWIND_BIN").map(PathBuf::from).expect("the stage was made, so it is set")
}

/// A prefix for topics and consumer groups that nothing else has.
pub fn topic_prefix(name: &str) -> String {
    format!("{}.", testkit::unique(&format!("bench-{name}")))
}
