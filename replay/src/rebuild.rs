//! One projection, from an empty shadow to the swap.
//!
//! 1. In parallel, one task per context: everything that live has applied, page by page. Handlers of one row commute
//!    across contexts, which is what makes this right. 2. Again, for what live applied meanwhile, until it is little.
//! 3. In one snapshot: live's checkpoints, the last events up to exactly there, and the comparison; nobody waits for
//!    it. 4. In one short transaction: live stops, the last few events, the swap. Never: a comparison while live is
//!    stopped. Read next: [`crate::reach`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Pool, Transaction};
use events::{Context, Envelope, Position};
use fault::{crash_point, planted_bug};
use query_side::engine::Projector;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::IsolationLevel;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::Error;
use crate::compare::compare;
use crate::log::{Logs, Page, Reading};
use crate::progress::Progress;
use crate::reach::Reach;
use crate::report::{Comparison, Rebuilt};
use crate::shadow::{self, SHADOW, SWAP_ATTEMPTS_MAX, is_in_use};

/// Rounds of catching up before the comparison; each is shorter than the one before, unless live is faster than we are.
const ROUNDS_MAX: u32 = 20;
/// So little that it may be applied while live stands still.
const FEW_POSITIONS: i64 = 500;

/// Pages that are decoded and not folded yet.
const PAGES_AHEAD: usize = 2;
/// Events folded in one transaction, about, where no other task writes to the same rows. Where others do, each page has one
/// of its own: it locks its rows in the order of their keys, so that nobody waits in a circle.
const TRANSACTION_EVENTS: usize = 50_000;

/// A shadow on its way.
struct Shadow<'a> {
    projector: Arc<dyn Projector>,
    logs: &'a Logs,
    pool: &'a Pool,
    progress: Arc<Progress>,
    shutdown: &'a CancellationToken,
    /// What is in the table.
    reach: Reach,
    /// Where to read on in each context.
    after: BTreeMap<Context, Position>,
    events: u64,
}

/// Rebuilds the projection and compares it with live; then swaps them, unless `swaps` is false.
///
/// # Errors
/// [`Error`]; live is as it was.
pub async fn rebuild(
    projector: Arc<dyn Projector>,
    logs: &Logs,
    pool: &Pool,
    swaps: bool,
    shutdown: &CancellationToken,
) -> Result<Rebuilt, Error> {
    let begun = Instant::now();
    let table = projector.table();
    let indexes = shadow::create(pool, table).await?;
    let mut shadow = Shadow {
        reach: Reach::none(projector.contexts()),
        after: projector.contexts().iter().map(|context| (*context, 0)).collect(),
        progress: Arc::new(Progress::new(projector.name())),
        projector,
        logs,
        pool,
        shutdown,
        events: 0,
    };
    let ended = shadow.build(swaps, &indexes).await;
    shadow.progress.finish();
    // After a swap there is none left; after a check or an error it is of no use.
    let dropped = shadow::drop_table(pool, table).await;
    let (comparison, live_stopped) = ended?;
    dropped?;
    let projection = shadow.projector.name();
    Ok(Rebuilt { projection, events: shadow.events, elapsed: begun.elapsed(), comparison, live_stopped })
}

impl Shadow<'_> {
    /// `indexes`: the statements that make those that the table does not have yet.
    async fn build(
        &mut self,
        swaps: bool,
        indexes: &[String],
    ) -> Result<(Comparison, Option<Duration>), Error> {
        self.catch_up().await?;
        crash_point!("replay::shadow_filled");
        shadow::analyze(self.pool, self.projector.table()).await?;
        if !swaps {
            return Ok((self.compare().await?, None));
        }
        let pool = self.pool;
        let (comparison, ()) = tokio::try_join!(self.compare(), shadow::index(pool, indexes))?;
        self.catch_up().await?;
        for _ in 0..SWAP_ATTEMPTS_MAX {
            match self.swap().await {
                Err(Error::ReadModels(error)) if is_in_use(&error) => {
                    tracing::info!(
                        projection = self.projector.name(),
                        "the live table is in use; trying again"
                    );
                }
                stopped => return Ok((comparison, Some(stopped?))),
            }
        }
        Err(Error::InUse { attempts: SWAP_ATTEMPTS_MAX })
    }

    /// Until only a few positions are missing, or live is faster than we are.
    async fn catch_up(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            let live = self.live_reach().await?;
            let missing = self.positions_missing(&live);
            self.progress.expect(missing.unsigned_abs());
            self.advance_in_parallel(live).await?;
            if missing <= FEW_POSITIONS {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn live_reach(&self) -> Result<Reach, Error> {
        let mut client = self.pool.get().await?;
        let transaction = snapshot(&mut client).await?;
        Ok(Reach::of_live(&transaction, &*self.projector).await?)
    }

    fn positions_missing(&self, live: &Reach) -> i64 {
        self.after.iter().map(|(context, after)| (live.last(*context) - after).max(0)).sum()
    }

    fn reading(&self, context: Context, to: &Reach) -> Reading {
        Reading::new(self.logs.of(context), &self.reach, to, self.after[&context])
    }

    /// Two tasks per context, one that reads and one that folds.
    async fn advance_in_parallel(&mut self, to: Reach) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for context in self.after.keys() {
            let reading = self.reading(*context, &to);
            let (projector, pool) = (Arc::clone(&self.projector), self.pool.clone());
            let (progress, shutdown) = (Arc::clone(&self.progress), self.shutdown.clone());
            let context = *context;
            tasks.spawn(async move {
                let advanced = advance(reading, &*projector, &pool, &progress, &shutdown).await?;
                Ok::<_, Error>((context, advanced))
            });
        }
        while let Some(ended) = tasks.join_next().await {
            let (context, advanced) =
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            self.after.insert(context, advanced.after);
            self.events += advanced.events;
        }
        self.reach = to;
        Ok(())
    }

    /// One context after the other, in the given transaction. The caller takes over what is returned once it is
    /// committed.
    async fn advance_within(
        &self,
        transaction: &Transaction<'_>,
        to: &Reach,
    ) -> Result<Vec<(Context, Advanced)>, Error> {
        into_shadow(transaction).await?;
        let mut all = Vec::new();
        for context in self.after.keys() {
            let mut reading = self.reading(*context, to);
            let mut events = 0;
            while let Some(page) = reading.page().await? {
                apply(&*self.projector, transaction, &page.events).await?;
                events += page.events.len() as u64;
            }
            all.push((*context, Advanced { after: reading.resume_after(), events }));
        }
        Ok(all)
    }

    fn advanced(&mut self, to: Reach, all: Vec<(Context, Advanced)>) {
        for (context, advanced) in all {
            self.after.insert(context, advanced.after);
            self.events += advanced.events;
        }
        self.reach = to;
    }

    /// Live as it is in one snapshot, and the shadow brought to exactly there.
    async fn compare(&mut self) -> Result<Comparison, Error> {
        let mut client = self.pool.get().await?;
        let transaction =
            client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
        let live = Reach::of_live(&transaction, &*self.projector).await?;
        let advanced = self.advance_within(&transaction, &live).await?;
        let comparison = compare(&transaction, &*self.projector).await?;
        transaction.commit().await?;
        self.advanced(live, advanced);
        Ok(comparison)
    }

    /// Returns how long live writes stood still.
    async fn swap(&mut self) -> Result<Duration, Error> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        shadow::stop_live(&transaction).await?;
        let stopped = Instant::now();
        let live = Reach::of_live(&transaction, &*self.projector).await?;
        let advanced = match planted_bug!("replay::swapped_without_catching_up") {
            true => Vec::new(),
            false => self.advance_within(&transaction, &live).await?,
        };
        shadow::swap(&transaction, &*self.projector).await?;
        crash_point!("replay::swap_before_commit");
        transaction.commit().await?;
        crash_point!("replay::swapped");
        self.advanced(live, advanced);
        Ok(stopped.elapsed())
    }
}

/// What one context's reading did.
struct Advanced {
    after: Position,
    events: u64,
}

/// The next pages are read and decoded while the one before is folded and written.
async fn advance(
    reading: Reading,
    projector: &dyn Projector,
    pool: &Pool,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<Advanced, Error> {
    let (pages, mut read) = mpsc::channel(PAGES_AHEAD);
    let reader = AbortOnDropHandle::new(tokio::spawn(read_all(reading, pages)));
    let mut rebuild = projector.rebuild();
    let mut events = 0;
    let mut client = pool.get().await?;
    while let Some(first) = read.recv().await {
        let transaction = begin(&mut client).await?;
        let mut next = Some(first);
        let mut in_transaction = 0;
        while let Some(page) = next {
            if shutdown.is_cancelled() {
                return Err(Error::Stopped);
            }
            match &mut rebuild {
                Some(rebuild) => rebuild.fold(&transaction, &page.events, page.payload_bytes).await?,
                None => apply(projector, &transaction, &page.events).await?,
            }
            events += page.events.len() as u64;
            in_transaction += page.events.len();
            progress.add(page.positions);
            let goes_on = rebuild.is_some() && in_transaction < TRANSACTION_EVENTS;
            next = if goes_on { read.recv().await } else { None };
        }
        transaction.commit().await?;
    }
    let after = reader.await.expect("the reader does not panic")?;
    if let Some(mut rebuild) = rebuild {
        let transaction = begin(&mut client).await?;
        rebuild.flush(&transaction).await?;
        transaction.commit().await?;
    }
    Ok(Advanced { after, events })
}

/// Where the next reading goes on. The first error ends it; the pages before it were good.
async fn read_all(mut reading: Reading, pages: mpsc::Sender<Page>) -> Result<Position, Error> {
    while let Some(page) = reading.page().await? {
        if pages.send(page).await.is_err() {
            break; // whoever folds them has failed, and says why
        }
    }
    Ok(reading.resume_after())
}

/// What is lost with the server is built again: nothing waits for the disk. The swap does.
async fn begin(client: &mut Object) -> Result<Transaction<'_>, Error> {
    let transaction = client.transaction().await?;
    into_shadow(&transaction).await?;
    transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
    Ok(transaction)
}

async fn into_shadow(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(&format!("SET LOCAL search_path = {SHADOW}")).await
}

async fn apply(
    projector: &dyn Projector,
    transaction: &Transaction<'_>,
    events: &[Envelope],
) -> Result<(), tokio_postgres::Error> {
    let events: Vec<&Envelope> = events.iter().collect();
    projector.apply(transaction, &events).await.map(|_| ())
}

async fn snapshot(client: &mut deadpool_postgres::Object) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await
}
