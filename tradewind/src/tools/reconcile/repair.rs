//! The steps of a reconciliation; each can be repeated.
//!
//! 1. No role runs: the consumer groups are empty, and the reconciliation holds the leases.
//! 2. Every log is marked as being reconciled, so the relay publishes nothing until the end.
//! 3. The topics are deleted, created, and filled from the logs (`topics.rs`).
//! 4. Every checkpoint is set to the offset after its last position, in the new epoch; parked events get their new
//!    offsets.
//! 5. The read models are rebuilt.
//! 6. The new epoch starts.
//!
//! Never: the last position of a reactor changed; no effect is repeated, and none is left out.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use event_bus::{BusConfig, delete_groups, group_members, reader_groups};
use event_store::RECONCILER;
use events::{Context, Position, cloud_event};
use fault::crash_point;
use query_side::{CONSUMER, READ_MODEL};
use runtime::ContextUrls;
use runtime::postgres::owner_url;
use tokio_postgres::{Client, Transaction};
use tokio_util::sync::CancellationToken;

use super::connections::Schemas;
use super::diff::Diff;
use super::topics::{Topics, recreate_topics};

/// The kinds of consumer groups.
const READERS: [&str; 2] = [sagas::READERS, CONSUMER];
/// The longest time that a reconciliation holds the leases; a repeated run takes them over.
const LEASE: Duration = Duration::from_secs(6 * 3_600);

/// # Errors
/// When a role still runs: nothing was changed. When a step fails: run it again.
pub async fn repair(schemas: &Schemas, bus: &BusConfig, diff: &Diff) -> anyhow::Result<()> {
    ensure_no_role_runs(schemas, bus).await?;
    let epoch = diff.next_epoch();
    for (_, client) in &schemas.contexts {
        client.execute("UPDATE log_epoch SET reconciling_to = $1", &[&epoch]).await?;
    }
    crash_point!("reconcile::marked");
    let topics = recreate_topics(schemas, bus, epoch).await?;
    let mut contexts = Vec::new();
    for context in Context::ALL {
        contexts.push(super::connections::open(schemas.urls.of(context), context.name()).await?);
    }
    for client in &mut contexts {
        let transaction = client.transaction().await?;
        set_checkpoints(&transaction, &topics, epoch).await?;
        relocate_parked(&transaction, &topics).await?;
        transaction.commit().await?;
        crash_point!("reconcile::checkpoints_set");
    }
    reset_read_models(schemas, bus, &topics, epoch).await?;
    crash_point!("reconcile::read_models_reset");
    for kind in READERS {
        delete_groups(bus, kind).await.with_context(|| format!("the consumer groups of {kind}"))?;
        crash_point!("reconcile::groups_forgotten");
    }
    rebuild_read_models(schemas, bus).await?;
    set_progress(schemas, bus, &topics).await?;
    crash_point!("reconcile::read_models_rebuilt");
    for (context, client) in &schemas.contexts {
        start_epoch(client, epoch, topics[&bus.topic(*context)].head).await?;
        crash_point!("reconcile::epoch_begun");
    }
    Ok(())
}

async fn ensure_no_role_runs(schemas: &Schemas, bus: &BusConfig) -> anyhow::Result<()> {
    for kind in READERS {
        for group in reader_groups(bus, kind).await? {
            let members = group_members(bus, &group).await?;
            ensure!(members == 0, "{group} is running with {members} members: stop every role first");
        }
    }
    for (context, client) in &schemas.contexts {
        let taken = client
            .execute(
                "UPDATE relay SET holder = $1, lease_epoch = lease_epoch + 1,
                        lease_expires_at = clock_timestamp() + $2 * interval '1 second'
                  WHERE lease_expires_at <= clock_timestamp() OR holder = $1",
                &[&RECONCILER, &LEASE.as_secs_f64()],
            )
            .await?;
        if taken == 0 {
            bail!(
                "a relay holds the lease of {context}: stop every role first (the lease of a killed relay expires by itself)"
            );
        }
    }
    Ok(())
}

/// Sets each checkpoint to the offset after the last event that the reactor handled.
async fn set_checkpoints(transaction: &Transaction<'_>, topics: &Topics, epoch: i64) -> anyhow::Result<()> {
    let rows =
        transaction.query("SELECT consumer, topic, partition, last_position FROM checkpoints", &[]).await?;
    for row in rows {
        let (consumer, topic, partition): (String, String, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let Some(new_topic) = topics.get(&topic) else { continue };
        let next_offset = new_topic.offset_after(partition, row.try_get(3)?);
        transaction
            .execute(
                "UPDATE checkpoints SET next_offset = $4, epoch = $5
                  WHERE consumer = $1 AND topic = $2 AND partition = $3",
                &[&consumer, &topic, &partition, &next_offset, &epoch],
            )
            .await?;
    }
    transaction
        .batch_execute(&format!("ALTER TABLE checkpoints ALTER COLUMN epoch SET DEFAULT {epoch}"))
        .await?;
    Ok(())
}

/// Moves each parked event to its new offset, or discards it if it no longer exists.
async fn relocate_parked(transaction: &Transaction<'_>, topics: &Topics) -> anyhow::Result<()> {
    let query = "SELECT consumer, topic, partition, record_offset, payload FROM parked_events";
    for row in transaction.query(query, &[]).await? {
        let (consumer, topic): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (partition, offset): (i32, i64) = (row.try_get(2)?, row.try_get(3)?);
        let context = Context::ALL.into_iter().find(|context| topic.ends_with(context.topic()));
        let event = context.and_then(|context| cloud_event::decode_raw(context, row.get::<_, &[u8]>(4)).ok());
        let event = event.zip(topics.get(&topic));
        let found = event
            .and_then(|(event, new_topic)| new_topic.offset_of(partition, (event.position, event.event_id)));
        // Negative until all are moved: the new offset of one event may be the old offset of another.
        let statement = match found {
            Some(_) => {
                "UPDATE parked_events SET record_offset = -1 - $5::bigint
                  WHERE consumer = $1 AND topic = $2 AND partition = $3 AND record_offset = $4"
            }
            None => {
                "WITH gone AS (
                     DELETE FROM parked_events
                      WHERE consumer = $1 AND topic = $2 AND partition = $3 AND record_offset = $4 AND $5::bigint IS NULL
                  RETURNING *
                 )
                 INSERT INTO discarded_events (consumer, topic, partition, record_offset, stream, position, key, payload,
                                               reason, parked_at, discarded_at, discarded_by, because)
                 SELECT consumer, topic, partition, record_offset, stream, position, key, payload, reason, parked_at,
                        clock_timestamp(), 'tradewind reconcile', 'the restored log does not have it' FROM gone"
            }
        };
        transaction.execute(statement, &[&consumer, &topic, &partition, &offset, &found]).await?;
    }
    transaction
        .batch_execute("UPDATE parked_events SET record_offset = -1 - record_offset WHERE record_offset < 0")
        .await?;
    Ok(())
}

/// Sets the read models' checkpoints to the end of the new topics; the rebuild fills the tables up to there.
async fn reset_read_models(
    schemas: &Schemas,
    bus: &BusConfig,
    topics: &Topics,
    epoch: i64,
) -> anyhow::Result<()> {
    let mut client: Client = super::connections::open(schemas.urls.read_models(), READ_MODEL).await?;
    let transaction = client.transaction().await?;
    relocate_parked(&transaction, topics).await?;
    // The tables that an earlier replay kept belong to the old epoch.
    transaction
        .batch_execute(
            "DELETE FROM checkpoints; DELETE FROM progress; DROP SCHEMA IF EXISTS readmodel_previous CASCADE",
        )
        .await?;
    transaction
        .batch_execute(&format!("ALTER TABLE checkpoints ALTER COLUMN epoch SET DEFAULT {epoch}"))
        .await?;
    for context in Context::ALL {
        let topic = bus.topic(context);
        for (partition, events) in (0..).zip(&topics[&topic].partitions) {
            let last_position = events.last().map_or(0, |(position, _)| *position);
            let next_offset = events.len() as i64;
            transaction
                .execute(
                    "INSERT INTO checkpoints (consumer, topic, partition, next_offset, last_position, epoch)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                    &[&CONSUMER, &topic, &partition, &next_offset, &last_position, &epoch],
                )
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Sets the progress of the read models to the ends of the logs.
async fn set_progress(schemas: &Schemas, bus: &BusConfig, topics: &Topics) -> anyhow::Result<()> {
    let all = "INSERT INTO progress (context, applied, seen)
               VALUES ($1, int8multirange(int8range(1, $2::bigint + 1)), $2)
               ON CONFLICT (context) DO UPDATE SET applied = EXCLUDED.applied, seen = EXCLUDED.seen";
    for context in Context::ALL {
        let head = topics[&bus.topic(context)].head;
        schemas.read_models.execute(all, &[&context.name(), &head]).await?;
    }
    Ok(())
}

async fn rebuild_read_models(schemas: &Schemas, bus: &BusConfig) -> anyhow::Result<()> {
    let databases = Context::ALL
        .into_iter()
        .fold(ContextUrls::one(schemas.urls.read_models().clone()), |urls, context| {
            urls.with(context.name(), owner_url(schemas.urls.of(context), context.name()))
        });
    let topic_prefix = bus.topic_prefix.clone();
    let options = replay::Options { check: false, rollback: false, databases, topic_prefix };
    let set = query_side::projections();
    for report in replay::run(&set, &[], options, CancellationToken::new()).await? {
        println!("{report}");
    }
    // The replaced tables belong to the old epoch too.
    let client = super::connections::open(schemas.urls.read_models(), READ_MODEL).await?;
    client.batch_execute("DROP SCHEMA IF EXISTS readmodel_previous CASCADE").await?;
    Ok(())
}

/// The last step: from here on the relay publishes.
async fn start_epoch(client: &Client, epoch: i64, head: Position) -> anyhow::Result<()> {
    client
        .batch_execute(&format!(
            "BEGIN;
             UPDATE relay SET cursor = {head}, lease_epoch = lease_epoch + 1, lease_expires_at = clock_timestamp();
             UPDATE log_epoch SET epoch = {epoch}, reconciling_to = NULL;
             COMMIT"
        ))
        .await?;
    Ok(())
}
