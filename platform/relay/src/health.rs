//! The relay's health: the age of the oldest event that is not relayed, for readiness and metrics.
//!
//! A relay that stands by is healthy as long as any relay relays the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event_store::{EventStore, RelayStatus};
use runtime::Check;

use crate::Error;

const POLL: Duration = Duration::from_secs(1);
/// A relay is unhealthy if an event has waited longer than this.
const UNRELAYED_AGE_MAX: Duration = Duration::from_secs(10);

/// The reason why the relay does not relay at the moment.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub fn set(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks the health once a second; never returns.
pub(crate) async fn watch(store: &EventStore, holder: &str, check: &Check, trouble: &Trouble) {
    let context = store.context();
    loop {
        match store.relay_status().await {
            Ok(status) => {
                let age = status.oldest_unrelayed_age.unwrap_or_default();
                let holds = status.lease_is_held && status.holder == holder;
                metrics::gauge!("relay_lag_events", "context" => context.to_string())
                    .set(status.lag() as f64);
                metrics::gauge!("relay_oldest_unrelayed_seconds", "context" => context.to_string())
                    .set(age.as_secs_f64());
                metrics::gauge!("relay_lease_held", "context" => context.to_string()).set(if holds {
                    1.0
                } else {
                    0.0
                });
                match problem(store, &status, trouble).await {
                    Some(reason) => check.failing(reason),
                    None => check.ok(),
                }
            }
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The reason to be unhealthy, if there is one. A reconciliation that was killed still holds the lease, which a relay
/// that stands by would otherwise not notice.
async fn problem(store: &EventStore, status: &RelayStatus, trouble: &Trouble) -> Option<String> {
    match store.epoch().await {
        Ok(epoch) if epoch.is_reconciling => {
            Some(Error::Unreconciled { context: store.context() }.to_string())
        }
        Ok(_) => failure(status, trouble.get()),
        Err(error) => Some(error.to_string()),
    }
}

fn failure(status: &RelayStatus, trouble: Option<String>) -> Option<String> {
    if trouble.is_some() {
        return trouble;
    }
    if !status.lease_is_held {
        return Some("no relay holds the lease".to_owned());
    }
    let age = status.oldest_unrelayed_age.unwrap_or_default();
    (age > UNRELAYED_AGE_MAX).then(|| {
        format!(
            "{} events are not relayed; the oldest, position {}, has waited for {} s (held by {})",
            status.lag(),
            status.cursor + 1,
            age.as_secs(),
            status.holder
        )
    })
}
