//! A database with every schema of a platform, and what the benchmarks do with it.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use event_store::{EventStore, StoreOptions};
use events::Context;
use runtime::Secret;
use runtime::postgres::{self, owner_url};
use tokio::process::Command;
use tokio_postgres::Client;

use crate::role::binary;

/// Connections of a store that many callers share.
const STORE_CONNECTIONS: usize = 16;

#[derive(Clone)]
pub struct Database {
    /// As the owner of the database.
    pub url: Secret,
}

impl Database {
    /// Creates a database and migrates it.
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

    /// A new store, with an empty cache.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn store(&self, context: Context) -> anyhow::Result<EventStore> {
        let pool = postgres::pool(&owner_url(&self.url, context.name()), STORE_CONNECTIONS)?;
        Ok(EventStore::new(context, pool, StoreOptions::default()).await?)
    }

    /// Runs `tradewind <args>` on this database; returns its standard output.
    ///
    /// # Errors
    /// When its exit code is not 0.
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

    /// Drops the database: a long log takes much disk space.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop(self) -> anyhow::Result<()> {
        let name = self.url.expose().rsplit_once('/').context("a URL ends in the database")?.1;
        admin().await?.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
        Ok(())
    }
}

/// A connection to the server's default database.
///
/// # Errors
/// When it does not answer.
pub async fn admin() -> anyhow::Result<Client> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL")?;
    Ok(postgres::connect(&Secret::from(url)).await?)
}
