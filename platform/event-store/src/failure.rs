//! What a failed call of `append` means, and how an open outcome is closed.
//!
//! Never: "it probably failed". Read next: `appender.rs`.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use event_log::{StreamId, Version};
use tokio_postgres::error::DbError;
use uuid::Uuid;

use crate::Appended;
use crate::append::Prepared;
use crate::batch::Command;

pub(crate) enum Failure {
    /// The database does not take this batch, and never will. Nothing of it is in the log.
    Refused(Arc<tokio_postgres::Error>),
    /// The database could not do it now. Nothing of this call is in the log.
    NotNow(Arc<tokio_postgres::Error>),
    /// There was no connection to send it by.
    NotSent,
    /// The connection broke: what became of it is open.
    Open,
}

impl Failure {
    pub(crate) fn of(error: tokio_postgres::Error) -> Self {
        match error.as_db_error().map(class) {
            // Data that the server does not accept, or that a constraint forbids.
            Some("22" | "23") => Self::Refused(Arc::new(error)),
            // The session is being ended, perhaps between the commit and its report.
            None | Some("08" | "57P") => Self::Open,
            Some(_) => Self::NotNow(Arc::new(error)),
        }
    }
}

/// The SQLSTATE's class; of class 57, operator intervention, also the P that tells the end of a session from the
/// cancellation of a statement.
fn class(error: &DbError) -> &str {
    let code = error.code().code();
    if code.starts_with("57P") { "57P" } else { &code[..2] }
}

/// Where each command's events stand, if they are in the log: the first event's id tells.
///
/// A command that is refused when it is sent for the second time may be refused because of itself.
///
/// # Errors
/// Whatever the database says.
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
