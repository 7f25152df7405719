//! The table `checkpoints`: read on assignment, moved by compare-and-set in the transaction of the effect and never
//! outside it.
//!
//! The table must be on the connection's search path with the columns consumer, topic, partition, next_offset,
//! last_position, epoch and the first three as its key.

use deadpool_postgres::{GenericClient, Transaction};
use fault::mutant;

use crate::{Checkpoint, CheckpointMove, HandlerError};

/// The reason why a checkpoint was not read or moved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint of {consumer} in {topic}/{partition} is not at offset {expected}")]
    Lost { consumer: String, topic: String, partition: i32, expected: i64 },
    #[error("the checkpoints cannot be read or written")]
    Postgres(#[from] tokio_postgres::Error),
}

impl From<CheckpointError> for HandlerError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Lost { topic, partition, .. } => Self::CheckpointLost { topic, partition },
            CheckpointError::Postgres(cause) => Self::Retry(format!("checkpoints: {cause}")),
        }
    }
}

/// The consumer's checkpoints.
///
/// # Errors
/// [`CheckpointError::Postgres`]: try again.
pub async fn load(client: &impl GenericClient, consumer: &str) -> Result<Vec<Checkpoint>, CheckpointError> {
    let statement = client
        .prepare_cached(
            "SELECT topic, partition, next_offset, last_position, epoch FROM checkpoints WHERE consumer = $1",
        )
        .await?;
    let rows = client.query(&statement, &[&consumer]).await?;
    Ok(rows
        .iter()
        .map(|row| Checkpoint {
            topic: row.get(0),
            partition: row.get(1),
            next_offset: row.get(2),
            last_position: row.get(3),
            epoch: row.get(4),
        })
        .collect())
}

/// A row at `from_offset` moves; a missing row with `from_offset` 0 is created. The query returns a move that did
/// neither.
const MOVE_ALL: &str = "
WITH move AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS m(consumer, topic, partition, from_offset, to_offset, last_position)
), moved AS (
    UPDATE checkpoints c SET next_offset = m.to_offset, last_position = m.last_position
    FROM move m
    WHERE (c.consumer, c.topic, c.partition) = (m.consumer, m.topic, m.partition) AND c.next_offset = m.from_offset
    RETURNING c.consumer, c.topic, c.partition
), created AS (
    INSERT INTO checkpoints (consumer, topic, partition, next_offset, last_position)
    SELECT consumer, topic, partition, to_offset, last_position FROM move WHERE from_offset = 0
    ON CONFLICT (consumer, topic, partition) DO NOTHING
    RETURNING consumer, topic, partition
)
SELECT consumer, topic, partition, from_offset FROM move
WHERE (consumer, topic, partition) NOT IN (SELECT * FROM moved UNION ALL SELECT * FROM created)
LIMIT 1";

/// Moves all of them; call it in the transaction of the effect.
///
/// [`CheckpointError::Lost`] names a checkpoint that was not at its expected offset: roll back and return the error to
/// the consumer. [`CheckpointError::Postgres`]: roll back and try again.
pub async fn move_all(
    transaction: &Transaction<'_>,
    moves: &[CheckpointMove],
) -> Result<(), CheckpointError> {
    let consumers: Vec<&str> = moves.iter().map(|step| step.consumer.as_str()).collect();
    let topics: Vec<&str> = moves.iter().map(|step| step.topic.as_str()).collect();
    let partitions: Vec<i32> = moves.iter().map(|step| step.partition).collect();
    let from: Vec<i64> = moves.iter().map(|step| step.from_offset).collect();
    let to: Vec<i64> = moves.iter().map(|step| step.to_offset).collect();
    let positions: Vec<i64> = moves.iter().map(|step| step.last_position).collect();
    let move_all = match mutant!("consumer::checkpoint_not_compared") {
        true => &MOVE_ALL.replace("c.next_offset = m.from_offset", "true"),
        false => MOVE_ALL,
    };
    let statement = transaction.prepare_cached(move_all).await?;
    let lost = transaction
        .query_opt(&statement, &[&consumers, &topics, &partitions, &from, &to, &positions])
        .await?;
    match lost {
        None => Ok(()),
        Some(row) => Err(CheckpointError::Lost {
            consumer: row.get(0),
            topic: row.get(1),
            partition: row.get(2),
            expected: row.get(3),
        }),
    }
}
