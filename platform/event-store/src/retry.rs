//! The bounded repetition of a conflicted command, and that at once of one that was overtaken.
//!
//! Never: a repetition of anything but a conflict. Read next: `unit_of_work.rs`.

use std::time::Duration;

use crate::AppendError;

/// Before the second attempt at most this long; doubled with each further one.
const FIRST_PAUSE_MS_MAX: u64 = 2;
const PAUSE_MS_MAX: u64 = 100;

/// An error that may be a conflict.
pub trait MayBeConflict {
    fn is_conflict(&self) -> bool;

    /// One that nobody needs to wait for: it was found out before anything was sent.
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

/// Attempts something until it does not end in a conflict, at most `attempts_max` times, with a jittered pause between.
/// Each attempt loads and decides anew.
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

/// Attempts something until it is not overtaken ([`AppendError::StaleDecision`]). There is no bound, and none is needed: each time,
/// somebody else has come further.
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
