//! Faults on purpose: places where a process may be made to die, and guards that may be taken away, so that tests can show
//! that the first does no harm and that the second is noticed.
//!
//! Debug builds only. In a release build [`crash_point!`] is nothing and [`mutant!`] is the constant `false`: no
//! variable is read, no file opened. In a debug build both do nothing until `TRADEWIND_FAULTS` names a control file
//! ([`Control`]) or a test plants a bug in its own process ([`trial`]).
//!
//! Every name stands in [`CRASH_POINTS`] or [`MUTANTS`]: one that does not is a compile error, and one that the code
//! does not use is found by `tests/fault/tests/names.rs`. Never: a dependency, or a switch that a release build has.
//! Read next: `points.rs`, `bugs.rs`, then `tests/e2e/tests/crash_points.rs`.

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

/// Dies here when the control file says so. The name must stand in [`CRASH_POINTS`], with the roles that pass by.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{
        const _: () = $crate::must_be_a_crash_point($name);
        $crate::pass($name);
    }};
}

/// Whether the guard that stands here is to be left out. The name must stand in [`MUTANTS`].
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {{
        const _: () = $crate::must_be_a_mutant($name);
        $crate::is_active($name)
    }};
}

/// Nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn pass(_name: &'static str) {}

/// No: this is a release build.
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
    panic!("this crash point does not stand in tests/fault/src/points.rs");
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
    panic!("this planted bug does not stand in tests/fault/src/mutants.rs");
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
