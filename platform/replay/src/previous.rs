//! The table that the last swap replaced, and the positions that it had applied: what a rollback begins with.
//!
//! `previous_checkpoints` has, by projection, the last position applied in each partition; `previous_parked` the streams that were
//! parked then. Both are in the schema of the previous tables, and are made when they are first needed.

use deadpool_postgres::{Pool, Transaction};
use event_log::{EventSet, StreamId};
use projections::Projector;

use crate::Error;
use crate::applied_positions::AppliedPositions;
use crate::schemas::Schemas;

/// Records the positions that the projection's table has applied, before it becomes the previous one.
///
/// # Errors
/// The database's.
pub async fn record(
    transaction: &Transaction<'_>,
    schemas: &Schemas,
    projection: &str,
    applied: &AppliedPositions,
) -> Result<(), tokio_postgres::Error> {
    let previous = &schemas.previous;
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {previous};
             CREATE TABLE IF NOT EXISTS {previous}.previous_checkpoints (
                 projection    text    NOT NULL,
                 context       text    NOT NULL,
                 partition     integer NOT NULL,
                 last_position bigint  NOT NULL,
                 CONSTRAINT previous_checkpoints_pkey PRIMARY KEY (projection, context, partition)
             );
             CREATE TABLE IF NOT EXISTS {previous}.previous_parked (
                 projection text   NOT NULL,
                 stream     text   NOT NULL,
                 position   bigint NOT NULL,
                 CONSTRAINT previous_parked_pkey PRIMARY KEY (projection, stream)
             );"
        ))
        .await?;
    for table in ["previous_checkpoints", "previous_parked"] {
        transaction
            .execute(&format!("DELETE FROM {previous}.{table} WHERE projection = $1"), &[&projection])
            .await?;
    }
    let (mut contexts, mut partitions, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for (context, partition, position) in applied.partitions() {
        contexts.push(context.to_string());
        partitions.push(partition);
        positions.push(position);
    }
    let checkpoints = format!(
        "INSERT INTO {previous}.previous_checkpoints (projection, context, partition, last_position)
         SELECT $1, * FROM unnest($2::text[], $3::integer[], $4::bigint[])"
    );
    transaction.execute(&checkpoints, &[&projection, &contexts, &partitions, &positions]).await?;
    let (streams, positions): (Vec<&str>, Vec<i64>) =
        applied.parked().map(|(stream, from)| (stream.as_str(), from)).unzip();
    let parked = format!(
        "INSERT INTO {previous}.previous_parked (projection, stream, position)
         SELECT $1, * FROM unnest($2::text[], $3::bigint[])"
    );
    transaction.execute(&parked, &[&projection, &streams, &positions]).await?;
    Ok(())
}

/// The positions that the projection's previous table has applied.
///
/// # Errors
/// [`Error::NoPreviousTable`], the database's.
pub async fn applied_positions<E: EventSet>(
    pool: &Pool,
    schemas: &Schemas,
    projector: &dyn Projector<E>,
) -> Result<AppliedPositions, Error> {
    let nothing = Error::NoPreviousTable { projection: projector.name() };
    let previous = &schemas.previous;
    let client = pool.get().await?;
    let tables = [projector.table(), "previous_checkpoints", "previous_parked"]
        .map(|table| format!("{previous}.{table}"));
    let there = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) name";
    if !client.query_one(there, &[&tables.as_slice()]).await?.try_get::<_, bool>(0)? {
        return Err(nothing);
    }
    let checkpoints = format!(
        "SELECT context, partition, last_position FROM {previous}.previous_checkpoints WHERE projection = $1"
    );
    let rows = client.query(&checkpoints, &[&projector.name()]).await?;
    if rows.is_empty() {
        return Err(nothing);
    }
    let mut applied = AppliedPositions::none(projector.contexts());
    for row in rows {
        // A context that the projection no longer reads is ignored.
        if let Ok(context) = row.try_get::<_, &str>(0)?.parse() {
            applied.set(context, row.try_get(1)?, row.try_get(2)?);
        }
    }
    let parked = format!("SELECT stream, position FROM {previous}.previous_parked WHERE projection = $1");
    for row in client.query(&parked, &[&projector.name()]).await? {
        applied.park(StreamId::from(row.try_get::<_, String>(0)?), row.try_get(1)?);
    }
    Ok(applied)
}

/// Moves the previous table to where [`crate::shadow::swap`] takes it from.
///
/// # Errors
/// The database's.
pub async fn take(
    transaction: &Transaction<'_>,
    schemas: &Schemas,
    table: &str,
) -> Result<(), tokio_postgres::Error> {
    let Schemas { shadow, previous, .. } = schemas;
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {shadow};
             DROP TABLE IF EXISTS {shadow}.{table};
             ALTER TABLE {previous}.{table} SET SCHEMA {shadow};"
        ))
        .await
}
