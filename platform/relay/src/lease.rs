//! The lease as its holder sees it: renewed in the background, and void in time.
//!
//! The database's clock decides who may have it. The holder counts on its own steady clock from before it asked, and
//! stops a fifth of the term early: it has stopped before anybody else can begin.
//!
//! Never: a publication without a look at [`Held::is_valid`]. Read next: `term.rs`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_store::{EventStore, Lease};

/// A lease that this process has taken. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Held {
    lease: Lease,
    term: Duration,
    valid_until: Arc<Mutex<Instant>>,
}

impl Held {
    /// `asked_at`: from before the database was asked.
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

    /// Renews until the lease is another's, or was not renewed in time; then returns.
    pub async fn keep(&self, store: &EventStore) {
        while self.is_valid() {
            tokio::time::sleep(self.term / 4).await;
            let asked_at = Instant::now();
            let answer =
                tokio::time::timeout_at(self.valid_until().into(), store.renew_lease(&self.lease, self.term));
            match answer.await {
                Ok(Ok(Some(_))) => self.extend(asked_at),
                Ok(Ok(None)) => {
                    tracing::warn!(context = %store.context(), "the lease is another's");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(context = %store.context(), %error, "the lease was not renewed");
                }
                Err(_) => break,
            }
        }
        tracing::warn!(context = %store.context(), "the lease ran out");
    }
}
