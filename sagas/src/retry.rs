//! Puts the parked records of a stream through the same handler again, in order.
//!
//! One record at a time: what it sets off and its leaving `parked_events` are one append. The stream stays parked for
//! the running consumer until its last record has left, and what the consumer parks meanwhile is found and tried too;
//! who excludes whom is in docs/decisions/0009. Never: a record behind one that failed again; a call to the world (the
//! gateway's records become deadlines, which the sagas that run act on). Read next: [`crate::reactor`].

use chrono::TimeDelta;
use event_bus::Record;
use event_bus::parked::{ParkedRecord, Retried, Stopped, records};
use event_store::{
    AppendError, EventStore, MayBeConflict, ParkedPlace, StoreError, UnitOfWork, retry_conflicts,
};
use events::Context;

use crate::carry_out::Trouble;
use crate::fate::{self, CONFLICTS_MAX};
use crate::order_fulfilment::payments::turns_to_provider;
use crate::parking::Parking;
use crate::payments::Wake;
use crate::reactor::Reactor;
use crate::run::GATEWAY;

const ACTOR: &str = "parked-retry";

/// Why a retry ended before its time. What was handled before is handled.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("no connection to the database: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("the database fails: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The consumers whose parked records lie in the context's schema.
pub fn consumers_of(context: Context) -> Vec<String> {
    let gateway = (context == Context::Payments).then(|| GATEWAY.to_owned());
    std::iter::once(format!("sagas.{context}")).chain(gateway).collect()
}

enum Handler {
    Reactor(Box<Reactor>),
    Gateway,
}

enum Undone {
    Parked(String),
    Error(RetryError),
}

impl MayBeConflict for Undone {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Error(RetryError::Append(error)) if error.is_conflict())
    }
}

impl From<Trouble> for Undone {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Park(reason) => Self::Parked(reason),
            Trouble::Store(error) => Self::Error(error.into()),
        }
    }
}

/// Tries the stream's parked records again until none is left, or one fails again. A dry run judges all of them, each
/// after what those before it would have done, and commits nothing.
///
/// # Errors
/// [`RetryError`].
pub async fn retry_parked(
    store: &EventStore,
    consumer: &str,
    stream: &str,
    payment_deadline: TimeDelta,
    dry_run: bool,
) -> Result<Retried, RetryError> {
    let handler = if consumer == GATEWAY {
        Handler::Gateway
    } else {
        let parking = Parking::new(store.clone(), consumer);
        Handler::Reactor(Box::new(Reactor::new(
            store.clone(),
            consumer.to_owned(),
            payment_deadline,
            parking,
            None,
        )))
    };
    let mut retried = Retried::default();
    let mut rehearsal = store.unit_of_work();
    let mut after = None;
    loop {
        let client = store.pool().get().await?;
        let next = records(&client, consumer, stream, after.as_ref(), 1).await?.pop();
        drop(client);
        let Some(parked) = next else { return Ok(retried) };
        let done = match parked.record() {
            None => Err(Undone::Parked(format!("{} is no topic of ours", parked.place.topic))),
            Some(record) if dry_run => handler.handle(&mut rehearsal, &record).await,
            Some(record) => {
                let attempt = || commit(store, &handler, &parked, &record);
                retry_conflicts(CONFLICTS_MAX, attempt).await
            }
        };
        match done {
            Ok(()) => retried.handled += 1,
            Err(Undone::Error(error)) => return Err(error),
            Err(Undone::Parked(reason)) => {
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
    handler: &Handler,
    parked: &ParkedRecord,
    record: &Record,
) -> Result<(), Undone> {
    let mut work = store.unit_of_work();
    handler.handle(&mut work, record).await?;
    let place = ParkedPlace {
        consumer: parked.consumer.clone(),
        topic: parked.place.topic.clone(),
        partition: parked.place.partition,
        offset: parked.place.offset,
    };
    work.commit_unparking(&place).await.map_err(|error| Undone::Error(error.into()))?;
    Ok(())
}

impl Handler {
    async fn handle(&self, work: &mut UnitOfWork, record: &Record) -> Result<(), Undone> {
        match self {
            Self::Reactor(reactor) => {
                reactor.react_again(work, record).await?;
            }
            // The running sagas ask the provider what the payment says has to be asked by then.
            Self::Gateway => {
                let event =
                    record.event.as_ref().map_err(|unreadable| Undone::Parked(unreadable.to_string()))?;
                if let Some(order_id) = turns_to_provider(event) {
                    let wake = Wake::ask_provider(&fate::caused_by(event, ACTOR), 1, None);
                    let id = Wake::ask_provider_id(order_id);
                    let now = work.database_now().await.map_err(Trouble::from)?;
                    work.set_deadline(&id, &event.stream, now, wake.to_json());
                }
            }
        }
        Ok(())
    }
}
