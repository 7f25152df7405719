//! One lease's life: take over, pump, and after any failure take over again, until the lease is lost or we stop.
//!
//! A failed delivery throws the publisher away with all that it had not sent, and begins again at the cursor.
//!
//! Never: an attempt without a fresh look at the topic's end. Read next: `takeover.rs`, then `pump.rs`.

use std::time::Duration;

use event_store::EventStore;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::health::Trouble;
use crate::lease::Held;
use crate::pump::{self, PumpError};
use crate::takeover::{AlreadyThere, TakeoverError};
use crate::{Config, Error};

/// When Kafka is gone while we stop: what it has not acknowledged by then, the next relay finds out.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// Relays until the lease is lost, or `stop`.
///
/// # Errors
/// What no further attempt can mend.
pub(crate) async fn run(
    config: &Config,
    store: &EventStore,
    held: &Held,
    trouble: &Trouble,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let overtime = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        biased; // the lease is looked at first
        () = held.keep(store) => Ok(()),
        () = overtime => Ok(()),
        ended = attempts(config, store, held, trouble, stop) => ended,
    }
}

async fn attempts(
    config: &Config,
    store: &EventStore,
    held: &Held,
    trouble: &Trouble,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut pause = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
    loop {
        let reason = match attempt(config, store, held, trouble, stop).await {
            Ok(()) | Err(PumpError::LeaseLost) => return Ok(()),
            Err(PumpError::Fatal(error)) => return Err(error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(context = %store.context(), reason, "publishing failed; beginning again at the cursor");
        metrics::counter!("relay_restarts_total", "context" => store.context().to_string()).increment(1);
        trouble.set(reason);
        if tokio::time::timeout(pause.next(), stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}

async fn attempt(
    config: &Config,
    store: &EventStore,
    held: &Held,
    trouble: &Trouble,
    stop: &CancellationToken,
) -> Result<(), PumpError> {
    let cursor = store.relay_status().await?.cursor;
    let epoch = store.epoch().await?;
    let already_there = AlreadyThere::read(&config.bus, store, cursor, epoch).await?;
    tracing::info!(context = %store.context(), cursor, lease_epoch = held.lease().epoch, "relaying");
    trouble.clear();
    pump::run(config, store, held, (epoch.number, cursor), already_there, stop).await
}

impl From<TakeoverError> for PumpError {
    fn from(error: TakeoverError) -> Self {
        match error {
            TakeoverError::Fatal(error) => Self::Fatal(error),
            TakeoverError::Store(error) => Self::Store(error),
            TakeoverError::Tail(error) => Self::Tail(error),
        }
    }
}
