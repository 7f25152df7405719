//! What a replay did, for the person who ran it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::Difference;

/// What became of one projection.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplayReport {
    Rebuilt(Rebuilt),
    RolledBack(RolledBack),
}

/// The previous table is live again, and the one that was live is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct RolledBack {
    pub projection: &'static str,
    /// Events that the previous table lacked.
    pub events: u64,
    /// How long live writes were stopped for the swap.
    pub live_stopped: Duration,
}

/// A projection was rebuilt and compared, and swapped unless it was only to be checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    pub projection: &'static str,
    /// Events that the rebuild applied.
    pub events: u64,
    pub elapsed: Duration,
    pub comparison: Comparison,
    /// How long live writes were stopped for the swap; none when there was no swap.
    pub live_stopped: Option<Duration>,
}

/// Live and rebuilt, at the same position of every partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub rows_live: i64,
    pub rows_rebuilt: i64,
    pub rows_different: i64,
    /// By key.
    pub first_difference: Option<Difference>,
}

impl ReplayReport {
    /// Whether live was what a rebuild gives. A rollback compares nothing.
    pub fn is_equal(&self) -> bool {
        match self {
            Self::Rebuilt(rebuilt) => rebuilt.comparison.rows_different == 0,
            Self::RolledBack(_) => true,
        }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebuilt(rebuilt) => rebuilt.fmt(f),
            Self::RolledBack(rolled_back) => rolled_back.fmt(f),
        }
    }
}

impl fmt::Display for RolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { projection, events, live_stopped } = self;
        write!(
            f,
            "{projection}: the table before the last replay is live again, with {events} events that came since; the one it \
             replaced is kept (live writes were stopped for {} ms)",
            live_stopped.as_millis()
        )
    }
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { rows_live, rows_rebuilt, rows_different, first_difference } = &self.comparison;
        let events_per_second = u128::from(self.events) * 1_000 / self.elapsed.as_millis().max(1);
        write!(
            f,
            "{}: {} events in {} ms ({events_per_second} events/s): ",
            self.projection,
            self.events,
            self.elapsed.as_millis()
        )?;
        match first_difference {
            None => write!(f, "{rows_rebuilt} rows, equal to live")?,
            Some(first) => {
                writeln!(
                    f,
                    "{rows_different} rows differ ({rows_live} live, {rows_rebuilt} rebuilt); the first:"
                )?;
                writeln!(f, "  key     {}", first.key)?;
                writeln!(f, "  live    {}", shown(first.live.as_ref()))?;
                write!(f, "  rebuilt {}", shown(first.rebuilt.as_ref()))?;
            }
        }
        match self.live_stopped {
            Some(stopped) => write!(f, "; swapped (live writes were stopped for {} ms)", stopped.as_millis()),
            None => write!(f, "; only checked, live is as it was"),
        }
    }
}

fn shown(row: Option<&Value>) -> String {
    row.map_or_else(|| "no such row".to_owned(), Value::to_string)
}
