//! The environment of one run: its sizes, and what one benchmark leaves for the next (the seeded logs and the running
//! platform).
//!
//! Never: a benchmark that needs another to have run; what it needs and does not find, it creates.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;

use crate::database::Database;
use crate::platform::BenchPlatform;
use crate::sizes::Sizes;

pub struct Environment {
    pub sizes: Sizes,
    pub real_file: PathBuf,
    /// The seeded logs, by their number of events.
    pub logs: BTreeMap<u64, Database>,
    platform: Option<BenchPlatform>,
}

impl Environment {
    /// # Errors
    /// When a variable that `make bench` sets is missing.
    pub fn new(sizes: Sizes, real_file: PathBuf) -> anyhow::Result<Self> {
        for variable in ["DATABASE_URL", "KAFKA_BROKERS", "TRADEWIND_BIN"] {
            if std::env::var_os(variable).is_none() {
                bail!(
                    "{variable} is not set: start the benchmarks with `make bench`, which starts a private PostgreSQL and Kafka"
                );
            }
        }
        Ok(Self { sizes, real_file, logs: BTreeMap::new(), platform: None })
    }

    /// The platform with all its roles running; starts what does not run.
    ///
    /// # Errors
    /// When a role does not become ready.
    pub async fn platform(&mut self) -> anyhow::Result<&mut BenchPlatform> {
        let mut platform = match self.platform.take() {
            Some(platform) => platform,
            None => BenchPlatform::start("platform", self.sizes.connections).await?,
        };
        platform.start_roles().await?;
        Ok(self.platform.insert(platform))
    }

    pub fn stop_platform(&mut self) {
        self.platform = None;
    }
}
