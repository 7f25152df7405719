//! The trial of a checker: a scenario that finds nothing in sound code, and finds the bug once that is planted.
//!
//! A test that was never seen to fail proves nothing; here each is seen to fail, every time it runs. The bug is planted in the
//! whole process, so the trials of a process take turns, and tests that are no trials belong into another test binary.
//! Never: a scenario whose verdict depends on which of two concurrent things is faster. Read next: `bugs.rs`.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::MUTANTS;
use crate::armed::PLANTED;

/// A file to which each trial adds its line: bug, found by, seconds, tab-separated.
pub const REPORT_VARIABLE: &str = "TRADEWIND_PLANTED_REPORT";

/// What a scenario found: none, or which check failed and what it saw.
pub type Verdict = Result<(), Found>;

/// The first thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Names the check.
    pub by: &'static str,
    pub what: String,
}

/// The check called `by`: nothing, where it holds.
///
/// # Errors
/// [`Found`], where it does not.
pub fn check(by: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Found { by, what: what() }) }
}

static TURN: Mutex<()> = Mutex::new(());

/// Holds the turn, and takes the bug out again.
struct Planted {
    _turn: MutexGuard<'static, ()>,
}

impl Planted {
    fn nothing() -> Self {
        Self { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn plant(&self, bug: &'static str) {
        *PLANTED.write().unwrap_or_else(PoisonError::into_inner) = Some(bug);
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        *PLANTED.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Runs the scenario in sound code, then with the bug planted.
///
/// # Panics
/// When the name is none of [`MUTANTS`], when the scenario finds something in sound code, or nothing with the bug.
pub async fn finds<F: Future<Output = Verdict>>(bug: &str, scenario: impl Fn() -> F) {
    let listed = MUTANTS.iter().find(|listed| listed.name == bug);
    let bug = listed.unwrap_or_else(|| panic!("{bug} does not stand in tests/fault/src/mutants.rs")).name;
    let planted = Planted::nothing();
    if let Err(found) = scenario().await {
        panic!("without the bug, {} found something: {}", found.by, found.what);
    }
    planted.plant(bug);
    let started = Instant::now();
    let verdict = scenario().await;
    let took = started.elapsed();
    drop(planted);
    match verdict {
        Ok(()) => panic!("nobody noticed the bug {bug}"),
        Err(found) => report(bug, &found, took),
    }
}

/// Prints what was found, and adds it to the file that [`REPORT_VARIABLE`] names.
///
/// # Panics
/// When that file cannot be written.
pub fn report(bug: &str, found: &Found, took: Duration) {
    println!("planted {bug}: found by {} in {} ms: {}", found.by, took.as_millis(), found.what);
    let Some(path) = std::env::var_os(REPORT_VARIABLE) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let line = format!("{bug}\t{}\t{}\n", found.by, took.as_millis());
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the report can be written");
}
