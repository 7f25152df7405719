//! Who waits for a row to change: requests with `?after=` or `?wait=`, woken when a batch that touches their row is
//! committed.
//!
//! A request is woken for its own row alone, so a thousand that wait cost nothing until their row moves. Never: an
//! answer; the one that is woken looks at the table. What another process applies is not heard here, which is why a
//! waiter also looks now and then by itself. Read next: `http/wait.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A row: projection and key.
type Place = (&'static str, String);

/// The meeting place of projectors and waiting requests. Clones are the same one.
#[derive(Clone)]
pub struct Arrivals {
    waiting: Arc<Mutex<Waiting>>,
    waiters_max: usize,
}

#[derive(Default)]
struct Waiting {
    rows: HashMap<Place, Row>,
    waiters: usize,
}

#[derive(Default)]
struct Row {
    changed: Arc<Notify>,
    waiters: usize,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{max} requests wait already, which is the most that may")]
pub struct TooManyWaiters {
    pub max: usize,
}

/// One who waits for a row. Leaves when dropped.
pub struct Watch {
    place: Place,
    changed: Arc<Notify>,
    arrivals: Arrivals,
}

impl Arrivals {
    pub fn new(waiters_max: usize) -> Self {
        Self { waiting: Arc::default(), waiters_max }
    }

    /// # Errors
    /// [`TooManyWaiters`]: turn the request away.
    pub fn watch(&self, projection: &'static str, key: &str) -> Result<Watch, TooManyWaiters> {
        let mut waiting = self.lock();
        if waiting.waiters >= self.waiters_max {
            return Err(TooManyWaiters { max: self.waiters_max });
        }
        waiting.waiters += 1;
        let place = (projection, key.to_owned());
        let row = waiting.rows.entry(place.clone()).or_default();
        row.waiters += 1;
        Ok(Watch { place, changed: Arc::clone(&row.changed), arrivals: self.clone() })
    }

    /// Wakes everyone who waits for one of these rows. To be called after the commit.
    pub fn announce(&self, projection: &'static str, keys: Vec<String>) {
        let waiting = self.lock();
        if waiting.rows.is_empty() {
            return;
        }
        for key in keys {
            if let Some(row) = waiting.rows.get(&(projection, key)) {
                row.changed.notify_waiters();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code that holds the lock can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Resolves at the next announcement. One that comes before this is polled counts, if [`Notified::enable`] was
    /// called before.
    ///
    /// [`Notified::enable`]: tokio::sync::futures::Notified::enable
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.arrivals.lock();
        waiting.waiters -= 1;
        if let Some(row) = waiting.rows.get_mut(&self.place) {
            row.waiters -= 1;
            if row.waiters == 0 {
                waiting.rows.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, TooManyWaiters};

    #[tokio::test]
    async fn a_waiter_is_woken_for_its_own_row_alone() {
        let arrivals = Arrivals::new(10);
        let mine = arrivals.watch("orders", "a").expect("there is room");
        let other = arrivals.watch("orders", "b").expect("there is room");
        let same_key_elsewhere = arrivals.watch("payments", "a").expect("there is room");
        let mut changes = [&mine, &other, &same_key_elsewhere].map(|watch| Box::pin(watch.changed()));
        for change in &mut changes {
            change.as_mut().enable();
        }
        arrivals.announce("orders", vec!["a".to_owned(), "nobody waits for this".to_owned()]);
        let woken = changes.map(|change| futures::FutureExt::now_or_never(change).is_some());
        assert_eq!(woken, [true, false, false]);
    }

    #[test]
    fn more_waiters_than_allowed_are_turned_away_until_one_leaves() {
        let arrivals = Arrivals::new(1);
        let first = arrivals.watch("orders", "a").expect("there is room");
        assert_eq!(arrivals.watch("orders", "b").err(), Some(TooManyWaiters { max: 1 }));
        drop(first);
        assert!(arrivals.watch("orders", "b").is_ok());
        assert!(arrivals.lock().rows.is_empty(), "nobody is left behind");
    }
}
