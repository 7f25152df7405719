//! Limits the open connections of a listener. When the limit is reached, a new connection evicts the one that has been
//! idle longest, so that thousands of idle connections keep no client out.
//!
//! A connection is idle from its start, or its last response, until a whole request has arrived. A
//! connection whose request is being processed is never evicted.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// One listener may use a third of the files that the process may open. The rest is for the database and others.
const OPEN_FILES_DIVISOR: u64 = 3;

/// Raises the process's soft limit of open files to the hard limit, as the Go runtime does, and caps `wanted` to a share
/// of it. The soft limit is usually 1,024, which is fewer than the connections of one busy listener.
pub(super) fn connections_allowed(wanted: usize) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(1024, |(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard));
    let allowed = wanted.min(usize::try_from(files / OPEN_FILES_DIVISOR).unwrap_or(usize::MAX));
    if allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            open_files_max = files,
            "fewer connections than configured: raise ulimit -n"
        );
    }
    allowed
}

pub(super) struct ConnectionLimiter {
    free: Arc<Semaphore>,
    idle: Mutex<IdleConnections>,
}

/// The idle connections, longest first.
#[derive(Default)]
struct IdleConnections {
    next_number: u64,
    by_number: BTreeMap<u64, IdleConnection>,
}

struct IdleConnection {
    permit: OwnedSemaphorePermit,
    evict: CancellationToken,
}

/// The slot of one connection. Dropping it frees it.
pub(super) struct ConnectionSlot {
    limiter: Arc<ConnectionLimiter>,
    state: Mutex<SlotState>,
    evict: CancellationToken,
}

enum SlotState {
    /// With its number among the idle connections.
    Idle(u64),
    Active(OwnedSemaphorePermit),
    Evicted,
}

impl ConnectionLimiter {
    pub(super) fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(connections_max)), idle: Mutex::default() })
    }

    /// A free slot, or the slot of the connection that has been idle longest. None when all connections are active.
    pub(super) fn acquire(self: &Arc<Self>) -> Option<Arc<ConnectionSlot>> {
        let permit = self.free.clone().try_acquire_owned().ok().or_else(|| self.evict_longest_idle())?;
        let evict = CancellationToken::new();
        let number = self.add_idle(permit, evict.clone());
        let state = Mutex::new(SlotState::Idle(number));
        Some(Arc::new(ConnectionSlot { limiter: self.clone(), state, evict }))
    }

    fn evict_longest_idle(&self) -> Option<OwnedSemaphorePermit> {
        let (_, idle) = lock(&self.idle).by_number.pop_first()?;
        idle.evict.cancel();
        metrics::counter!("http_connections_evicted_total").increment(1);
        Some(idle.permit)
    }

    fn add_idle(&self, permit: OwnedSemaphorePermit, evict: CancellationToken) -> u64 {
        let mut idle = lock(&self.idle);
        let number = idle.next_number;
        idle.next_number += 1;
        idle.by_number.insert(number, IdleConnection { permit, evict });
        number
    }
}

impl ConnectionSlot {
    /// A whole request has arrived. The connection cannot be evicted until [`Self::end`]. False when it was evicted
    /// already: the request must not be processed.
    pub(super) fn begin(&self) -> bool {
        let mut state = lock(&self.state);
        if let SlotState::Idle(number) = *state {
            let idle = lock(&self.limiter.idle).by_number.remove(&number);
            *state = idle.map_or(SlotState::Evicted, |idle| SlotState::Active(idle.permit));
        }
        matches!(*state, SlotState::Active(_))
    }

    /// The response was sent. The connection is idle again.
    fn end(&self) {
        let mut state = lock(&self.state);
        *state = match std::mem::replace(&mut *state, SlotState::Evicted) {
            SlotState::Active(permit) => SlotState::Idle(self.limiter.add_idle(permit, self.evict.clone())),
            unchanged => unchanged,
        };
    }

    /// Resolves when the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evict.cancelled().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let SlotState::Idle(number) = *lock(&self.state) {
            lock(&self.limiter.idle).by_number.remove(&number);
        }
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A response body that ends the slot's request when it is dropped.
struct ResponseBody {
    body: Body,
    slot: Arc<ConnectionSlot>,
}

/// `body`, whose end makes the connection idle again.
pub(super) fn end_with(body: Body, slot: Arc<ConnectionSlot>) -> Body {
    Body::new(ResponseBody { body, slot })
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.slot.end();
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionLimiter;

    #[test]
    fn a_new_connection_gets_the_slot_of_the_one_that_has_been_idle_longest() {
        let limiter = ConnectionLimiter::new(2);
        let (first, second) =
            (limiter.acquire().expect("a free slot"), limiter.acquire().expect("a free slot"));
        assert!(first.begin());
        first.end();
        let third = limiter.acquire().expect("the slot of the second, which has never sent a request");
        assert!(!second.begin(), "it was evicted");
        assert!(first.begin() && third.begin(), "these were not");
    }

    #[test]
    fn an_active_connection_is_not_evicted() {
        let limiter = ConnectionLimiter::new(1);
        let active = limiter.acquire().expect("a free slot");
        assert!(active.begin());
        assert!(limiter.acquire().is_none());
        drop(active);
        let next = limiter.acquire().expect("the slot is free again");
        drop(next);
        assert!(limiter.acquire().is_some(), "the slot of an idle connection is free again too");
    }

    #[test]
    fn dropping_an_evicted_slot_frees_nothing() {
        let limiter = ConnectionLimiter::new(1);
        let evicted = limiter.acquire().expect("a free slot");
        let successor = limiter.acquire().expect("the slot of the first");
        assert!(successor.begin());
        drop(evicted);
        assert!(limiter.acquire().is_none());
    }
}
