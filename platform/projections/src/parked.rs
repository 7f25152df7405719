//! The table `parked_events`: records that a projection could not apply, and every later one of the same stream.
//!
//! A poison event stops its own stream and no other, and the stream's order is kept for the person who repairs it ([`retry`]).
//! Source: docs/decisions/0009.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use deadpool_postgres::{Pool, PoolError, Transaction};
use event_bus::parked::{ParkedMetrics, ParkedRecord, Retried, records, streams, unpark};
use event_bus::{BusConfig, Record};
use event_log::EventSet;
use runtime::Check;

use crate::ProjectionSet;
use crate::projector::{Projector, is_refusal, refusal_text};

const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Parked records that one transaction of a retry takes.
const PAGE: i64 = 200;
/// How long a retry waits for the batches in flight.
const LOCK_TIMEOUT: &str = "20s";

/// A record to be parked, and why.
pub(crate) struct Parking<'a> {
    pub record: &'a Record,
    pub reason: String,
}

/// Parked streams, by the consumer that they are parked for.
pub(crate) type Parked = HashMap<String, HashSet<String>>;

/// Which of these streams are parked, for any projection.
///
/// # Errors
/// The database's.
pub(crate) async fn parked_among(
    transaction: &Transaction<'_>,
    streams: &[String],
) -> Result<Parked, tokio_postgres::Error> {
    let statement = transaction
        .prepare_cached("SELECT DISTINCT consumer, stream FROM parked_events WHERE stream = ANY($1)")
        .await?;
    let mut parked = Parked::new();
    for row in transaction.query(&statement, &[&streams]).await? {
        parked.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?);
    }
    Ok(parked)
}

/// Files the records. One that is filed already (its checkpoint was set back) stays as it is.
///
/// # Errors
/// The database's.
pub(crate) async fn park(
    transaction: &Transaction<'_>,
    consumer: &str,
    parkings: &[Parking<'_>],
) -> Result<(), tokio_postgres::Error> {
    let statement = transaction
        .prepare_cached(
            "INSERT INTO parked_events (consumer, topic, partition, record_offset, stream, position, key, payload, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .await?;
    for Parking { record, reason } in parkings {
        let (topic, stream) = (&*record.topic, storable(&record.stream_name()));
        transaction
            .execute(
                &statement,
                &[
                    &consumer,
                    &topic,
                    &record.partition,
                    &record.offset,
                    &stream,
                    &record.position,
                    &record.key,
                    &record.payload,
                    &storable(reason),
                ],
            )
            .await?;
    }
    Ok(())
}

/// Postgres text holds every character but NUL.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Why a retry ended early. What was applied before is applied.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("no connection to the read models: {0}")]
    Pool(#[from] PoolError),
    #[error("the read models fail: {0}")]
    Postgres(#[from] tokio_postgres::Error),
}

/// Applies the stream's parked records, in order, until none is left or one is refused again. A dry run does the same and rolls
/// all of it back.
///
/// The table of checkpoints is locked as a replay's swap locks it: every consumer moves its checkpoints first, so no consumer is in
/// the middle of a batch meanwhile, and none parks one more record behind those that are taken away.
///
/// # Errors
/// [`RetryError`].
pub async fn retry<E: EventSet>(
    pool: &Pool,
    bus: &BusConfig,
    set: &ProjectionSet<E>,
    projector: &dyn Projector<E>,
    stream: &str,
    dry_run: bool,
) -> Result<Retried, RetryError> {
    let consumer = set.parked_consumer(projector.name());
    let mut client = pool.get().await?;
    let mut retried = Retried::default();
    loop {
        let mut transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!(
                "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; LOCK TABLE checkpoints IN SHARE ROW EXCLUSIVE MODE"
            ))
            .await?;
        let mut more = true;
        while more {
            let page = records(&transaction, &consumer, stream, None, PAGE).await?;
            more = !page.is_empty();
            for parked in &page {
                if let Some(reason) = retry_one(bus, projector, &mut transaction, parked).await? {
                    retried.stopped = Some(parked.stopped(reason));
                    more = false;
                    break;
                }
                retried.handled += 1;
            }
            if !dry_run {
                break;
            }
        }
        if dry_run {
            transaction.rollback().await?;
            return Ok(retried);
        }
        transaction.commit().await?;
        if !more {
            return Ok(retried);
        }
    }
}

/// Returns why the record stays parked; none when it was applied.
async fn retry_one<E: EventSet>(
    bus: &BusConfig,
    projector: &dyn Projector<E>,
    transaction: &mut Transaction<'_>,
    parked: &ParkedRecord,
) -> Result<Option<String>, tokio_postgres::Error> {
    let Some(record) = parked.record(bus) else {
        return Ok(Some(format!("{} is no topic of ours", parked.place.topic)));
    };
    let event = match record.event::<E>() {
        Ok(event) => event,
        Err(unreadable) => return Ok(Some(unreadable.to_string())),
    };
    let savepoint = transaction.savepoint("event").await?;
    match projector.apply(&savepoint, &[event]).await {
        Ok(_) => {
            unpark(&savepoint, parked).await?;
            savepoint.commit().await?;
            Ok(None)
        }
        Err(error) if is_refusal(&error) => {
            savepoint.rollback().await?;
            Ok(Some(refusal_text(&error)))
        }
        Err(error) => Err(error),
    }
}

/// Reports to health and metrics what each consumer has parked; never returns.
pub(crate) async fn watch(pool: Pool, checks: Vec<(String, Check)>) {
    let mut notices: Vec<(ParkedMetrics, Check)> =
        checks.into_iter().map(|(consumer, check)| (ParkedMetrics::new(consumer), check)).collect();
    loop {
        match parked_by_consumer(&pool).await {
            Ok(parked) => {
                for (notice, check) in &mut notices {
                    let own = parked.iter().filter(|stream| stream.consumer == notice.consumer);
                    match notice.update(own.map(|stream| stream.stream.as_str()).collect()) {
                        None => check.ok(),
                        Some(told) => check.degraded(told),
                    }
                }
            }
            Err(error) => notices.iter().for_each(|(_, check)| check.failing(error.to_string())),
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

async fn parked_by_consumer(pool: &Pool) -> Result<Vec<event_bus::parked::ParkedStream>, RetryError> {
    Ok(streams(&pool.get().await?, None).await?)
}
