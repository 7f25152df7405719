//! Why a unit of work was not committed.

use event_store::{AppendError, MayBeConflict, StoreError};

/// How often a unit of work is built because another writer appended to one of its streams.
pub const CONFLICTS_MAX: u32 = 8;

/// Why a unit of work was not committed. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The aggregate refuses the command, or this build cannot read what the decision needs. A repetition changes nothing:
    /// park the trigger.
    #[error("{0}")]
    Refused(String),
    /// The append failed. Repeat the whole unit.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable { .. } => Self::Refused(error.to_string()),
            error => Self::Append(error.into()),
        }
    }
}

impl MayBeConflict for CommitError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Append(error) if error.is_conflict())
    }
}
