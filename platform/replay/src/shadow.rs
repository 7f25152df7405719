//! The shadow table, and the moment in which it becomes the live one.
//!
//! Never: a live table without rights, statistics or indexes; a wait without a limit for a lock on the live table.

use deadpool_postgres::{Pool, Transaction};
use event_log::EventSet;
use projections::Projector;
use runtime::{Secret, postgres};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::Error;
use crate::applied_positions::AppliedPositions;
use crate::previous;
use crate::schemas::Schemas;

/// How long a swap waits for readers of the live table; further readers queue behind it meanwhile.
const SWAP_LOCK_TIMEOUT: &str = "2s";

/// Makes sure that no other replay works on the projection while the returned connection lives.
///
/// # Errors
/// [`Error::Busy`].
pub async fn lock(url: &Secret, projection: &'static str) -> Result<Client, Error> {
    let client = postgres::connect(url).await?;
    let name = format!("tradewind replay {projection}");
    let row = client.query_one("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", &[&name]).await?;
    if row.try_get(0)? { Ok(client) } else { Err(Error::Busy { projection }) }
}

/// Makes an empty table like the live one: columns, defaults, constraints, owner, rights, targets of statistics. Indexes that only
/// readers use are made when it is filled: returns their statements, see [`index`].
///
/// # Errors
/// The database's.
pub async fn create(pool: &Pool, schemas: &Schemas, table: &str) -> Result<Vec<String>, Error> {
    let Schemas { live, shadow, .. } = schemas;
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {shadow};
             DROP TABLE IF EXISTS {shadow}.{table};
             CREATE TABLE {shadow}.{table} (LIKE {live}.{table} INCLUDING ALL);"
        ))
        .await?;
    // LIKE copies neither the owner nor the rights, nor how much ANALYZE asks of a column.
    let copies = transaction
        .query(
            "SELECT format('ALTER TABLE %I.%I OWNER TO %I', $2::text, c.relname, pg_get_userbyid(c.relowner))
             FROM pg_class c WHERE c.oid = to_regclass($1)
             UNION ALL
             SELECT format('GRANT %s ON %I.%I TO %s', right_held.privilege_type, $2::text, c.relname,
                           CASE right_held.grantee WHEN 0 THEN 'PUBLIC'
                                ELSE quote_ident(pg_get_userbyid(right_held.grantee)) END)
             FROM pg_class c, aclexplode(c.relacl) right_held WHERE c.oid = to_regclass($1)
             UNION ALL
             SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I SET STATISTICS %s', $2::text, c.relname, a.attname,
                           a.attstattarget)
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0",
            &[&format!("{live}.{table}"), shadow],
        )
        .await?;
    for statement in copies {
        transaction.batch_execute(statement.try_get(0)?).await?;
    }
    let indexes = transaction
        .query(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
             FROM pg_index WHERE indrelid = to_regclass($1) AND NOT indisunique",
            &[&format!("{shadow}.{table}")],
        )
        .await?;
    let mut definitions = Vec::new();
    for index in indexes {
        transaction.batch_execute(&format!("DROP INDEX {}", index.try_get::<_, &str>(0)?)).await?;
        definitions.push(index.try_get(1)?);
    }
    transaction.commit().await?;
    Ok(definitions)
}

/// Makes the indexes that [`create`] left for later: sorting all rows once is faster than inserting each.
///
/// # Errors
/// The database's.
pub async fn index(pool: &Pool, definitions: &[String]) -> Result<(), Error> {
    let client = pool.get().await?;
    for definition in definitions {
        client.batch_execute(definition).await?;
    }
    Ok(())
}

/// Drops the shadow.
///
/// # Errors
/// The database's.
pub async fn drop_table(pool: &Pool, schemas: &Schemas, table: &str) -> Result<(), Error> {
    let shadow = &schemas.shadow;
    let client = pool.get().await?;
    client.batch_execute(&format!("DROP TABLE IF EXISTS {shadow}.{table}")).await?;
    Ok(())
}

/// Makes statistics for the planner, before the table is read.
///
/// # Errors
/// The database's.
pub async fn analyze(pool: &Pool, schema: &str, table: &str) -> Result<(), Error> {
    let client = pool.get().await?;
    client.batch_execute(&format!("ANALYZE {schema}.{table}")).await?;
    Ok(())
}

/// Stops the live projections between two batches until the transaction ends. A batch moves the checkpoints first, so no batch in
/// flight touches a table that is about to be swapped.
///
/// # Errors
/// The database's; see [`is_in_use`].
pub async fn stop_live(
    transaction: &Transaction<'_>,
    schemas: &Schemas,
) -> Result<(), tokio_postgres::Error> {
    let live = &schemas.live;
    transaction
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}';
             LOCK TABLE {live}.checkpoints IN SHARE ROW EXCLUSIVE MODE;"
        ))
        .await
}

/// Whether a lock was not granted in time.
pub fn is_in_use(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// The shadow becomes the live table; the live one becomes the previous one, with the positions that it has applied. The live
/// projections must be stopped, and the shadow must have applied the same positions.
///
/// # Errors
/// The database's; see [`is_in_use`].
pub async fn swap<E: EventSet>(
    transaction: &Transaction<'_>,
    schemas: &Schemas,
    projector: &dyn Projector<E>,
    applied: &AppliedPositions,
) -> Result<(), tokio_postgres::Error> {
    let table = projector.table();
    let Schemas { live, shadow, previous } = schemas;
    previous::record(transaction, schemas, projector.name(), applied).await?;
    transaction
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS {previous}.{table};
             ALTER TABLE {live}.{table} SET SCHEMA {previous};
             ALTER TABLE {shadow}.{table} SET SCHEMA {live};"
        ))
        .await
}
