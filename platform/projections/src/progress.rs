//! How far the read models have come in the log of each context: the table `progress`, written with every batch.
//!
//! Positions are gapless, so "everything up to position 1234 is applied" is a fact. But a log's events are spread over the
//! partitions of its topic, which advance apart and may be read by different processes. So each batch adds its positions to a set
//! in the database, and the range of the set that begins at 1 is what is applied without a gap. A position is added when its event
//! is applied or parked, never before.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::{GenericClient, Transaction};
use event_bus::Record;
use event_log::{ContextName, EventSet, Position, PositionToken, Positions};
use tokio_postgres::{Error, Row};

/// How far the read models have come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here is applied, or parked.
    pub applied: Positions,
    /// Nothing that is shown depends on anything beyond.
    pub seen: Positions,
}

/// The columns of a [`Progress`], one row for each context: name, applied, seen.
pub const COLUMNS: &str =
    "context, coalesce((SELECT upper(r) - 1 FROM unnest(applied) AS r WHERE r @> 1::bigint), 0), seen";

impl Progress {
    /// From rows of [`COLUMNS`]. What is not the name of a context is left out.
    pub fn from_rows(rows: impl IntoIterator<Item = (String, Position, Position)>) -> Self {
        let mut progress = Self::default();
        for (name, applied, seen) in rows {
            let Ok(context) = name.parse::<ContextName>() else { continue };
            progress.applied.raise(PositionToken { context, position: applied });
            progress.seen.raise(PositionToken { context, position: seen });
        }
        progress
    }

    fn of(rows: &[Row]) -> Result<Self, Error> {
        let rows: Result<Vec<_>, Error> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect();
        Ok(Self::from_rows(rows?))
    }
}

/// # Errors
/// The database's.
pub async fn read(client: &impl GenericClient) -> Result<Progress, Error> {
    let statement = client.prepare_cached(&format!("SELECT {COLUMNS} FROM progress")).await?;
    Progress::of(&client.query(&statement, &[]).await?)
}

/// Adds what the batch applies, and returns how far the read models have come with it. To be called last in the
/// transaction: every process writes these rows. They are locked in the order of their keys.
///
/// # Errors
/// The database's.
pub async fn advance<E: EventSet>(
    transaction: &Transaction<'_>,
    records: &[Arc<Record>],
) -> Result<Progress, Error> {
    let mut steps = BTreeMap::<ContextName, Vec<Position>>::new();
    let mut seen = Positions::default();
    for record in records {
        let Some(position) = record.position else { continue };
        let context = record.context;
        steps.entry(context).or_default().push(position);
        seen.raise(PositionToken { context, position });
        if let Ok(event) = record.event::<E>() {
            seen.merge(&event.metadata.depends_on);
        }
    }
    for token in seen.iter() {
        steps.entry(token.context).or_default();
    }
    let (mut contexts, mut applied, mut named) = (Vec::new(), Vec::new(), Vec::new());
    for (context, positions) in &mut steps {
        contexts.push(context.as_str());
        applied.push(multirange(positions));
        named.push(seen.of(*context));
    }
    let statement = transaction
        .prepare_cached(&format!(
            "INSERT INTO progress (context, applied, seen)
             SELECT context, applied::int8multirange, seen
               FROM unnest($1::text[], $2::text[], $3::bigint[]) AS step (context, applied, seen) ORDER BY context
             ON CONFLICT (context) DO UPDATE
             SET applied = progress.applied + EXCLUDED.applied, seen = greatest(progress.seen, EXCLUDED.seen)
             RETURNING {COLUMNS}"
        ))
        .await?;
    Progress::of(&transaction.query(&statement, &[&contexts, &applied, &named]).await?)
}

/// The positions, as the text of an `int8multirange`.
fn multirange(positions: &mut Vec<Position>) -> String {
    positions.sort_unstable();
    positions.dedup();
    let ranges: Vec<String> = positions
        .chunk_by(|before, after| before + 1 == *after)
        .map(|run| format!("[{},{}]", run[0], run[run.len() - 1]))
        .collect();
    format!("{{{}}}", ranges.join(","))
}

#[cfg(test)]
mod tests {
    use super::multirange;

    #[test]
    fn positions_that_follow_one_another_are_one_range() {
        assert_eq!(multirange(&mut vec![]), "{}");
        assert_eq!(multirange(&mut vec![3, 1, 2, 7, 2, 9, 8]), "{[1,3],[7,9]}");
    }
}
