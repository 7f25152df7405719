//! The tables of parked events: in the schema of each context for its reactors, in the schema of the read models for
//! the projections. Each is read as the role of its own schema.

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use deadpool_postgres::Pool;
use event_bus::BusConfig;
use event_bus::parked::{self, ParkedRecord, ParkedStream, Place, Retried};
use events::Context;
use query_side::READ_MODEL;
use runtime::Secret;
use runtime::postgres::{owner_url, pool};

use crate::tools::connections::Databases;

const CONNECTIONS_MAX: usize = 2;
const PAGE: i64 = 100;

#[derive(clap::Args, Clone, Debug)]
pub struct TableOptions {
    #[command(flatten)]
    pub databases: Databases,
    /// The database of the read models, where it is another one
    #[arg(long, env = "READMODEL_DATABASE_URL", hide_env_values = true)]
    readmodel_database_url: Option<Secret>,
    /// What goes before the names of topics, as the roles are given it
    #[arg(long, env = "TOPIC_PREFIX", value_name = "PREFIX", default_value = "")]
    topic_prefix: String,
    /// Seconds until an unfinished payment is cancelled, as for `tradewind sagas`: a retried reservation starts a payment
    #[arg(long, env = "PAYMENT_DEADLINE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    payment_deadline_seconds: u32,
}

/// The tables of all owners.
pub struct ParkedTables {
    options: TableOptions,
    schemas: Vec<(Owner, Pool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Context(Context),
    ReadModel,
}

impl ParkedTables {
    /// # Errors
    /// When a URL is invalid. Connections are opened when they are needed.
    pub fn open(options: TableOptions) -> anyhow::Result<Self> {
        let mut schemas = Vec::new();
        for context in Context::ALL {
            schemas.push((Owner::Context(context), pool(&options.databases.url(context), CONNECTIONS_MAX)?));
        }
        let read_models = options
            .readmodel_database_url
            .clone()
            .unwrap_or_else(|| owner_url(options.databases.base(), READ_MODEL));
        schemas.push((Owner::ReadModel, pool(&read_models, CONNECTIONS_MAX)?));
        Ok(Self { options, schemas })
    }

    /// The parked streams: all, or those of one consumer, or one stream.
    ///
    /// # Errors
    /// When there is no such consumer, or a table cannot be read.
    pub async fn streams(
        &self,
        consumer: Option<&str>,
        stream: Option<&str>,
    ) -> anyhow::Result<Vec<ParkedStream>> {
        let schemas: Vec<&(Owner, Pool)> = match consumer {
            Some(consumer) => vec![self.schema_of(consumer)?],
            None => self.schemas.iter().collect(),
        };
        let mut all = Vec::new();
        for (owner, pool) in schemas {
            let client = pool.get().await.with_context(|| format!("the database of {owner:?}"))?;
            let parked = parked::streams(&client, consumer).await;
            all.extend(parked.with_context(|| format!("the parked events of {owner:?}"))?);
        }
        all.retain(|parked| stream.is_none_or(|stream| parked.stream == stream));
        Ok(all)
    }

    /// The next parked records of the stream.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn records(
        &self,
        stream: &ParkedStream,
        after: Option<&Place>,
    ) -> anyhow::Result<Vec<ParkedRecord>> {
        let (_, pool) = self.schema_of(&stream.consumer)?;
        let client = pool.get().await?;
        Ok(parked::records(&client, &stream.consumer, &stream.stream, after, PAGE).await?)
    }

    /// Lets the consumer handle the stream's records again.
    ///
    /// # Errors
    /// When it cannot be finished.
    pub async fn retry(&self, stream: &ParkedStream, dry_run: bool) -> anyhow::Result<Retried> {
        let (owner, pool) = self.schema_of(&stream.consumer)?;
        // Kafka is not asked: only the names of its topics are read.
        let bus = BusConfig::plain("", &self.options.topic_prefix);
        match owner {
            Owner::ReadModel => {
                let set = query_side::projections();
                let name = stream.consumer.trim_start_matches("query-side.");
                let projector = set.named(name).with_context(|| format!("there is no projection {name}"))?;
                Ok(projections::parked::retry(pool, &bus, &set, &*projector, &stream.stream, dry_run).await?)
            }
            Owner::Context(context) => {
                let store = self.options.databases.store(*context).await?;
                let deadline = TimeDelta::seconds(self.options.payment_deadline_seconds.into());
                let parked = (stream.consumer.as_str(), stream.stream.as_str());
                let retried = sagas::retry_parked(&store, &bus, parked, deadline, dry_run).await;
                store.shutdown().await;
                Ok(retried?)
            }
        }
    }

    /// Discards the first `count` records of the stream; records that are parked during the call stay.
    ///
    /// # Errors
    /// When the database refuses one; the records before it are discarded.
    pub async fn discard(
        &self,
        stream: &ParkedStream,
        count: i64,
        by: &str,
        because: &str,
    ) -> anyhow::Result<i64> {
        let (_, pool) = self.schema_of(&stream.consumer)?;
        let client = pool.get().await?;
        let mut discarded = 0;
        while discarded < count {
            let page = (count - discarded).min(PAGE);
            let records = parked::records(&client, &stream.consumer, &stream.stream, None, page).await?;
            for record in &records {
                parked::discard(&client, record, by, because).await?;
                discarded += 1;
            }
            if records.is_empty() {
                break;
            }
        }
        Ok(discarded)
    }

    fn schema_of(&self, consumer: &str) -> anyhow::Result<&(Owner, Pool)> {
        let owner = if consumer.starts_with("query-side.") {
            Some(Owner::ReadModel)
        } else {
            let has = |context: &Context| sagas::consumers_of(*context).iter().any(|name| name == consumer);
            Context::ALL.into_iter().find(has).map(Owner::Context)
        };
        match self.schemas.iter().find(|(own, _)| Some(*own) == owner) {
            Some(schema) => Ok(schema),
            None => bail!("there is no consumer {consumer:?}: allowed are {}", consumers().join(", ")),
        }
    }
}

fn consumers() -> Vec<String> {
    let set = query_side::projections();
    let projections = set.projectors.iter().map(|projector| set.parked_consumer(projector.name()));
    Context::ALL.into_iter().flat_map(sagas::consumers_of).chain(projections).collect()
}
