//! The table that the last swap replaced, and how far it had come: what a rollback begins with.
//!
//! `kept_checkpoints` has, by projection, the last position applied in each partition; `kept_parked` the streams whose
//! events waited then. Both lie beside the kept tables, and are made when they are first needed. Never: a kept table without
//! its reach. Read next: [`crate::rollback`].

use deadpool_postgres::{Pool, Transaction};
use events::StreamId;
use query_side::engine::Projector;

use crate::Error;
use crate::reach::Reach;
use crate::shadow::SHADOW;

pub const KEPT: &str = "readmodel_old";

/// Notes how far the projection's table had come that is about to be kept.
///
/// # Errors
/// The database's.
pub async fn note(
    transaction: &Transaction<'_>,
    projection: &str,
    reach: &Reach,
) -> Result<(), tokio_postgres::Error> {
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {KEPT};
             CREATE TABLE IF NOT EXISTS {KEPT}.kept_checkpoints (
                 projection    text    NOT NULL,
                 context       text    NOT NULL,
                 partition     integer NOT NULL,
                 last_position bigint  NOT NULL,
                 CONSTRAINT kept_checkpoints_pkey PRIMARY KEY (projection, context, partition)
             );
             CREATE TABLE IF NOT EXISTS {KEPT}.kept_parked (
                 projection text   NOT NULL,
                 stream     text   NOT NULL,
                 position   bigint NOT NULL,
                 CONSTRAINT kept_parked_pkey PRIMARY KEY (projection, stream)
             );"
        ))
        .await?;
    for table in ["kept_checkpoints", "kept_parked"] {
        transaction
            .execute(&format!("DELETE FROM {KEPT}.{table} WHERE projection = $1"), &[&projection])
            .await?;
    }
    let (mut contexts, mut partitions, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for (context, partition, position) in reach.partitions() {
        contexts.push(context.name());
        partitions.push(partition);
        positions.push(position);
    }
    let checkpoints = format!(
        "INSERT INTO {KEPT}.kept_checkpoints (projection, context, partition, last_position)
         SELECT $1, * FROM unnest($2::text[], $3::integer[], $4::bigint[])"
    );
    transaction.execute(&checkpoints, &[&projection, &contexts, &partitions, &positions]).await?;
    let (streams, positions): (Vec<&str>, Vec<i64>) =
        reach.parked().map(|(stream, from)| (stream.as_str(), from)).unzip();
    let parked = format!(
        "INSERT INTO {KEPT}.kept_parked (projection, stream, position)
         SELECT $1, * FROM unnest($2::text[], $3::bigint[])"
    );
    transaction.execute(&parked, &[&projection, &streams, &positions]).await?;
    Ok(())
}

/// How far the projection's kept table had come.
///
/// # Errors
/// [`Error::NothingKept`], the database's.
pub async fn reach(pool: &Pool, projector: &dyn Projector) -> Result<Reach, Error> {
    let nothing = Error::NothingKept { projection: projector.name() };
    let client = pool.get().await?;
    let tables =
        [projector.table(), "kept_checkpoints", "kept_parked"].map(|table| format!("{KEPT}.{table}"));
    let there = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) name";
    if !client.query_one(there, &[&tables.as_slice()]).await?.try_get::<_, bool>(0)? {
        return Err(nothing);
    }
    let checkpoints = format!(
        "SELECT context, partition, last_position FROM {KEPT}.kept_checkpoints WHERE projection = $1"
    );
    let rows = client.query(&checkpoints, &[&projector.name()]).await?;
    if rows.is_empty() {
        return Err(nothing);
    }
    let mut reach = Reach::none(projector.contexts());
    for row in rows {
        // A context that the projection no longer hears is nothing to it.
        if let Ok(context) = row.try_get::<_, &str>(0)?.parse() {
            reach.come_to(context, row.try_get(1)?, row.try_get(2)?);
        }
    }
    let parked = format!("SELECT stream, position FROM {KEPT}.kept_parked WHERE projection = $1");
    for row in client.query(&parked, &[&projector.name()]).await? {
        reach.park(StreamId::from(row.try_get::<_, String>(0)?), row.try_get(1)?);
    }
    Ok(reach)
}

/// Takes the kept table to where [`crate::shadow::swap`] takes it from.
///
/// # Errors
/// The database's.
pub async fn take(transaction: &Transaction<'_>, table: &str) -> Result<(), tokio_postgres::Error> {
    transaction
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {SHADOW};
             DROP TABLE IF EXISTS {SHADOW}.{table};
             ALTER TABLE {KEPT}.{table} SET SCHEMA {SHADOW};"
        ))
        .await
}
