//! Retries of a command: after a conflict with a jittered pause and a limit, after a stale decision at once.
//!
//! Only conflicts are retried. The pauses are hand-written: `backon` returns delays between a minimum and a maximum,
//! and full jitter here means a random pause from zero up to the maximum.

use std::time::Duration;

use event_log::{Decide, Metadata};

use crate::error::AppendError;
use crate::store::EventStore;
use crate::unit_of_work::Committed;

/// The longest pause before the second attempt; doubled for each further one.
const FIRST_PAUSE_MS_MAX: u64 = 2;
const PAUSE_MS_MAX: u64 = 100;

/// An error that may be a conflict.
pub trait MayBeConflict {
    fn is_conflict(&self) -> bool;

    /// A conflict that was found before anything was sent, so a retry need not wait.
    fn is_stale(&self) -> bool {
        false
    }
}

impl MayBeConflict for AppendError {
    fn is_conflict(&self) -> bool {
        self.is_conflict()
    }

    fn is_stale(&self) -> bool {
        matches!(self, Self::StaleDecision)
    }
}

/// Runs `attempt` until it does not end in a conflict, at most `attempts_max` times, with a jittered pause between
/// attempts. Each attempt loads and decides again.
///
/// # Errors
/// The last attempt's error.
pub async fn retry_conflicts<T, E: MayBeConflict, F: Future<Output = Result<T, E>>>(
    attempts_max: u32,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let mut pause_ms_max = FIRST_PAUSE_MS_MAX;
    for _ in 1..attempts_max {
        match retry_stale(&mut attempt).await {
            Err(error) if error.is_conflict() => {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..=pause_ms_max))).await;
                pause_ms_max = (pause_ms_max * 2).min(PAUSE_MS_MAX);
            }
            settled => return settled,
        }
    }
    retry_stale(attempt).await
}

/// Runs `attempt` until its decision is not stale ([`AppendError::StaleDecision`]). It needs no limit: a stale decision
/// means that another append of this process made progress.
///
/// # Errors
/// The last attempt's error.
pub async fn retry_stale<T, E: MayBeConflict, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    loop {
        match attempt().await {
            Err(error) if error.is_stale() => tokio::task::yield_now().await,
            settled => return settled,
        }
    }
}

/// Attempts of [`EventStore::execute`].
const EXECUTE_ATTEMPTS_MAX: u32 = 20;

impl EventStore {
    /// Loads, decides on `command` and appends its events, again while another command is first. The inner error is the
    /// aggregate's refusal: nothing was written.
    ///
    /// # Errors
    /// As [`UnitOfWork::commit`](crate::UnitOfWork::commit).
    pub async fn execute<D: Decide>(
        &self,
        command: &D::Command,
        metadata: &Metadata,
    ) -> Result<Result<Committed, D::Refusal>, AppendError> {
        retry_conflicts(EXECUTE_ATTEMPTS_MAX, || async {
            let mut work = self.unit_of_work();
            let decided = work.decide::<D>(&D::own_stream(command), command, metadata).await?;
            let committed = work.commit().await?;
            Ok(decided.map(|_| committed))
        })
        .await
    }
}
