//! What a reconciliation does, step by step; each step can be done again.
//!
//! First nobody runs: the consumer groups are empty, the leases are ours. Then every log says that it is being reconciled:
//! the relay relays nothing until the end. The topics are removed, made anew, and filled from the logs from position 1: a
//! partition then has one record for each of its events, in order, so the offset of an event is the number of events before
//! it. Every checkpoint is set to the offset behind its last position, in the new epoch; what is parked is found again at
//! its new offset. The read models are rebuilt. Last, the new epoch begins.
//!
//! Never: a reactor's last position moved: no effect is done again, none is left out. Read next: docs/decisions/0012.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use event_bus::{
    BusConfig, OrderedPublisher, ensure_topics, forget_groups, group_members, reader_groups, remove_topic,
    replication_of,
};
use event_store::{EventStore, RECONCILER, StoreOptions};
use events::{Context, Position, TOPIC_PARTITIONS, cloud_event, partition_of};
use fault::crash_point;
use query_side::READ_MODEL;
use query_side::engine::READER;
use runtime::postgres::{owner_url, pool};
use tokio_postgres::{Client, Transaction};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::finding::Finding;
use super::places::Schemas;

/// The kinds of consumer groups.
const READERS: [&str; 2] = [sagas::READERS, READER];
/// Events read and published at a time.
const PAGE: usize = 2_000;
/// How long the leases are ours at most; whoever runs this again takes them over.
const LEASE: Duration = Duration::from_secs(6 * 3_600);

/// Where the events of one context lie on its new topic.
struct Laid {
    head: Position,
    /// For each partition, the positions of its events in order: their offsets are their places here.
    partitions: Vec<Vec<(Position, Uuid)>>,
}

impl Laid {
    /// The offset behind everything up to `position`.
    fn offset_behind(&self, partition: i32, position: Position) -> i64 {
        let laid = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index));
        laid.map_or(0, |laid| laid.partition_point(|(there, _)| *there <= position) as i64)
    }

    fn offset_of(&self, partition: i32, event: (Position, Uuid)) -> Option<i64> {
        let laid = self.partitions.get(usize::try_from(partition).ok()?)?;
        laid.binary_search(&event).ok().and_then(|offset| i64::try_from(offset).ok())
    }
}

/// By the name of the topic.
type Topics = BTreeMap<String, Laid>;

/// # Errors
/// When a role still runs: nothing was changed. When a step fails: run it again.
pub async fn mend(schemas: &Schemas, bus: &BusConfig, finding: &Finding) -> anyhow::Result<()> {
    nobody_runs(schemas, bus).await?;
    let epoch = finding.next_epoch();
    for (_, client) in &schemas.contexts {
        client.execute("UPDATE log_epoch SET reconciling_to = $1", &[&epoch]).await?;
    }
    crash_point!("reconcile::marked");
    let topics = lay_topics_anew(schemas, bus, epoch).await?;
    let mut contexts = Vec::new();
    for context in Context::ALL {
        contexts.push(super::places::open(schemas.places.of(context), context.name()).await?);
    }
    for client in &mut contexts {
        let transaction = client.transaction().await?;
        set_checkpoints(&transaction, &topics, epoch).await?;
        find_parked_again(&transaction, &topics).await?;
        transaction.commit().await?;
        crash_point!("reconcile::checkpoints_set");
    }
    reset_read_models(schemas, bus, &topics, epoch).await?;
    crash_point!("reconcile::read_models_reset");
    for kind in READERS {
        forget_groups(bus, kind).await.with_context(|| format!("the consumer groups of {kind}"))?;
        crash_point!("reconcile::groups_forgotten");
    }
    rebuild_read_models(schemas).await?;
    tell_progress(schemas, bus, &topics).await?;
    crash_point!("reconcile::read_models_rebuilt");
    for (context, client) in &schemas.contexts {
        begin_epoch(client, epoch, topics[&bus.topic(*context)].head).await?;
        crash_point!("reconcile::epoch_begun");
    }
    Ok(())
}

async fn nobody_runs(schemas: &Schemas, bus: &BusConfig) -> anyhow::Result<()> {
    for kind in READERS {
        for group in reader_groups(bus, kind).await? {
            let members = group_members(bus, &group).await?;
            ensure!(members == 0, "{group} is running ({members} members): stop every role first");
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
                "a relay holds the lease of {context}: stop every role first (a killed relay's lease runs out by itself)"
            );
        }
    }
    Ok(())
}

async fn lay_topics_anew(schemas: &Schemas, bus: &BusConfig, epoch: i64) -> anyhow::Result<Topics> {
    let mut replication = 1;
    for context in Context::ALL {
        replication = replication.max(replication_of(bus, context).await?.unwrap_or(1));
    }
    for context in Context::ALL {
        remove_topic(bus, context).await?;
        crash_point!("reconcile::topic_removed");
    }
    ensure_topics(bus, &events::Context::NAMES, replication).await?;
    crash_point!("reconcile::topics_made");
    let mut topics = Topics::new();
    for context in Context::ALL {
        let url = owner_url(schemas.places.of(context), context.name());
        let store = EventStore::new(context, pool(&url, 2)?, StoreOptions::default()).await?;
        let laid = republish(&store, bus, epoch).await.with_context(|| format!("publishing {context}"))?;
        store.shutdown().await;
        println!("{context}: {} events published anew", laid.head);
        crash_point!("reconcile::log_published");
        topics.insert(bus.topic(context), laid);
    }
    Ok(topics)
}

/// Publishes the whole log, from position 1.
async fn republish(store: &EventStore, bus: &BusConfig, epoch: i64) -> anyhow::Result<Laid> {
    let context = store.context();
    let mut publisher = OrderedPublisher::new(bus, bus.topic(context))?;
    let mut laid = Laid { head: 0, partitions: vec![Vec::new(); TOPIC_PARTITIONS as usize] };
    loop {
        let events = store.scan(laid.head, PAGE).await?;
        if events.is_empty() {
            return Ok(laid);
        }
        let records: Vec<_> = events.iter().map(|event| relay::outgoing(context, epoch, event)).collect();
        publisher.publish(&records).await?;
        for event in &events {
            laid.head = event.position;
            let partition = partition_of(event.stream.as_str(), TOPIC_PARTITIONS) as usize;
            laid.partitions[partition].push((event.position, event.event_id));
        }
    }
}

/// A reactor goes on behind the last event that it handled, wherever that lies now.
async fn set_checkpoints(transaction: &Transaction<'_>, topics: &Topics, epoch: i64) -> anyhow::Result<()> {
    let rows =
        transaction.query("SELECT consumer, topic, partition, last_position FROM checkpoints", &[]).await?;
    for row in rows {
        let (consumer, topic, partition): (String, String, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let Some(laid) = topics.get(&topic) else { continue };
        let next_offset = laid.offset_behind(partition, row.try_get(3)?);
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

/// What is parked lies at another offset now, or is an event that no longer exists: then it is discarded.
async fn find_parked_again(transaction: &Transaction<'_>, topics: &Topics) -> anyhow::Result<()> {
    let query = "SELECT consumer, topic, partition, record_offset, payload FROM parked_events";
    for row in transaction.query(query, &[]).await? {
        let (consumer, topic): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (partition, offset): (i32, i64) = (row.try_get(2)?, row.try_get(3)?);
        let context = Context::ALL.into_iter().find(|context| topic.ends_with(context.topic()));
        let event = context.and_then(|context| cloud_event::decode_raw(context, row.get::<_, &[u8]>(4)).ok());
        let laid = event.zip(topics.get(&topic));
        let found =
            laid.and_then(|(event, laid)| laid.offset_of(partition, (event.position, event.event_id)));
        // Below 0 meanwhile: the new offset of one may be the old one of another.
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

/// The read models stand at the end of the new topics; what they hold is rebuilt up to there.
async fn reset_read_models(
    schemas: &Schemas,
    bus: &BusConfig,
    topics: &Topics,
    epoch: i64,
) -> anyhow::Result<()> {
    let mut client: Client = super::places::open(schemas.places.read_models(), READ_MODEL).await?;
    let transaction = client.transaction().await?;
    find_parked_again(&transaction, topics).await?;
    // What an earlier replay kept is of an epoch that is over.
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
        for (partition, laid) in (0..).zip(&topics[&topic].partitions) {
            let last_position = laid.last().map_or(0, |(position, _)| *position);
            let next_offset = laid.len() as i64;
            transaction
                .execute(
                    "INSERT INTO checkpoints (consumer, topic, partition, next_offset, last_position, epoch)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                    &[&READER, &topic, &partition, &next_offset, &last_position, &epoch],
                )
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// The read models have everything: a query side that only answers may say so.
async fn tell_progress(schemas: &Schemas, bus: &BusConfig, topics: &Topics) -> anyhow::Result<()> {
    let all = "INSERT INTO progress (context, applied, seen)
               VALUES ($1, int8multirange(int8range(1, $2::bigint + 1)), $2)
               ON CONFLICT (context) DO UPDATE SET applied = EXCLUDED.applied, seen = EXCLUDED.seen";
    for context in Context::ALL {
        let head = topics[&bus.topic(context)].head;
        schemas.read_models.execute(all, &[&context.name(), &head]).await?;
    }
    Ok(())
}

async fn rebuild_read_models(schemas: &Schemas) -> anyhow::Result<()> {
    let log = |context: Context| Some(owner_url(schemas.places.of(context), context.name()));
    let options = replay::Options {
        projections: Vec::new(),
        all: true,
        check: false,
        rollback: false,
        database_url: schemas.places.read_models().clone(),
        logs: replay::LogUrls {
            orders_database_url: log(Context::Orders),
            inventory_database_url: log(Context::Inventory),
            payments_database_url: log(Context::Payments),
            shipping_database_url: log(Context::Shipping),
        },
    };
    for report in replay::run(options, CancellationToken::new()).await? {
        println!("{report}");
    }
    // So is what the rebuild replaced: nothing may bring it back.
    let client = super::places::open(schemas.places.read_models(), READ_MODEL).await?;
    client.batch_execute("DROP SCHEMA IF EXISTS readmodel_previous CASCADE").await?;
    Ok(())
}

/// The last step: from here on the relay relays.
async fn begin_epoch(client: &Client, epoch: i64, head: Position) -> anyhow::Result<()> {
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
