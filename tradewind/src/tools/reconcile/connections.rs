//! The connections of a reconciliation: as the owner of each schema, because the roles of the processes lack these
//! rights.

use anyhow::Context as _;
use events::Context;
use query_side::READ_MODEL;
use runtime::postgres::connect;
use runtime::{ContextUrl, Secret};
use tokio_postgres::Client;

#[derive(clap::Args, Clone, Debug)]
pub struct OwnerUrls {
    /// The database, as a role that owns the schemas [default: that of `tradewind up`]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// The database of one context, where it is another one, as its owner; may be given several times
    #[arg(long = "context-owner-url", hide_env_values = true, value_name = "CONTEXT=URL")]
    context_owner_urls: Vec<ContextUrl>,
    /// The database of the read models, where it is another one, as its owner
    #[arg(long, hide_env_values = true)]
    readmodel_owner_url: Option<Secret>,
}

impl OwnerUrls {
    pub fn of(&self, context: Context) -> &Secret {
        let own = self.context_owner_urls.iter().rfind(|own| own.context == context.name());
        own.map_or(&self.database_url, |own| &own.url)
    }

    /// # Errors
    /// When a database is named for a context that does not exist.
    fn check(&self) -> anyhow::Result<()> {
        for own in &self.context_owner_urls {
            own.context.parse::<Context>().context("--context-owner-url")?;
        }
        Ok(())
    }

    pub fn read_models(&self) -> &Secret {
        self.readmodel_owner_url.as_ref().unwrap_or(&self.database_url)
    }
}

/// A connection to each schema.
pub struct Schemas {
    pub urls: OwnerUrls,
    pub contexts: Vec<(Context, Client)>,
    pub read_models: Client,
}

impl Schemas {
    /// # Errors
    /// When a database does not answer, or is named for a context that does not exist.
    pub async fn open(urls: &OwnerUrls) -> anyhow::Result<Self> {
        urls.check()?;
        let mut contexts = Vec::new();
        for context in Context::ALL {
            contexts.push((context, open(urls.of(context), context.name()).await?));
        }
        let read_models = open(urls.read_models(), READ_MODEL).await?;
        Ok(Self { urls: urls.clone(), contexts, read_models })
    }
}

pub async fn open(url: &Secret, schema: &str) -> anyhow::Result<Client> {
    let client = connect(url).await.with_context(|| format!("the database of {schema}"))?;
    // The connection is this tool's own, not a pool's.
    client.batch_execute(&format!("SET search_path TO {schema}")).await?;
    Ok(client)
}
