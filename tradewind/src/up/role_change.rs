//! What happens to a role while it runs: the supervisor reads these, `separate.rs` sends them.

use crate::roles::Role;

#[derive(Debug)]
pub enum RoleChange {
    Started {
        role: Role,
        pid: i32,
    },
    Died {
        role: Role,
        how: String,
    },
    /// It ended and is not started again.
    GaveUp {
        role: Role,
        cause: anyhow::Error,
    },
}
