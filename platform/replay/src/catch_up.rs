//! Catches a table up with live: the same whether it was empty or is the previous one.
//!
//! In parallel, one task per context applies everything that live has applied and the table has not, page by page. Events of one row
//! commute across contexts, which is what makes this right. Then again, for what live applied meanwhile, until it is little. At last,
//! in one short transaction: live stops, the last few events, the swap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Pool, Transaction};
use event_log::{ContextName, Envelope, EventSet, Position};
use fault::{crash_point, mutant};
use projections::Projector;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::IsolationLevel;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::applied_positions::AppliedPositions;
use crate::log::{Page, Reading};
use crate::progress::Progress;
use crate::schemas::Schemas;
use crate::shadow::{self, is_in_use};
use crate::{Error, Replay, previous};

/// Rounds of catching up; each is shorter than the one before, unless live is faster than we are.
const ROUNDS_MAX: u32 = 20;
/// So few that they may be applied while live is stopped.
const FEW_POSITIONS: i64 = 500;
const SWAP_ATTEMPTS_MAX: u32 = 10;

/// Pages that are decoded and not folded yet.
const PAGES_AHEAD: usize = 2;
/// Events folded in one transaction, about, where no other task writes to the same rows. Where others do, each page has a
/// transaction of its own, which locks its rows in the order of their keys: no deadlock.
const TRANSACTION_EVENTS: usize = 50_000;

/// Where the table comes from, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Made empty, for this: rows are kept in memory while their events follow one another.
    Empty,
    /// The table that the last swap replaced. A rollback that was killed may have applied events that are recorded as missing:
    /// each page is applied as live applies it, which skips an event that a row has applied already.
    Previous,
}

impl Origin {
    fn schema(self, schemas: &Schemas) -> &str {
        match self {
            Self::Empty => &schemas.shadow,
            Self::Previous => &schemas.previous,
        }
    }
}

/// A table that is to become the live one.
pub struct Shadow<'a, E: EventSet> {
    pub projector: Arc<dyn Projector<E>>,
    pub replay: &'a Replay<'a, E>,
    pub progress: Arc<Progress>,
    origin: Origin,
    /// What is in the table.
    applied: AppliedPositions,
    /// Where to read on in each context.
    after: BTreeMap<ContextName, Position>,
    /// How many events were applied.
    pub events: u64,
}

impl<'a, E: EventSet> Shadow<'a, E> {
    pub fn new(
        projector: Arc<dyn Projector<E>>,
        replay: &'a Replay<'a, E>,
        (origin, applied): (Origin, AppliedPositions),
    ) -> Self {
        let after = projector.contexts().iter().map(|context| (*context, applied.first(*context))).collect();
        let progress = Arc::new(Progress::new(projector.name()));
        Self { projector, replay, progress, origin, applied, after, events: 0 }
    }

    /// Until only a few positions are missing, or live is faster than we are.
    ///
    /// # Errors
    /// [`Error`]; what was committed stays.
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            let live = self.applied_by_live_now().await?;
            let missing = self.positions_missing(&live);
            self.progress.expect(missing.unsigned_abs());
            self.advance_in_parallel(live).await?;
            if missing <= FEW_POSITIONS {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn applied_by_live_now(&self) -> Result<AppliedPositions, Error> {
        let mut client = self.replay.pool.get().await?;
        let transaction = snapshot(&mut client).await?;
        self.applied_by_live(&transaction).await
    }

    /// What the live table has applied, as of the transaction's snapshot.
    ///
    /// # Errors
    /// As [`AppliedPositions::of_live`].
    pub async fn applied_by_live(&self, transaction: &Transaction<'_>) -> Result<AppliedPositions, Error> {
        let Replay { set, topic_prefix, .. } = self.replay;
        AppliedPositions::of_live(transaction, set, topic_prefix, &*self.projector).await
    }

    fn positions_missing(&self, live: &AppliedPositions) -> i64 {
        self.after.iter().map(|(context, after)| (live.last(*context) - after).max(0)).sum()
    }

    fn reading(&self, context: ContextName, to: &AppliedPositions) -> Reading {
        Reading::new(self.replay.logs.of(context), &self.applied, to, self.after[&context])
    }

    /// Two tasks per context, one that reads and one that folds.
    async fn advance_in_parallel(&mut self, to: AppliedPositions) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for context in self.after.keys() {
            let reading = self.reading(*context, &to);
            let context = *context;
            let advancing = Advancing {
                projector: Arc::clone(&self.projector),
                is_empty: self.origin == Origin::Empty,
                schema: self.origin.schema(&self.replay.schemas).to_owned(),
                pool: self.replay.pool.clone(),
                progress: Arc::clone(&self.progress),
                shutdown: self.replay.shutdown.clone(),
            };
            tasks.spawn(async move { Ok::<_, Error>((context, advancing.run(reading).await?)) });
        }
        while let Some(ended) = tasks.join_next().await {
            let (context, advanced) =
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            self.after.insert(context, advanced.after);
            self.events += advanced.events;
        }
        self.applied = to;
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
        to: &AppliedPositions,
    ) -> Result<Vec<(ContextName, Advanced)>, Error> {
        set_schema(transaction, self.origin.schema(&self.replay.schemas)).await?;
        let mut all = Vec::new();
        for context in self.after.keys() {
            let mut reading = self.reading(*context, to);
            let mut events = 0;
            while let Some(page) = reading.page::<E>().await? {
                apply(&*self.projector, transaction, &page.events).await?;
                events += page.events.len() as u64;
            }
            all.push((*context, Advanced { after: reading.resume_after(), events }));
        }
        Ok(all)
    }

    pub fn advanced(&mut self, to: AppliedPositions, all: Vec<(ContextName, Advanced)>) {
        for (context, advanced) in all {
            self.after.insert(context, advanced.after);
            self.events += advanced.events;
        }
        self.applied = to;
    }

    /// Returns how long live writes were stopped. Where the live table is in use, it tries again.
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
        let Replay { pool, schemas, .. } = self.replay;
        let mut client = pool.get().await?;
        let transaction = client.transaction().await?;
        shadow::stop_live(&transaction, schemas).await?;
        let stopped = Instant::now();
        let live = self.applied_by_live(&transaction).await?;
        let advanced = match mutant!("replay::swapped_without_catching_up") {
            true => Vec::new(),
            false => self.advance_within(&transaction, &live).await?,
        };
        if self.origin == Origin::Previous {
            previous::take(&transaction, schemas, self.projector.table()).await?;
        }
        shadow::swap(&transaction, schemas, &*self.projector, &live).await?;
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

/// Applies one context's reading, in a task of its own.
struct Advancing<E: EventSet> {
    projector: Arc<dyn Projector<E>>,
    /// The table was made empty for this: rows are kept in memory.
    is_empty: bool,
    schema: String,
    pool: Pool,
    progress: Arc<Progress>,
    shutdown: CancellationToken,
}

impl<E: EventSet> Advancing<E> {
    /// The next pages are read and decoded while the one before is folded and written.
    async fn run(self, reading: Reading) -> Result<Advanced, Error> {
        let (pages, mut read) = mpsc::channel(PAGES_AHEAD);
        let reader = AbortOnDropHandle::new(tokio::spawn(read_all(reading, pages)));
        let mut rebuild = if self.is_empty { self.projector.rebuild() } else { None };
        let mut events = 0;
        let mut client = self.pool.get().await?;
        while let Some(first) = read.recv().await {
            let transaction = begin(&mut client, &self.schema).await?;
            let mut next = Some(first);
            let mut in_transaction = 0;
            while let Some(page) = next {
                if self.shutdown.is_cancelled() {
                    return Err(Error::Stopped);
                }
                match &mut rebuild {
                    Some(rebuild) => rebuild.fold(&transaction, &page.events, page.payload_bytes).await?,
                    None => apply(&*self.projector, &transaction, &page.events).await?,
                }
                events += page.events.len() as u64;
                in_transaction += page.events.len();
                self.progress.add(page.positions);
                let goes_on = rebuild.is_some() && in_transaction < TRANSACTION_EVENTS;
                next = if goes_on { read.recv().await } else { None };
            }
            transaction.commit().await?;
        }
        let after = reader.await.expect("the reader does not panic")?;
        if let Some(mut rebuild) = rebuild {
            let transaction = begin(&mut client, &self.schema).await?;
            rebuild.flush(&transaction).await?;
            transaction.commit().await?;
        }
        Ok(Advanced { after, events })
    }
}

/// Where the next reading goes on. The first error ends it; the pages before it were good.
async fn read_all<E: EventSet>(
    mut reading: Reading,
    pages: mpsc::Sender<Page<E>>,
) -> Result<Position, Error> {
    while let Some(page) = reading.page().await? {
        if pages.send(page).await.is_err() {
            break; // the task that folds them has failed, and returns its error
        }
    }
    Ok(reading.resume_after())
}

/// The commits do not wait for the disk: what a crash of the server loses is applied again. The swap waits.
async fn begin<'a>(client: &'a mut Object, schema: &str) -> Result<Transaction<'a>, Error> {
    let transaction = client.transaction().await?;
    set_schema(&transaction, schema).await?;
    transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
    Ok(transaction)
}

async fn set_schema(transaction: &Transaction<'_>, schema: &str) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(&format!("SET LOCAL search_path = {schema}")).await
}

async fn apply<E: EventSet>(
    projector: &dyn Projector<E>,
    transaction: &Transaction<'_>,
    events: &[Envelope<E>],
) -> Result<(), tokio_postgres::Error> {
    let events: Vec<&Envelope<E>> = events.iter().collect();
    projector.apply(transaction, &events).await.map(|_| ())
}

async fn snapshot(client: &mut deadpool_postgres::Object) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await
}
