//! Who may be connected. When every seat is taken, a newcomer gets the seat of the client that has kept us waiting
//! longest: one that idles, or has not sent its whole request. So thousands of connections that ask nothing keep
//! nobody out.
//!
//! Never: a seat taken from a client whose whole request has come and whose answer it does not have yet.
//! Read next: `guard.rs`, which says when that is.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub(super) struct Seats {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// The clients that we wait for, by when the wait began.
#[derive(Default)]
struct Waiting {
    next_ticket: u64,
    by_ticket: BTreeMap<u64, Idler>,
}

struct Idler {
    slot: OwnedSemaphorePermit,
    leave: CancellationToken,
}

/// One connection's seat. It is given back when it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    hold: Mutex<Hold>,
    leave: CancellationToken,
}

enum Hold {
    /// The ticket of the wait.
    Waiting(u64),
    Serving(OwnedSemaphorePermit),
    /// Given to another.
    Lost,
}

impl Seats {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), waiting: Mutex::default() })
    }

    /// A free seat, or that of the client that has kept us waiting longest; none when all are being served.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let slot = self.free.clone().try_acquire_owned().ok().or_else(|| self.evict())?;
        let leave = CancellationToken::new();
        let ticket = self.wait(slot, leave.clone());
        Some(Arc::new(Seat { seats: self.clone(), hold: Mutex::new(Hold::Waiting(ticket)), leave }))
    }

    fn evict(&self) -> Option<OwnedSemaphorePermit> {
        let (_, idler) = lock(&self.waiting).by_ticket.pop_first()?;
        idler.leave.cancel();
        metrics::counter!("http_connections_evicted_total").increment(1);
        Some(idler.slot)
    }

    fn wait(&self, slot: OwnedSemaphorePermit, leave: CancellationToken) -> u64 {
        let mut waiting = lock(&self.waiting);
        let ticket = waiting.next_ticket;
        waiting.next_ticket += 1;
        waiting.by_ticket.insert(ticket, Idler { slot, leave });
        ticket
    }
}

impl Seat {
    /// The whole request is there: from here on the seat is the client's until it has its answer. False when the seat
    /// is another's already; then nothing may be done for the client.
    pub(super) fn occupy(&self) -> bool {
        let mut hold = lock(&self.hold);
        if let Hold::Waiting(ticket) = *hold {
            let idler = lock(&self.seats.waiting).by_ticket.remove(&ticket);
            *hold = idler.map_or(Hold::Lost, |idler| Hold::Serving(idler.slot));
        }
        matches!(*hold, Hold::Serving(_))
    }

    /// The answer is given: we wait for the next request.
    fn vacate(&self) {
        let mut hold = lock(&self.hold);
        *hold = match std::mem::replace(&mut *hold, Hold::Lost) {
            Hold::Serving(slot) => Hold::Waiting(self.seats.wait(slot, self.leave.clone())),
            unchanged => unchanged,
        };
    }

    /// Resolves when the seat was given to another.
    pub(super) async fn lost(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Hold::Waiting(ticket) = *lock(&self.hold) {
            lock(&self.seats.waiting).by_ticket.remove(&ticket);
        }
    }
}

/// No code panics with one of these locks held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that vacates the seat when it was handed over.
struct Seated {
    body: Body,
    seat: Arc<Seat>,
}

/// `body`, with which the client's request is answered.
pub(super) fn seated(body: Body, seat: Arc<Seat>) -> Body {
    Body::new(Seated { body, seat })
}

impl HttpBody for Seated {
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

impl Drop for Seated {
    fn drop(&mut self) {
        self.seat.vacate();
    }
}

#[cfg(test)]
mod tests {
    use super::Seats;

    #[test]
    fn a_newcomer_gets_the_seat_of_who_keeps_us_waiting_longest() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take().expect("a free seat"), seats.take().expect("a free seat"));
        assert!(first.occupy());
        first.vacate();
        let third = seats.take().expect("the seat of the second, which has never asked anything");
        assert!(!second.occupy(), "it is another's");
        assert!(first.occupy() && third.occupy(), "theirs are not");
    }

    #[test]
    fn nobody_who_is_served_loses_the_seat() {
        let seats = Seats::new(1);
        let served = seats.take().expect("a free seat");
        assert!(served.occupy());
        assert!(seats.take().is_none());
        drop(served);
        let next = seats.take().expect("the seat is free again");
        drop(next);
        assert!(seats.take().is_some(), "a seat that was only waited on is free again too");
    }

    #[test]
    fn a_seat_that_was_lost_and_is_dropped_frees_nothing() {
        let seats = Seats::new(1);
        let lost = seats.take().expect("a free seat");
        let heir = seats.take().expect("the seat of the one before");
        assert!(heir.occupy());
        drop(lost);
        assert!(seats.take().is_none());
    }
}
