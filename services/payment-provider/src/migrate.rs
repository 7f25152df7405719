//! The schema of the provider.
//!
//! Never: a change to a migration that was applied. Read next: `/migrations/provider/V1__ledger.sql`.

use tokio_postgres::Client;

/// The schema's name; its role is `tradewind_provider`.
pub(crate) const OWNER: &str = "provider";

mod embedded {
    refinery::embed_migrations!("../../migrations/provider");
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the schema {OWNER} cannot be used")]
    Schema(#[source] tokio_postgres::Error),
    #[error("the migrations of {OWNER} failed")]
    Migrations(#[source] refinery::Error),
}

/// Brings the schema up to date. The schema and its role must be there (`runtime::postgres::prepare_owner`); `admin`
/// owns what is made, and its `search_path` is the default again afterwards.
///
/// # Errors
/// When the database refuses; what was applied before stays applied.
pub async fn migrate(admin: &mut Client) -> Result<(), MigrateError> {
    let in_schema = format!("SET search_path = {OWNER}");
    admin.batch_execute(&in_schema).await.map_err(MigrateError::Schema)?;
    let migrated = embedded::migrations::runner().run_async(admin).await.map_err(MigrateError::Migrations);
    admin.batch_execute("RESET search_path").await.map_err(MigrateError::Schema)?;
    migrated.map(|_| ())
}
