//! The schema of a process's read models: the tables of this crate, then those of the projections.

use refinery::Runner;
use tokio_postgres::Client;

/// The migrations of this crate's own tables have a history of their own.
const HISTORY: &str = "projections_schema_history";

mod embedded {
    refinery::embed_migrations!("../../migrations/projections");
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the schema {schema} cannot be used: {cause}")]
    Schema { schema: String, cause: tokio_postgres::Error },
    #[error("the migrations of {schema} failed: {cause}")]
    Migration { schema: String, cause: refinery::Error },
}

/// Brings the schema up to date: this crate's tables (checkpoints, parked events, progress), then the projections' own by `tables`.
/// The schema and the role `tradewind_<schema>` must exist. `admin` owns what is made, and its `search_path` is the default
/// again afterwards.
///
/// # Errors
/// [`MigrateError`]; what was applied before stays applied.
pub async fn migrate(admin: &mut Client, schema: &str, tables: Runner) -> Result<(), MigrateError> {
    let unusable = |cause| MigrateError::Schema { schema: schema.to_owned(), cause };
    admin.batch_execute(&format!("SET search_path = {schema}")).await.map_err(unusable)?;
    let mut own = embedded::migrations::runner();
    own.set_migration_table_name(HISTORY);
    let migrated = match own.run_async(admin).await {
        Ok(_) => tables.run_async(admin).await,
        failed => failed,
    };
    admin.batch_execute("RESET search_path").await.map_err(unusable)?;
    let failed = |cause| MigrateError::Migration { schema: schema.to_owned(), cause };
    migrated.map(|_| ()).map_err(failed)
}
