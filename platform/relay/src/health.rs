//! Whether events get through, by the age of the oldest that has not: for readiness and metrics.
//!
//! A relay that stands by is well as long as the log is relayed, by whomever.
//!
//! Never: well because the process runs. Read next: `platform/runtime/src/health.rs`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event_store::{EventStore, RelayStatus};
use runtime::Check;

use crate::Error;

const LOOK: Duration = Duration::from_secs(1);
/// An event that waits longer than this to be relayed is trouble.
const UNRELAYED_AGE_MAX: Duration = Duration::from_secs(10);

/// What keeps the relay from relaying now.
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

/// Looks once a second; never returns.
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
                match why_not(store, &status, trouble).await {
                    Some(reason) => check.failing(reason),
                    None => check.ok(),
                }
            }
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What is wrong. A reconciliation that was killed holds the lease still: whoever stands by would never see it otherwise.
async fn why_not(store: &EventStore, status: &RelayStatus, trouble: &Trouble) -> Option<String> {
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
        return Some("nobody holds the lease".to_owned());
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
