//! The table `progress`: which positions the read models say they have applied, and how much of each context they have seen.

use std::collections::{BTreeMap, VecDeque};

use crate::read::database::Snapshot;
use crate::{Domain, Error};
use event_log::ContextName;

/// The row of one context.
#[derive(Debug, Clone, Default)]
pub struct RecordedProgress {
    /// First and last position of each range, in order.
    pub applied: VecDeque<(i64, i64)>,
    pub seen: i64,
}

/// All rows.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub contexts: BTreeMap<ContextName, RecordedProgress>,
    /// The names of contexts that do not exist.
    pub unknown: Vec<String>,
}

impl Progress {
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn read(domain: &Domain, read_model: &Snapshot) -> Result<Self, Error> {
        let sql = format!(
            "SELECT context, seen, lower(r), coalesce(upper(r) - 1, {}) FROM {}.progress LEFT JOIN unnest(applied) r ON true
              ORDER BY 1, 3",
            i64::MAX,
            read_model.owner
        );
        let mut progress = Self::default();
        for row in read_model.query(&sql, &[]).await? {
            let name: String = row.get(0);
            let Some(context) = domain.context_named(&name) else {
                progress.unknown.push(name);
                continue;
            };
            let recorded = progress.contexts.entry(context).or_default();
            recorded.seen = row.get(1);
            let first: Option<i64> = row.get(2);
            recorded.applied.extend(first.map(|first| (first, row.get(3))));
        }
        Ok(progress)
    }

    /// The row of a context. Without a row nothing is applied.
    pub fn of(&self, context: ContextName) -> RecordedProgress {
        self.contexts.get(&context).cloned().unwrap_or_default()
    }
}
