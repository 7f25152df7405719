//! A table beside the live one, on its way to where live stands: the same whether it was empty or is one that was kept.
//!
//! In parallel, one task per context: everything that live has applied and the table has not, page by page. Handlers of one
//! row commute across contexts, which is what makes this right. Again, for what live applied meanwhile, until it is little.
//! At last, in one short transaction: live stops, the last few events, the swap. Never: a swap of a table that is not where
//! live stands. Read next: [`crate::reach`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Pool, Transaction};
use events::{Context, Envelope, Position};
use fault::{crash_point, mutant};
use query_side::engine::Projector;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::IsolationLevel;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::Error;
use crate::kept::{self, KEPT};
use crate::log::{Logs, Page, Reading};
use crate::progress::Progress;
use crate::reach::Reach;
use crate::shadow::{self, SHADOW, is_in_use};

/// Rounds of catching up; each is shorter than the one before, unless live is faster than we are.
const ROUNDS_MAX: u32 = 20;
/// So little that it may be applied while live stands still.
const FEW_POSITIONS: i64 = 500;
const SWAP_ATTEMPTS_MAX: u32 = 10;

/// Pages that are decoded and not folded yet.
const PAGES_AHEAD: usize = 2;
/// Events folded in one transaction, about, where no other task writes to the same rows. Where others do, each page has one
/// of its own: it locks its rows in the order of their keys, so that nobody waits in a circle.
const TRANSACTION_EVENTS: usize = 50_000;

/// Where the table lies, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Made empty, for this: rows are kept in memory while their events follow one another.
    Empty,
    /// The table that the last swap replaced. Another rollback may have been killed while it caught up, so events that are
    /// noted as missing may be there: each page is applied as live applies it, which a row that knows an event already
    /// survives.
    Kept,
}

impl Origin {
    fn schema(self) -> &'static str {
        match self {
            Self::Empty => SHADOW,
            Self::Kept => KEPT,
        }
    }
}

/// A table on its way.
pub struct Shadow<'a> {
    pub projector: Arc<dyn Projector>,
    logs: &'a Logs,
    pub pool: &'a Pool,
    pub progress: Arc<Progress>,
    shutdown: &'a CancellationToken,
    origin: Origin,
    /// What is in the table.
    reach: Reach,
    /// Where to read on in each context.
    after: BTreeMap<Context, Position>,
    /// So many were applied.
    pub events: u64,
}

impl<'a> Shadow<'a> {
    pub fn new(
        projector: Arc<dyn Projector>,
        logs: &'a Logs,
        pool: &'a Pool,
        shutdown: &'a CancellationToken,
        (origin, reach): (Origin, Reach),
    ) -> Self {
        let after = projector.contexts().iter().map(|context| (*context, reach.first(*context))).collect();
        let progress = Arc::new(Progress::new(projector.name()));
        Self { projector, logs, pool, progress, shutdown, origin, reach, after, events: 0 }
    }

    /// Until only a few positions are missing, or live is faster than we are.
    ///
    /// # Errors
    /// [`Error`]; what was committed stays.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
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
            let (context, origin) = (*context, self.origin);
            tasks.spawn(async move {
                let advanced = advance(reading, origin, &*projector, &pool, &progress, &shutdown).await?;
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

    /// One context after the other, in the given transaction. Once that is committed, the caller hands what is returned to
    /// [`Self::advanced`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn advance_within(
        &self,
        transaction: &Transaction<'_>,
        to: &Reach,
    ) -> Result<Vec<(Context, Advanced)>, Error> {
        into(self.origin, transaction).await?;
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

    pub fn advanced(&mut self, to: Reach, all: Vec<(Context, Advanced)>) {
        for (context, advanced) in all {
            self.after.insert(context, advanced.after);
            self.events += advanced.events;
        }
        self.reach = to;
    }

    /// Returns how long live writes stood still. Where the live table is in use, it is tried again.
    ///
    /// # Errors
    /// [`Error::InUse`], and whatever else keeps it from being swapped; live is as it was.
    pub async fn swap(&mut self) -> Result<Duration, Error> {
        for _ in 0..SWAP_ATTEMPTS_MAX {
            match self.try_swap().await {
                Err(Error::ReadModels(error)) if is_in_use(&error) => {
                    tracing::info!(
                        projection = self.projector.name(),
                        "the live table is in use; trying again"
                    );
                }
                stopped => return stopped,
            }
        }
        Err(Error::InUse { attempts: SWAP_ATTEMPTS_MAX })
    }

    async fn try_swap(&mut self) -> Result<Duration, Error> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        shadow::stop_live(&transaction).await?;
        let stopped = Instant::now();
        let live = Reach::of_live(&transaction, &*self.projector).await?;
        let advanced = match mutant!("replay::swapped_without_catching_up") {
            true => Vec::new(),
            false => self.advance_within(&transaction, &live).await?,
        };
        if self.origin == Origin::Kept {
            kept::take(&transaction, self.projector.table()).await?;
        }
        shadow::swap(&transaction, &*self.projector, &live).await?;
        crash_point!("replay::swap_before_commit");
        transaction.commit().await?;
        crash_point!("replay::swapped");
        self.advanced(live, advanced);
        Ok(stopped.elapsed())
    }
}

/// What one context's reading did.
pub struct Advanced {
    after: Position,
    events: u64,
}

/// The next pages are read and decoded while the one before is folded and written.
async fn advance(
    reading: Reading,
    origin: Origin,
    projector: &dyn Projector,
    pool: &Pool,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<Advanced, Error> {
    let (pages, mut read) = mpsc::channel(PAGES_AHEAD);
    let reader = AbortOnDropHandle::new(tokio::spawn(read_all(reading, pages)));
    let mut rebuild = if origin == Origin::Empty { projector.rebuild() } else { None };
    let mut events = 0;
    let mut client = pool.get().await?;
    while let Some(first) = read.recv().await {
        let transaction = begin(origin, &mut client).await?;
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
        let transaction = begin(origin, &mut client).await?;
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

/// What is lost with the server is applied again: nothing waits for the disk. The swap does.
async fn begin(origin: Origin, client: &mut Object) -> Result<Transaction<'_>, Error> {
    let transaction = client.transaction().await?;
    into(origin, &transaction).await?;
    transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
    Ok(transaction)
}

async fn into(origin: Origin, transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(&format!("SET LOCAL search_path = {}", origin.schema())).await
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
