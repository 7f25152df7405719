//! The schema of the read models.

use projections::MigrateError;
use tokio_postgres::Client;

use crate::READ_MODEL;

mod embedded {
    refinery::embed_migrations!("../migrations/readmodel");
}

/// Brings the schema of the read models up to date. The schema and the role `tradewind_readmodel` must be there; `admin`
/// owns what is made, and its `search_path` is the default again afterwards.
///
/// # Errors
/// [`MigrateError`]; what was applied before stays applied.
pub async fn migrate(admin: &mut Client) -> Result<(), MigrateError> {
    projections::migrate(admin, READ_MODEL, embedded::migrations::runner()).await
}
