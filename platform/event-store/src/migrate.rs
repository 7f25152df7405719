//! The schema of a context's log: versioned migrations create tables; functions and grants are re-created each time. An
//! applied versioned migration never changes.

use event_log::ContextName;
use tokio_postgres::Client;

use crate::error::describe;

mod embedded {
    refinery::embed_migrations!("../../migrations/context");
}

/// Re-created after the versioned migrations, in this order. Each is a file that may change.
const RECREATED: [&str; 5] = [
    include_str!("../../../migrations/context/functions/append.sql"),
    include_str!("../../../migrations/context/functions/unpark.sql"),
    include_str!("../../../migrations/context/functions/discard_parked.sql"),
    include_str!("../../../migrations/context/functions/behind_a_parked_record.sql"),
    include_str!("../../../migrations/context/grants.sql"),
];

/// Why a context's schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the schema of {context} cannot be used: {}", describe(cause))]
    Schema { context: ContextName, cause: tokio_postgres::Error },
    #[error("the migrations of {context} failed: {cause}")]
    Migration { context: ContextName, cause: refinery::Error },
}

/// Brings the context's schema up to date. The schema and the role `tradewind_<context>` must exist. `admin` owns what
/// is created, and its `search_path` is the default again afterwards.
///
/// # Errors
/// [`MigrateError`]; what was applied before stays applied.
pub async fn migrate(admin: &mut Client, context: impl Into<ContextName>) -> Result<(), MigrateError> {
    let context = context.into();
    let schema = |cause| MigrateError::Schema { context, cause };
    admin.batch_execute(&format!("SET search_path TO {context}")).await.map_err(schema)?;
    let migration = |cause| MigrateError::Migration { context, cause };
    embedded::migrations::runner().run_async(admin).await.map_err(migration)?;
    // pg_temp is searched last, so that no temporary table can replace a table of the log. The functions keep that
    // path.
    let recreate =
        format!("BEGIN; SET LOCAL search_path TO {context}, pg_temp; {} COMMIT;", RECREATED.concat());
    admin.batch_execute(&recreate).await.map_err(schema)?;
    // All statements are index look-ups, so one generic plan serves every value and the server need not plan each
    // execution. Not in a migration, because a dump of the database does not contain it.
    let planner = format!(
        "DO $$ BEGIN EXECUTE format('ALTER ROLE tradewind_{context} IN DATABASE %I SET plan_cache_mode = force_generic_plan', current_database()); END $$"
    );
    admin.batch_execute(&planner).await.map_err(schema)?;
    admin.batch_execute("RESET search_path").await.map_err(schema)
}
