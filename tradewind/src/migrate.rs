//! `tradewind migrate`: schemas, roles and tables of every owner.
//!
//! Never: SQL of its own; it stands in `/migrations` and in the crate that owns it.
//! Read next: `platform/runtime/src/postgres.rs` (`prepare_owner`).

use std::process::ExitCode;

use anyhow::Context as _;
use events::Context;
use runtime::Secret;
use runtime::postgres::{connect, password_of, prepare_owner};

const READ_MODEL: &str = "readmodel";
const PROVIDER: &str = "provider";

#[derive(clap::Args, Debug)]
pub struct Options {
    /// As a role that may create schemas and roles; each owner's role gets the same password
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Secret,
    /// Only this owner's schema, where owners have databases of their own (repeat for several) [default: all]
    #[arg(long, value_parser = owners())]
    owner: Vec<String>,
}

/// # Errors
/// When the database does not answer, or refuses.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let all = owners().map(str::to_owned).to_vec();
    let owners = if options.owner.is_empty() { all } else { options.owner };
    for owner in &owners {
        migrate_owner(&options.database_url, owner).await?;
    }
    println!("migrated: {}", owners.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Brings every owner's schema up to date.
///
/// # Errors
/// When the database does not answer, or refuses.
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
    // One at a time in this database: two would apply the same migration. The connection is this call's own, and the lock
    // goes with it.
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
