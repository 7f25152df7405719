//! `tradewind migrate`: creates or updates the schemas, database roles and tables of every owner.

use std::process::ExitCode;

use anyhow::Context as _;
use events::Context;
use runtime::Secret;
use runtime::postgres::{connect, password_of, prepare_owner};

const READ_MODEL: &str = "readmodel";
const PROVIDER: &str = "provider";

#[derive(clap::Args, Debug)]
pub struct Options {
    /// The database, as a role that may create schemas and roles; the role of each owner gets the same password
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Secret,
    /// Migrate only the schema of this owner, for owners with separate databases (may be repeated) [default: all]
    #[arg(long, value_parser = owners())]
    owner: Vec<String>,
}

/// # Errors
/// When the database does not answer, or refuses a statement.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let all = owners().map(str::to_owned).to_vec();
    let owners = if options.owner.is_empty() { all } else { options.owner };
    for owner in &owners {
        migrate_owner(&options.database_url, owner).await?;
    }
    println!("migrated: {}", owners.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Migrates the schema of every owner.
///
/// # Errors
/// When the database does not answer, or refuses a statement.
pub async fn migrate_all(database_url: &Secret) -> anyhow::Result<()> {
    for owner in owners() {
        migrate_owner(database_url, owner).await?;
    }
    Ok(())
}

fn owners() -> [&'static str; 6] {
    let [orders, inventory, payments, shipping] = Context::ALL.map(Context::name);
    [orders, inventory, payments, shipping, READ_MODEL, PROVIDER]
}

async fn migrate_owner(database_url: &Secret, owner: &str) -> anyhow::Result<()> {
    let mut admin = connect(database_url).await?;
    // Only one process migrates an owner at a time: two would apply the same migration. The lock ends with this connection.
    let name = format!("tradewind migrate {owner}");
    admin.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", &[&name]).await?;
    prepare_owner(&admin, owner, password_of(database_url)?.as_ref()).await?;
    let done = match owner {
        READ_MODEL => query_side::migrate(&mut admin).await.map_err(anyhow::Error::from),
        PROVIDER => payment_provider::migrate(&mut admin).await.map_err(anyhow::Error::from),
        context => {
            let context = context.parse::<Context>().with_context(|| format!("unknown owner {context}"))?;
            event_store::migrate(&mut admin, context).await.map_err(anyhow::Error::from)
        }
    };
    done.with_context(|| format!("migrating {owner}"))
}
