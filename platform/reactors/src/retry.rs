//! Puts the parked records of a stream through the same handler again, in order.
//!
//! One record at a time: its effect and its removal from `parked_events` are one append. The stream stays parked for the
//! running consumer until its last record has left; what the consumer parks in the meantime is found and tried too. Which
//! writer excludes which: docs/decisions/0009. Never: a record behind one that failed again.

use async_trait::async_trait;
use event_bus::parked::{ParkedRecord, Retried, Stopped, records};
use event_bus::{BusConfig, Record};
use event_store::{AppendError, EventStore, ParkedPlace, UnitOfWork, retry_conflicts};

use crate::{CONFLICTS_MAX, CommitError};

/// Who caused what a gateway does about a parked record.
pub(crate) const ACTOR: &str = "parked-retry";

/// Why a retry ended before its time. What was handled before is handled.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("no connection to the database: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("the database fails: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// What handles a parked record again.
#[async_trait]
pub(crate) trait RetryHandler: Send + Sync {
    /// Notes the record's effect in the unit of work.
    async fn handle_again(&self, work: &mut UnitOfWork, record: &Record) -> Result<(), CommitError>;
}

/// Tries the records that `consumer` has parked of `stream`, until none is left or one fails again.
pub(crate) async fn retry_parked(
    store: &EventStore,
    bus: &BusConfig,
    (consumer, stream): (&str, &str),
    handler: &dyn RetryHandler,
    dry_run: bool,
) -> Result<Retried, RetryError> {
    let mut retried = Retried::default();
    let mut rehearsal = store.unit_of_work();
    let mut after = None;
    loop {
        let client = store.pool().get().await?;
        let next = records(&client, consumer, stream, after.as_ref(), 1).await?.pop();
        drop(client);
        let Some(parked) = next else { return Ok(retried) };
        let handled = match parked.record(bus) {
            None => {
                Err(CommitError::Refused(format!("{} is not the topic of a context", parked.place.topic)))
            }
            Some(record) if dry_run => handler.handle_again(&mut rehearsal, &record).await,
            Some(record) => {
                let attempt = || commit(store, handler, &parked, &record);
                retry_conflicts(CONFLICTS_MAX, attempt).await
            }
        };
        match handled {
            Ok(()) => retried.handled += 1,
            Err(CommitError::Append(error)) => return Err(error.into()),
            Err(CommitError::Refused(reason)) => {
                return Ok(Retried { stopped: Some(stopped(&parked, reason)), ..retried });
            }
        }
        if dry_run {
            after = Some(parked.place);
        }
    }
}

fn stopped(parked: &ParkedRecord, reason: String) -> Stopped {
    tracing::warn!(consumer = parked.consumer, stream = parked.stream, reason, "stays parked");
    parked.stopped(reason)
}

async fn commit(
    store: &EventStore,
    handler: &dyn RetryHandler,
    parked: &ParkedRecord,
    record: &Record,
) -> Result<(), CommitError> {
    let mut work = store.unit_of_work();
    handler.handle_again(&mut work, record).await?;
    let place = ParkedPlace {
        consumer: parked.consumer.clone(),
        topic: parked.place.topic.clone(),
        partition: parked.place.partition,
        offset: parked.place.offset,
    };
    work.commit_unparking(&place).await?;
    Ok(())
}
