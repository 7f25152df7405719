//! The relay of one context: it stands by until the lease is free, and relays while it holds the lease. A relay that
//! has stopped releases its lease.

use std::time::Instant;

use event_store::EventStore;
use fault::crash_point;
use runtime::Health;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::health::{Trouble, watch};
use crate::lease::HeldLease;
use crate::{Config, Error, term};

/// Relays one context until `stop`, whenever it can acquire the lease.
///
/// An error that no retry can fix.
pub(crate) async fn run(
    config: &Config,
    store: &EventStore,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let check = health.check(format!("relay {}", store.context()));
    let trouble = Trouble::default();
    let holder = format!("relay-{}-{}", std::process::id(), Uuid::now_v7().simple());
    tokio::select! {
        ended = stand_by_and_relay(config, store, &holder, &trouble, stop) => {
            if let Err(error) = &ended {
                check.failing(error.to_string());
                if error.wants_reconciliation() {
                    // Another attempt would fail the same way. The process stays up, so that its readiness tells the
                    // reason.
                    tracing::error!(context = %store.context(), %error, "relaying stopped");
                    stop.cancelled().await;
                }
            }
            ended
        }
        () = watch(store, &holder, &check, &trouble) => Ok(()),
    }
}

async fn stand_by_and_relay(
    config: &Config,
    store: &EventStore,
    holder: &str,
    trouble: &Trouble,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let lease_term = config.lease_term();
    while !stop.is_cancelled() {
        let asked_at = Instant::now();
        match store.acquire_lease(holder, lease_term).await {
            Ok(Some(lease)) => {
                crash_point!("relay::lease_taken");
                let context = store.context();
                tracing::info!(%context, lease_epoch = lease.epoch, "lease acquired");
                metrics::counter!("relay_leases_taken_total", "context" => context.to_string()).increment(1);
                let held = HeldLease::new(lease, lease_term, asked_at);
                let ended = term::run(config, store, &held, trouble, stop).await;
                if let Err(error) = store.release_lease(held.lease()).await {
                    tracing::warn!(%context, %error, "lease not released; it expires by itself");
                }
                ended?;
            }
            Ok(None) => trouble.clear(),
            Err(error) => trouble.set(error.to_string()),
        }
        let _ = tokio::time::timeout(lease_term / 5, stop.cancelled()).await;
    }
    Ok(())
}
