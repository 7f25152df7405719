//! The life of one lease: take over, pump, and after a failure take over again, until the lease is lost or the relay
//! stops.
//!
//! After a failed delivery the relay drops the publisher with all unsent records and begins again at the cursor. Each
//! attempt reads the end of the topic again.

use std::time::Duration;

use event_store::EventStore;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::health::Trouble;
use crate::lease::HeldLease;
use crate::pump::{self, PumpError};
use crate::takeover::{AlreadyPublished, TakeoverError};
use crate::{Config, Error};

/// How long a stopping relay waits for Kafka's acknowledgements. The next relay finds out about the rest.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// Relays until the lease is lost, or `stop`.
///
/// An error that no retry can fix.
pub(crate) async fn run(
    config: &Config,
    store: &EventStore,
    held: &HeldLease,
    trouble: &Trouble,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        biased; // check the lease first
        () = held.keep(store) => Ok(()),
        () = drained => Ok(()),
        ended = attempts(config, store, held, trouble, stop) => ended,
    }
}

async fn attempts(
    config: &Config,
    store: &EventStore,
    held: &HeldLease,
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
    held: &HeldLease,
    trouble: &Trouble,
    stop: &CancellationToken,
) -> Result<(), PumpError> {
    let cursor = store.relay_status().await?.cursor;
    let epoch = store.epoch().await?;
    let already_published = AlreadyPublished::read(&config.bus, store, cursor, epoch).await?;
    tracing::info!(context = %store.context(), cursor, lease_epoch = held.lease().epoch, "relaying");
    trouble.clear();
    pump::run(config, store, held, (epoch.number, cursor), already_published, stop).await
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
