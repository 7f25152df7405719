//! The lease as its holder sees it: renewed in the background, and given up in time.
//!
//! The database's clock decides who may acquire it. The holder measures with its own monotonic clock, from before each
//! request, and stops a fifth of the term early: it has stopped before another relay can start. It checks
//! [`HeldLease::is_valid`] before each publication.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_store::{EventStore, Lease};

/// A lease that this process holds. Clones share the same lease.
#[derive(Clone)]
pub(crate) struct HeldLease {
    lease: Lease,
    term: Duration,
    valid_until: Arc<Mutex<Instant>>,
}

impl HeldLease {
    /// `asked_at`: a time before the request to the database.
    pub fn new(lease: Lease, term: Duration, asked_at: Instant) -> Self {
        let held = Self { lease, term, valid_until: Arc::new(Mutex::new(asked_at)) };
        held.extend(asked_at);
        held
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub fn is_valid(&self) -> bool {
        Instant::now() < self.valid_until()
    }

    fn valid_until(&self) -> Instant {
        *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, asked_at: Instant) {
        *self.valid_until.lock().unwrap_or_else(PoisonError::into_inner) = asked_at + self.term * 4 / 5;
    }

    /// Renews the lease. Returns once another relay has it, or it was not renewed in time.
    pub async fn keep(&self, store: &EventStore) {
        while self.is_valid() {
            tokio::time::sleep(self.term / 4).await;
            let asked_at = Instant::now();
            let answer =
                tokio::time::timeout_at(self.valid_until().into(), store.renew_lease(&self.lease, self.term));
            match answer.await {
                Ok(Ok(Some(_))) => self.extend(asked_at),
                Ok(Ok(None)) => {
                    tracing::warn!(context = %store.context(), "another relay has the lease");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(context = %store.context(), %error, "lease not renewed");
                }
                Err(_) => break,
            }
        }
        tracing::warn!(context = %store.context(), "the lease expired");
    }
}
