//! The shadow table, and the moment in which it becomes the live one.
//!
//! Three schemas: the live one, `readmodel_shadow` where a table is built, `readmodel_old` where the table that was
//! replaced is kept, with its checkpoints, for a rollback. Never: a live table without rights, statistics or indexes; a
//! lock on the live table that is waited for without a limit. Read next: [`crate::compare`].

use deadpool_postgres::{Pool, Transaction};
use query_side::READ_MODEL;
use query_side::engine::{Projector, consumer_name};
use runtime::{Secret, postgres};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::Error;

pub const SHADOW: &str = "readmodel_shadow";
pub const KEPT: &str = "readmodel_old";

/// How long a swap waits for those who are reading the live table; others queue behind it meanwhile.
const SWAP_LOCK_TIMEOUT: &str = "2s";
pub const SWAP_ATTEMPTS_MAX: u32 = 10;

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
pub async fn analyze(pool: &Pool, table: &str) -> Result<(), Error> {
    let client = pool.get().await?;
    client.batch_execute(&format!("ANALYZE {SHADOW}.{table}")).await?;
    Ok(())
}

/// Stops the live projections at the boundary of a batch until the transaction ends. They move their checkpoints first,
/// so none of them has touched a table that is about to be swapped.
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

/// The shadow becomes live; what was live is kept. The live projections must be stopped, and the shadow be as far.
///
/// # Errors
/// The database's; see [`is_in_use`].
pub async fn swap(
    transaction: &Transaction<'_>,
    projector: &dyn Projector,
) -> Result<(), tokio_postgres::Error> {
    let table = projector.table();
    keep_checkpoints(transaction, projector).await?;
    transaction
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS {KEPT}.{table};
             ALTER TABLE {READ_MODEL}.{table} SET SCHEMA {KEPT};
             ALTER TABLE {SHADOW}.{table} SET SCHEMA {READ_MODEL};"
        ))
        .await
}

/// The kept table is only worth something with the checkpoints that it was left at.
async fn keep_checkpoints(
    transaction: &Transaction<'_>,
    projector: &dyn Projector,
) -> Result<(), tokio_postgres::Error> {
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {KEPT};
             CREATE TABLE IF NOT EXISTS {KEPT}.checkpoints (LIKE {READ_MODEL}.checkpoints INCLUDING ALL);"
        ))
        .await?;
    let consumer = consumer_name(projector.name());
    transaction.execute(&format!("DELETE FROM {KEPT}.checkpoints WHERE consumer = $1"), &[&consumer]).await?;
    let copy =
        format!("INSERT INTO {KEPT}.checkpoints SELECT * FROM {READ_MODEL}.checkpoints WHERE consumer = $1");
    transaction.execute(&copy, &[&consumer]).await?;
    Ok(())
}

/// The kept table becomes live again, and the live one is kept in its place: a rollback can itself be rolled back. The
/// checkpoints go back too, so the projection finds out that it lost them, seeks back and catches up.
///
/// # Errors
/// [`Error::NothingKept`], [`Error::InUse`], the database's.
pub async fn roll_back(pool: &Pool, projector: &dyn Projector) -> Result<(), Error> {
    for _ in 0..SWAP_ATTEMPTS_MAX {
        match try_roll_back(pool, projector).await {
            Err(Error::ReadModels(error)) if is_in_use(&error) => {}
            result => return result,
        }
    }
    Err(Error::InUse { attempts: SWAP_ATTEMPTS_MAX })
}

async fn try_roll_back(pool: &Pool, projector: &dyn Projector) -> Result<(), Error> {
    let (table, consumer) = (projector.table(), consumer_name(projector.name()));
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    let kept =
        transaction.query_one("SELECT to_regclass($1) IS NOT NULL", &[&format!("{KEPT}.{table}")]).await?;
    if !kept.try_get(0)? {
        return Err(Error::NothingKept { projection: projector.name() });
    }
    stop_live(&transaction).await?;
    // The kept checkpoints wait aside while the live ones are kept.
    transaction
        .batch_execute(&format!(
            "CREATE TEMPORARY TABLE going_back ON COMMIT DROP AS SELECT * FROM {KEPT}.checkpoints;
             CREATE SCHEMA IF NOT EXISTS {SHADOW};
             DROP TABLE IF EXISTS {SHADOW}.{table};
             ALTER TABLE {KEPT}.{table} SET SCHEMA {SHADOW};"
        ))
        .await?;
    swap(&transaction, projector).await?;
    let forget = format!("DELETE FROM {READ_MODEL}.checkpoints WHERE consumer = $1");
    transaction.execute(&forget, &[&consumer]).await?;
    let restore =
        format!("INSERT INTO {READ_MODEL}.checkpoints SELECT * FROM going_back WHERE consumer = $1");
    transaction.execute(&restore, &[&consumer]).await?;
    transaction.commit().await?;
    Ok(())
}
