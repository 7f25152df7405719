//! Every guard that may be taken away, by name.
//!
//! A bug is worth planting when the field has had it. Never: a bug that no test finds. Read next: `trial.rs`.

/// A guard that is left out when the bug is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlantedBug {
    pub name: &'static str,
    /// What the code then does.
    pub does: &'static str,
}

/// All of them; `docs/reliability.md` says how each is found.
pub const PLANTED_BUGS: &[PlantedBug] = &[];
