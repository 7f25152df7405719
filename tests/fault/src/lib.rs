//! Deliberate faults: crash points, where a test can kill a process, and mutants, which leave out a guard. Tests show
//! that the first do no harm and that the second are noticed.
//!
//! Only debug builds have them. In a release build [`crash_point!`] is nothing and [`mutant!`] is the constant `false`:
//! no variable is read and no file is opened. In a debug build both do nothing until `TRADEWIND_FAULTS` names a control
//! file ([`Control`]), or a test activates a mutant in its own process ([`trial`]).
//!
//! Which mutants are in the code: only those that change an order of effects across transactions or processes, or an
//! option of PostgreSQL or Kafka, because only a run on real services shows what they do. A mutation of pure code
//! (another comparison, a branch left out) needs no switch in the code: cargo-mutants makes it.
//!
//! Every name is in [`CRASH_POINTS`] or [`MUTANTS`]: a name that is not there does not compile, and
//! `tests/repository/names.rs` finds a name that the code does not use.
//!
//! Kept by hand: the crate `fail` knows names only at run time, and cannot limit a fault to one role and one death.
//!
//! Never: a dependency, or a switch that a release build has.
//! Read next: `points.rs`, `mutants.rs`, then `tests/e2e/tests/crash_points.rs`.

#[cfg(debug_assertions)]
mod armed;
mod control;
mod mutants;
mod points;
#[cfg(debug_assertions)]
pub mod trial;

#[cfg(debug_assertions)]
pub use armed::{is_active, pass};
pub use control::{CONTROL_VARIABLE, Control, Crash};
pub use mutants::{MUTANTS, Mutant};
pub use points::{CRASH_POINTS, CrashPoint};

/// Kills the process here when the control file says so. The name must be in [`CRASH_POINTS`], with the roles that pass the point.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{
        const _: () = $crate::must_be_a_crash_point($name);
        $crate::pass($name);
    }};
}

/// Whether the guard at this place is left out. The name must be in [`MUTANTS`].
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {{
        const _: () = $crate::must_be_a_mutant($name);
        $crate::is_active($name)
    }};
}

/// Does nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn pass(_name: &'static str) {}

/// False: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn is_active(_name: &'static str) -> bool {
    false
}

#[doc(hidden)]
pub const fn must_be_a_crash_point(name: &str) {
    let mut at = 0;
    while at < CRASH_POINTS.len() {
        if is_same(CRASH_POINTS[at].name, name) {
            return;
        }
        at += 1;
    }
    panic!("this crash point is not in tests/fault/src/points.rs");
}

#[doc(hidden)]
pub const fn must_be_a_mutant(name: &str) {
    let mut at = 0;
    while at < MUTANTS.len() {
        if is_same(MUTANTS[at].name, name) {
            return;
        }
        at += 1;
    }
    panic!("this mutant is not in tests/fault/src/mutants.rs");
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}
