//! The shadow table, and the moment in which it becomes the live one.
//!
//! Three schemas: the live one, `readmodel_shadow` where a table is built, `readmodel_old` where the table that was
//! replaced is kept, with how far it had come, for a rollback. Never: a live table without rights, statistics or indexes; a
//! lock on the live table that is waited for without a limit. Read next: [`crate::kept`].

use deadpool_postgres::{Pool, Transaction};
use query_side::READ_MODEL;
use query_side::engine::Projector;
use runtime::{Secret, postgres};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::Error;
use crate::kept::{self, KEPT};
use crate::reach::Reach;

pub const SHADOW: &str = "readmodel_shadow";

/// How long a swap waits for those who are reading the live table; others queue behind it meanwhile.
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

/// An empty table like the live one: columns, defaults, constraints, owner, rights, targets of statistics. What serves
/// readers alone waits until it is filled: returns the statements that make the further indexes, see [`index`].
///
/// # Errors
/// The database's.
pub async fn create(pool: &Pool, table: &str) -> Result<Vec<String>, Error> {
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {SHADOW};
             DROP TABLE IF EXISTS {SHADOW}.{table};
             CREATE TABLE {SHADOW}.{table} (LIKE {READ_MODEL}.{table} INCLUDING ALL);"
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
            &[&format!("{READ_MODEL}.{table}"), &SHADOW],
        )
        .await?;
    for statement in copies {
        transaction.batch_execute(statement.try_get(0)?).await?;
    }
    let indexes = transaction
        .query(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
             FROM pg_index WHERE indrelid = to_regclass($1) AND NOT indisunique",
            &[&format!("{SHADOW}.{table}")],
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

/// Makes the indexes that [`create`] left for later: sorting all rows once takes less than finding a place for each.
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

/// Takes the shadow away again.
///
/// # Errors
/// The database's.
pub async fn drop_table(pool: &Pool, table: &str) -> Result<(), Error> {
    let client = pool.get().await?;
    client.batch_execute(&format!("DROP TABLE IF EXISTS {SHADOW}.{table}")).await?;
    Ok(())
}

/// Statistics for the planner, before anyone reads it.
///
/// # Errors
/// The database's.
pub async fn analyze(pool: &Pool, schema: &str, table: &str) -> Result<(), Error> {
    let client = pool.get().await?;
    client.batch_execute(&format!("ANALYZE {schema}.{table}")).await?;
    Ok(())
}

/// Stops the live projections at the boundary of a batch until the transaction ends. They move the checkpoints first, so
/// no table that is about to be swapped is touched by a batch that has begun.
///
/// # Errors
/// The database's; see [`is_in_use`].
pub async fn stop_live(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}';
             LOCK TABLE {READ_MODEL}.checkpoints IN SHARE ROW EXCLUSIVE MODE;"
        ))
        .await
}

/// Whether a lock was not to be had in time.
pub fn is_in_use(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// The shadow becomes live; what was live is kept, with how far it had come. The live projections must be stopped, and the
/// shadow be as far.
///
/// # Errors
/// The database's; see [`is_in_use`].
pub async fn swap(
    transaction: &Transaction<'_>,
    projector: &dyn Projector,
    live: &Reach,
) -> Result<(), tokio_postgres::Error> {
    let table = projector.table();
    kept::note(transaction, projector.name(), live).await?;
    transaction
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS {KEPT}.{table};
             ALTER TABLE {READ_MODEL}.{table} SET SCHEMA {KEPT};
             ALTER TABLE {SHADOW}.{table} SET SCHEMA {READ_MODEL};"
        ))
        .await
}
