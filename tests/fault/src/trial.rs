//! A trial: a scenario that must find nothing in the unchanged code, and must find the bug when the mutant is active.
//! So each check is seen to fail every time that it runs. A mutant is active in the whole process, so the trials of a
//! process run one at a time, and other tests belong to another test binary.
//!
//! Never: a scenario whose result depends on which of two concurrent things is faster.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::MUTANTS;
use crate::armed::ACTIVE;

/// The variable with a file to which each trial appends its line: mutant, check that found it, milliseconds, tab-separated.
pub const REPORT_VARIABLE: &str = "TRADEWIND_PLANTED_REPORT";

/// The result of a scenario: nothing found, or the check that failed and what it saw.
pub type Verdict = Result<(), Found>;

/// The first check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of the check.
    pub by: &'static str,
    pub what: String,
}

/// The check with the name `by`.
///
/// # Errors
/// [`Found`] when it does not hold.
pub fn check(by: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Found { by, what: what() }) }
}

static TURN: Mutex<()> = Mutex::new(());

/// Holds the turn, and deactivates the mutant when dropped.
struct Activation {
    _turn: MutexGuard<'static, ()>,
}

impl Activation {
    fn none() -> Self {
        Self { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn activate(&self, mutant: &'static str) {
        *ACTIVE.write().unwrap_or_else(PoisonError::into_inner) = Some(mutant);
    }
}

impl Drop for Activation {
    fn drop(&mut self) {
        *ACTIVE.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Runs the scenario in the unchanged code, then with the mutant active.
///
/// # Panics
/// When the name is not in [`MUTANTS`], when the scenario finds something in the unchanged code, or nothing with the mutant.
pub async fn finds<F: Future<Output = Verdict>>(mutant: &str, scenario: impl Fn() -> F) {
    let listed = MUTANTS.iter().find(|listed| listed.name == mutant);
    let mutant = listed.unwrap_or_else(|| panic!("{mutant} is not in tests/fault/src/mutants.rs")).name;
    let activation = Activation::none();
    if let Err(found) = scenario().await {
        panic!("without the mutant, {} found something: {}", found.by, found.what);
    }
    activation.activate(mutant);
    let started = Instant::now();
    let verdict = scenario().await;
    let took = started.elapsed();
    drop(activation);
    match verdict {
        Ok(()) => panic!("no check noticed the mutant {mutant}"),
        Err(found) => report(mutant, &found, took),
    }
}

/// Prints what was found, and appends it to the file in [`REPORT_VARIABLE`].
///
/// # Panics
/// When that file cannot be written.
pub fn report(mutant: &str, found: &Found, took: Duration) {
    println!("mutant {mutant}: found by {} in {} ms: {}", found.by, took.as_millis(), found.what);
    let Some(path) = std::env::var_os(REPORT_VARIABLE) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let line = format!("{mutant}\t{}\t{}\n", found.by, took.as_millis());
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the report can be written");
}
