//! Faults on purpose: places where a process may be made to die, and guards that may be taken away, so that tests can show
//! that the first does no harm and that the second is noticed.
//!
//! Debug builds only. In a release build [`crash_point!`] is nothing and [`planted_bug!`] is the constant `false`: no
//! variable is read, no file opened. In a debug build both do nothing until `TRADEWIND_FAULTS` names a control file
//! ([`Control`]) or a test plants a bug in its own process ([`trial`]).
//!
//! Every name stands in [`CRASH_POINTS`] or [`PLANTED_BUGS`]: one that does not is a compile error, and one that the code
//! does not use is found by `tests/fault/tests/names.rs`. Never: a dependency, or a switch that a release build has.
//! Read next: `points.rs`, `bugs.rs`, then `tests/e2e/tests/crash_points.rs`.

#[cfg(debug_assertions)]
mod armed;
mod bugs;
mod control;
mod points;
#[cfg(debug_assertions)]
pub mod trial;

#[cfg(debug_assertions)]
pub use armed::{is_planted, pass};
pub use bugs::{PLANTED_BUGS, PlantedBug};
pub use control::{CONTROL_VARIABLE, Control, Crash};
pub use points::{CRASH_POINTS, CrashPoint};

/// Dies here when the control file says so. The name must stand in [`CRASH_POINTS`], with the roles that pass by.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{
        const _: () = $crate::must_be_a_crash_point($name);
        $crate::pass($name);
    }};
}

/// Whether the guard that stands here is to be left out. The name must stand in [`PLANTED_BUGS`].
#[macro_export]
macro_rules! planted_bug {
    ($name:literal) => {{
        const _: () = $crate::must_be_a_planted_bug($name);
        $crate::is_planted($name)
    }};
}

/// Nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn pass(_name: &'static str) {}

/// No: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn is_planted(_name: &'static str) -> bool {
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
pub const fn must_be_a_planted_bug(name: &str) {
    let mut at = 0;
    while at < PLANTED_BUGS.len() {
        if is_same(PLANTED_BUGS[at].name, name) {
            return;
        }
        at += 1;
    }
    panic!("this planted bug does not stand in tests/fault/src/bugs.rs");
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
