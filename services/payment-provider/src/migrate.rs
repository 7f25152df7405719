//! Applies the migrations of the provider's schema (`migrations/provider/`).

use tokio_postgres::Client;

/// The schema's name; its role is `tradewind_provider`.
pub(crate) const OWNER: &str = "provider";

mod embedded {
    refinery::embed_migrations!("../../migrations/provider");
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("cannot use the schema {OWNER}")]
    Schema(#[source] tokio_postgres::Error),
    #[error("the migrations of {OWNER} failed")]
    Migrations(#[source] refinery::Error),
}

/// Brings the schema up to date. The schema and its role must exist (`runtime::postgres::prepare_owner`). `admin` owns the
/// new objects, and gets its default `search_path` back.
///
/// # Errors
/// When the database refuses a migration. Earlier migrations stay applied.
pub async fn migrate(admin: &mut Client) -> Result<(), MigrateError> {
    let in_schema = format!("SET search_path = {OWNER}");
    admin.batch_execute(&in_schema).await.map_err(MigrateError::Schema)?;
    let migrated = embedded::migrations::runner().run_async(admin).await.map_err(MigrateError::Migrations);
    admin.batch_execute("RESET search_path").await.map_err(MigrateError::Schema)?;
    migrated.map(|_| ())
}
