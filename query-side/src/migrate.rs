//! The schema of the read models.
//!
//! Never: a change to a migration that was applied. Read next: `migrations/readmodel/V1__read_models.sql`.

use tokio_postgres::Client;

use crate::READ_MODEL;

mod embedded {
    refinery::embed_migrations!("../migrations/readmodel");
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the schema {READ_MODEL} cannot be used: {0}")]
    Schema(#[from] tokio_postgres::Error),
    #[error("the migrations of {READ_MODEL} failed: {0}")]
    Migration(#[from] refinery::Error),
}

/// Brings the schema of the read models up to date. The schema and the role `tradewind_readmodel` must be there; `admin`
/// owns what is made, and its `search_path` is the default again afterwards.
///
/// # Errors
/// [`MigrateError`]; what was applied before stays applied.
pub async fn migrate(admin: &mut Client) -> Result<(), MigrateError> {
    admin.batch_execute(&format!("SET search_path = {READ_MODEL}")).await?;
    let migrated = embedded::migrations::runner().run_async(admin).await;
    admin.batch_execute("RESET search_path").await?;
    migrated?;
    Ok(())
}
