//! Classifies a failed call of `append`, and finds out the outcome of a call whose connection broke.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use event_log::{StreamId, Version};
use tokio_postgres::error::DbError;
use uuid::Uuid;

use crate::append::{Appended, Prepared};
use crate::batch::Command;

pub(crate) enum Failure {
    /// The database refuses this batch permanently. Nothing of it is in the log.
    Refused(Arc<tokio_postgres::Error>),
    /// The database could not do it at this time. Nothing of this call is in the log.
    Temporary(Arc<tokio_postgres::Error>),
    /// There was no connection to send it over.
    NotSent,
    /// The connection broke: the outcome is unknown.
    Open,
}

impl Failure {
    pub(crate) fn of(error: tokio_postgres::Error) -> Self {
        match error.as_db_error().map(class) {
            // The server or a constraint refused the data.
            Some("22" | "23") => Self::Refused(Arc::new(error)),
            // The session is ending, perhaps between the commit and its report.
            None | Some("08" | "57P") => Self::Open,
            Some(_) => Self::Temporary(Arc::new(error)),
        }
    }
}

/// The SQLSTATE's class. In class 57, operator intervention, the P separates the end of a session from the cancellation
/// of a statement.
fn class(error: &DbError) -> &str {
    let code = error.code().code();
    if code.starts_with("57P") { "57P" } else { &code[..2] }
}

/// The positions of each command's events if they are in the log, found by the first event's id.
///
/// A command that conflicts when it is sent again may conflict with its own events.
///
/// Any database error.
pub(crate) async fn own_events(
    client: &ClientWrapper,
    batch: &[Command<'_>],
) -> Result<Vec<Option<Appended>>, tokio_postgres::Error> {
    let statement = client
        .prepare_cached(
            "SELECT e.position, e.recorded_at FROM events e WHERE e.stream = $1 AND e.version = $2 AND e.event_id = $3",
        )
        .await?;
    let mut found = Vec::with_capacity(batch.len());
    for Command { prepared, .. } in batch {
        let Some((stream, version, event_id)) = first_event(prepared) else {
            found.push(None);
            continue;
        };
        let row = client.query_opt(&statement, &[&stream.as_str(), &version, &event_id]).await?;
        found.push(row.map(|row| {
            let first_position: i64 = row.get("position");
            let more = i64::try_from(prepared.metadata.len()).expect("a command's events are countable") - 1;
            Appended {
                first_position,
                last_position: first_position + more,
                recorded_at: row.get("recorded_at"),
            }
        }));
    }
    Ok(found)
}

fn first_event(prepared: &Prepared) -> Option<(&StreamId, Version, Uuid)> {
    let write = prepared.append.writes.iter().find(|write| !write.events.is_empty())?;
    Some((&write.stream, write.expected_version + 1, write.events[0].event_id))
}
