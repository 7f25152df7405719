//! Wakes requests that wait: with `?after=` for positions to be applied, with `?wait=` for a row to change.
//!
//! A waiting request costs nothing until a batch is committed that may concern it; the request that is woken then reads the
//! tables again. Changes that another process applies are found by one query for all waiters ([`watch_other_processes`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use event_log::{EventSet, Positions};
use tokio::sync::{Notify, watch};

use crate::Projector;
use crate::http::QueryError;
use crate::progress;

/// How often the tables are read for the waiters, while other processes write them too.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Connects the projections with the requests that wait for them. Clones are the same one.
#[derive(Clone)]
pub struct ChangeNotifier {
    waiting: Arc<Mutex<Waiting>>,
    applied: Arc<watch::Sender<Positions>>,
    /// Whether this process reads every partition, so that no other process applies anything.
    reads_all: Arc<AtomicBool>,
    waiter_came: Arc<Notify>,
    waiters_max: usize,
}

#[derive(Default)]
struct Waiting {
    /// By table, then by key.
    rows: HashMap<&'static str, HashMap<String, WaitedRow>>,
    waiters: usize,
}

#[derive(Default)]
struct WaitedRow {
    changed: Arc<Notify>,
    waiters: usize,
    /// The query for other processes' changes has found the row, and its waiters were woken: they are not woken each time.
    was_found: bool,
}

/// The row that a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotifyKey<'a> {
    pub table: &'static str,
    pub key: &'a str,
}

/// The limit of waiting requests is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{max} requests wait already, which is the limit")]
pub(crate) struct TooManyWaiters {
    pub max: usize,
}

/// One waiting request. It is counted until it is dropped.
pub(crate) struct Subscription {
    row: Option<(&'static str, String, Arc<Notify>)>,
    applied: watch::Receiver<Positions>,
    notifier: ChangeNotifier,
}

impl ChangeNotifier {
    /// At most `waiters_max` requests wait at a time.
    pub fn new(waiters_max: usize) -> Self {
        Self {
            waiting: Arc::default(),
            applied: Arc::new(watch::channel(Positions::default()).0),
            reads_all: Arc::default(),
            waiter_came: Arc::default(),
            waiters_max,
        }
    }

    /// For positions to be applied, and, where one is named, for a row to change.
    ///
    /// # Errors
    /// [`TooManyWaiters`]: reject the request.
    pub(crate) fn subscribe(&self, row: Option<NotifyKey<'_>>) -> Result<Subscription, TooManyWaiters> {
        let mut waiting = self.lock();
        if waiting.waiters >= self.waiters_max {
            return Err(TooManyWaiters { max: self.waiters_max });
        }
        waiting.waiters += 1;
        let row = row.map(|NotifyKey { table, key }| {
            let row = waiting.rows.entry(table).or_default().entry(key.to_owned()).or_default();
            row.waiters += 1;
            row.was_found = false;
            (table, key.to_owned(), Arc::clone(&row.changed))
        });
        self.waiter_came.notify_one();
        Ok(Subscription { row, applied: self.applied.subscribe(), notifier: self.clone() })
    }

    /// Wakes the requests that wait for one of these rows. To be called after the commit.
    pub(crate) fn notify(&self, table: &'static str, keys: &[String]) {
        let waiting = self.lock();
        let Some(rows) = waiting.rows.get(table) else { return };
        for row in keys.iter().filter_map(|key| rows.get(key)) {
            row.changed.notify_waiters();
        }
    }

    /// Wakes the requests that wait for positions up to these. To be called after the commit.
    pub(crate) fn notify_applied(&self, applied: &Positions) {
        self.applied.send_if_modified(|known| {
            let advances = !known.include(applied);
            known.merge(applied);
            advances
        });
    }

    /// The database is no further than this, whatever was notified before: it may have lost its last transactions.
    pub(crate) fn reset_applied(&self, applied: &Positions) {
        self.applied.send_replace(applied.clone());
    }

    /// Whether this process reads every partition.
    pub(crate) fn set_reads_all(&self, reads_all: bool) {
        self.reads_all.store(reads_all, Ordering::Relaxed);
    }

    fn awaited_keys(&self, table: &str) -> Vec<String> {
        let waiting = self.lock();
        let rows = waiting.rows.get(table).into_iter().flatten();
        rows.filter(|(_, row)| !row.was_found).map(|(key, _)| key.clone()).collect()
    }

    /// Wakes the requests that wait for rows that another process changed.
    fn notify_found(&self, table: &'static str, keys: &[String]) {
        self.notify(table, keys);
        let mut waiting = self.lock();
        let Some(rows) = waiting.rows.get_mut(table) else { return };
        for key in keys {
            if let Some(row) = rows.get_mut(key) {
                row.was_found = true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code that holds the lock can panic between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Notifies at each change of the row; none where none is named.
    pub fn row(&self) -> Option<Arc<Notify>> {
        self.row.as_ref().map(|(_, _, changed)| Arc::clone(changed))
    }

    /// Ignores what was applied up to now: [`Subscription::applied`] waits for what comes from here on.
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

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiting = self.notifier.lock();
        waiting.waiters -= 1;
        let Some((table, key, _)) = &self.row else { return };
        let Some(rows) = waiting.rows.get_mut(table) else { return };
        if let Some(row) = rows.get_mut(key) {
            row.waiters -= 1;
            if row.waiters == 0 {
                rows.remove(key);
            }
        }
        if rows.is_empty() {
            waiting.rows.remove(table);
        }
    }
}

/// Wakes waiters for what other processes apply: one query for all of them, while any wait and this process does not read every
/// partition. Never returns.
pub(crate) async fn watch_other_processes<E: EventSet>(
    pool: Pool,
    notifier: ChangeNotifier,
    projectors: Vec<Arc<dyn Projector<E>>>,
) {
    loop {
        if notifier.lock().waiters == 0 {
            notifier.waiter_came.notified().await;
        }
        if !notifier.reads_all.load(Ordering::Relaxed)
            && let Err(error) = poll(&pool, &notifier, &projectors).await
        {
            // The waiters read for themselves, too, and answer with the error.
            tracing::debug!(%error, "the read models cannot be read");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn poll<E: EventSet>(
    pool: &Pool,
    notifier: &ChangeNotifier,
    projectors: &[Arc<dyn Projector<E>>],
) -> Result<(), QueryError> {
    let client = pool.get().await?;
    notifier.notify_applied(&progress::read(&client).await?.applied);
    for projector in projectors {
        let (Some(condition), table) = (projector.wait_ends_when(), projector.table()) else { continue };
        let awaited = notifier.awaited_keys(table);
        if awaited.is_empty() {
            continue;
        }
        let key = projector.key_column();
        let select = format!("SELECT {key} FROM {table} WHERE {key} = ANY($1) AND ({condition})");
        let statement = client.prepare_cached(&select).await?;
        let rows = client.query(&statement, &[&awaited]).await?;
        let found: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        notifier.notify_found(table, &found?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use event_log::Positions;
    use futures::FutureExt;

    use super::{ChangeNotifier, NotifyKey, TooManyWaiters};

    const A: NotifyKey<'static> = NotifyKey { table: "cups", key: "a" };
    const B: NotifyKey<'static> = NotifyKey { table: "cups", key: "b" };

    fn positions(text: &str) -> Positions {
        text.parse().expect("positions")
    }

    #[tokio::test]
    async fn a_waiter_is_woken_for_its_own_row_alone() {
        let notifier = ChangeNotifier::new(10);
        let mine = notifier.subscribe(Some(A)).expect("below the limit");
        let other = notifier.subscribe(Some(B)).expect("below the limit");
        let rows = [&mine, &other].map(|subscription| subscription.row().expect("a row"));
        let mut changes = rows.each_ref().map(|row| Box::pin(row.notified()));
        for change in &mut changes {
            change.as_mut().enable();
        }
        notifier.notify(A.table, &["a".to_owned(), "nobody waits for this".to_owned()]);
        let woken = changes.map(|change| change.now_or_never().is_some());
        assert_eq!(woken, [true, false]);
    }

    #[tokio::test]
    async fn a_waiter_is_woken_when_all_of_its_positions_are_applied() {
        let notifier = ChangeNotifier::new(10);
        let mut subscription = notifier.subscribe(None).expect("below the limit");
        let wanted = positions("kitchen:5,garden:2");
        assert!(subscription.applied(&wanted).now_or_never().is_none());
        notifier.notify_applied(&positions("kitchen:7"));
        assert!(subscription.applied(&wanted).now_or_never().is_none());
        notifier.notify_applied(&positions("kitchen:6,garden:2"));
        assert!(subscription.applied(&wanted).now_or_never().is_some());
        assert!(subscription.applied(&wanted).now_or_never().is_none(), "nothing came since");
    }

    #[tokio::test]
    async fn what_the_database_has_lost_is_not_applied_any_more() {
        let notifier = ChangeNotifier::new(10);
        notifier.notify_applied(&positions("kitchen:7"));
        notifier.reset_applied(&positions("kitchen:5"));
        let mut subscription = notifier.subscribe(None).expect("below the limit");
        notifier.notify_applied(&positions("kitchen:6"));
        assert!(subscription.applied(&positions("kitchen:7")).now_or_never().is_none());
    }

    #[test]
    fn more_waiters_than_allowed_are_turned_away_until_one_leaves() {
        let notifier = ChangeNotifier::new(1);
        let first = notifier.subscribe(Some(A)).expect("below the limit");
        assert_eq!(notifier.subscribe(None).err(), Some(TooManyWaiters { max: 1 }));
        drop(first);
        assert!(notifier.subscribe(Some(B)).is_ok());
        assert!(notifier.lock().rows.is_empty(), "nobody is left behind");
    }
}
