//! Who waits: requests with `?after=` for positions to be applied, requests with `?wait=settled` for an order to change.
//! Both are woken when a batch is committed that may concern them.
//!
//! A request that waits costs nothing until then. Never: an answer; the one that is woken looks at the tables. What another
//! process applies is found by one look for all who wait ([`follow_others`]). Read next: `http/wait.rs`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use events::Positions;
use tokio::sync::{Notify, watch};

use crate::http::failure::ReadError;
use crate::progress;

/// How often the tables are looked at for those who wait, while other processes write them too.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The meeting place of projections and waiting requests. Clones are the same one.
#[derive(Clone)]
pub struct Arrivals {
    waiting: Arc<Mutex<Waiting>>,
    applied: Arc<watch::Sender<Positions>>,
    /// Whether this process reads every partition, so that nothing is applied that it does not hear of.
    reads_all: Arc<AtomicBool>,
    somebody_waits: Arc<Notify>,
    waiters_max: usize,
}

#[derive(Default)]
struct Waiting {
    orders: HashMap<String, Order>,
    waiters: usize,
}

#[derive(Default)]
struct Order {
    /// By the projection whose row is waited for, as its consumer is called.
    changed: HashMap<String, Arc<Notify>>,
    waiters: usize,
    /// It was found settled, and all who wait were woken: who waits on is not woken each time.
    was_found: bool,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{max} requests wait already, which is the most that may")]
pub struct TooManyWaiters {
    pub max: usize,
}

/// One who waits. Leaves when dropped.
pub struct Watch {
    order: Option<(String, Arc<Notify>)>,
    applied: watch::Receiver<Positions>,
    arrivals: Arrivals,
}

impl Arrivals {
    pub fn new(waiters_max: usize) -> Self {
        Self {
            waiting: Arc::default(),
            applied: Arc::new(watch::channel(Positions::default()).0),
            reads_all: Arc::default(),
            somebody_waits: Arc::default(),
            waiters_max,
        }
    }

    /// For positions to be applied, and, where one is named, for an order's row to change: the projection's consumer, and the
    /// order's id.
    ///
    /// # Errors
    /// [`TooManyWaiters`]: turn the request away.
    pub fn watch(&self, order: Option<(&str, &str)>) -> Result<Watch, TooManyWaiters> {
        let mut waiting = self.lock();
        if waiting.waiters >= self.waiters_max {
            return Err(TooManyWaiters { max: self.waiters_max });
        }
        waiting.waiters += 1;
        let order = order.map(|(consumer, id)| {
            let order = waiting.orders.entry(id.to_owned()).or_default();
            order.waiters += 1;
            order.was_found = false;
            let changed = order.changed.entry(consumer.to_owned()).or_default();
            (id.to_owned(), Arc::clone(changed))
        });
        self.somebody_waits.notify_one();
        Ok(Watch { order, applied: self.applied.subscribe(), arrivals: self.clone() })
    }

    /// Wakes everyone who waits for the projection's row of one of these orders. To be called after the commit.
    pub fn changed(&self, consumer: &str, order_ids: &[String]) {
        let waiting = self.lock();
        if waiting.orders.is_empty() {
            return;
        }
        for id in order_ids {
            if let Some(changed) = waiting.orders.get(id).and_then(|order| order.changed.get(consumer)) {
                changed.notify_waiters();
            }
        }
    }

    /// Wakes everyone who waits for positions up to these. To be called after the commit.
    pub fn applied(&self, applied: &Positions) {
        self.applied.send_if_modified(|known| {
            let advances = !known.include(applied);
            known.merge(applied);
            advances
        });
    }

    /// The database has come no further than this, whatever was said before: it may have lost its last transactions.
    pub fn begin_at(&self, applied: &Positions) {
        self.applied.send_replace(applied.clone());
    }

    /// Whether this process reads every partition.
    pub fn reads_all(&self, reads_all: bool) {
        self.reads_all.store(reads_all, Ordering::Relaxed);
    }

    fn awaited_orders(&self) -> Vec<String> {
        let waiting = self.lock();
        waiting.orders.iter().filter(|(_, order)| !order.was_found).map(|(id, _)| id.clone()).collect()
    }

    /// What another process has settled.
    fn found(&self, order_ids: &[String]) {
        let mut waiting = self.lock();
        for id in order_ids {
            if let Some(order) = waiting.orders.get_mut(id) {
                order.changed.values().for_each(|changed| changed.notify_waiters());
                order.was_found = true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code that holds the lock can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Notifies at each change of the order; none where none is named.
    pub fn order(&self) -> Option<Arc<Notify>> {
        self.order.as_ref().map(|(_, changed)| Arc::clone(changed))
    }

    /// Forgets what was applied up to now: [`Watch::applied`] waits for what comes from here on.
    pub fn begin(&mut self) {
        self.applied.mark_unchanged();
    }

    /// Resolves when more has been applied, and all of these positions are.
    pub async fn applied(&mut self, wanted: &Positions) {
        // The sender lives as long as we do.
        while self.applied.changed().await.is_ok() {
            if self.applied.borrow_and_update().include(wanted) {
                return;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.arrivals.lock();
        waiting.waiters -= 1;
        if let Some((id, _)) = &self.order
            && let Some(order) = waiting.orders.get_mut(id)
        {
            order.waiters -= 1;
            if order.waiters == 0 {
                waiting.orders.remove(id);
            }
        }
    }
}

/// Wakes those who wait for what other processes apply: one look for all of them, while any wait and this process does not
/// read every partition. Never returns.
pub(crate) async fn follow_others(pool: Pool, arrivals: Arrivals) {
    loop {
        if arrivals.lock().waiters == 0 {
            arrivals.somebody_waits.notified().await;
        }
        if !arrivals.reads_all.load(Ordering::Relaxed)
            && let Err(error) = look(&pool, &arrivals).await
        {
            // Those who wait look for themselves, too, and are told.
            tracing::debug!(%error, "the read models cannot be looked at");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A superset will do: who is woken in vain looks and waits on.
const SETTLED_AMONG: &str = "
SELECT order_id FROM orders WHERE order_id = ANY($1) AND status NOT IN ('placed', 'cancelling')
UNION SELECT order_id FROM processes WHERE order_id = ANY($1) AND state NOT IN ('running', 'compensating')";

async fn look(pool: &Pool, arrivals: &Arrivals) -> Result<(), ReadError> {
    let client = pool.get().await?;
    arrivals.applied(&progress::read(&client).await?.applied);
    let awaited = arrivals.awaited_orders();
    if !awaited.is_empty() {
        let statement = client.prepare_cached(SETTLED_AMONG).await?;
        let rows = client.query(&statement, &[&awaited]).await?;
        let ids: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        arrivals.found(&ids?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use events::Positions;
    use futures::FutureExt;

    use super::{Arrivals, TooManyWaiters};

    fn positions(text: &str) -> Positions {
        text.parse().expect("positions")
    }

    #[tokio::test]
    async fn a_waiter_is_woken_for_its_own_row_of_its_own_order_alone() {
        let arrivals = Arrivals::new(10);
        let mine = arrivals.watch(Some(("orders", "a"))).expect("there is room");
        let other = arrivals.watch(Some(("orders", "b"))).expect("there is room");
        let process = arrivals.watch(Some(("processes", "a"))).expect("there is room");
        let orders = [&mine, &other, &process].map(|watch| watch.order().expect("an order"));
        let mut changes = orders.each_ref().map(|order| Box::pin(order.notified()));
        for change in &mut changes {
            change.as_mut().enable();
        }
        arrivals.changed("orders", &["a".to_owned(), "nobody waits for this".to_owned()]);
        let woken = changes.map(|change| change.now_or_never().is_some());
        assert_eq!(woken, [true, false, false]);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_when_all_of_its_positions_are_applied() {
        let arrivals = Arrivals::new(10);
        let mut watch = arrivals.watch(None).expect("there is room");
        let wanted = positions("orders:5,inventory:2");
        assert!(watch.applied(&wanted).now_or_never().is_none());
        arrivals.applied(&positions("orders:7"));
        assert!(watch.applied(&wanted).now_or_never().is_none());
        arrivals.applied(&positions("orders:6,inventory:2"));
        assert!(watch.applied(&wanted).now_or_never().is_some());
        assert!(watch.applied(&wanted).now_or_never().is_none(), "nothing came since");
    }

    #[tokio::test]
    async fn what_the_database_has_lost_is_not_applied_any_more() {
        let arrivals = Arrivals::new(10);
        arrivals.applied(&positions("orders:7"));
        arrivals.begin_at(&positions("orders:5"));
        let mut watch = arrivals.watch(None).expect("there is room");
        arrivals.applied(&positions("orders:6"));
        assert!(watch.applied(&positions("orders:7")).now_or_never().is_none());
    }

    #[test]
    fn more_waiters_than_allowed_are_turned_away_until_one_leaves() {
        let arrivals = Arrivals::new(1);
        let first = arrivals.watch(Some(("orders", "a"))).expect("there is room");
        assert_eq!(arrivals.watch(None).err(), Some(TooManyWaiters { max: 1 }));
        drop(first);
        assert!(arrivals.watch(Some(("orders", "b"))).is_ok());
        assert!(arrivals.lock().orders.is_empty(), "nobody is left behind");
    }
}
