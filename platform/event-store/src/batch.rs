//! One call of the SQL function `append`: a batch of commands goes in, an outcome for each comes out.
//!
//! Each column here is the parameter of the same name there; the SQL file explains what they mean. This module only
//! encodes and decodes; the SQL function makes every check.

mod columns;

use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::Row;

use crate::append::{Answer, Appended, Prepared, StoredAnswer};
use crate::error::AppendError;
use columns::{Columns, STATEMENT};

/// An append, and the indexes in its batch of the earlier appends that it depends on.
pub(crate) struct Command<'a> {
    pub prepared: &'a Prepared,
    pub depends_on: Vec<usize>,
}

/// Sends the batch and returns the outcome of each command, in the same order.
///
/// Any database error. After an SQLSTATE about the statement, nothing of the batch is in the log; after any other error
/// the outcome is unknown.
pub(crate) async fn append(
    client: &ClientWrapper,
    batch: &[Command<'_>],
) -> Result<Vec<Result<Appended, AppendError>>, tokio_postgres::Error> {
    let columns = Columns::of(batch);
    let statement = client.prepare_cached(&STATEMENT).await?;
    // The rows end with ReadyForQuery, which the server sends after the commit.
    let rows = client.query(&statement, &columns.parameters()).await?;
    columns.outcomes(batch, &rows)
}

/// The same for one command, inside a transaction that does more.
///
/// Any database error: the caller rolls back.
pub(crate) async fn append_one_in(
    transaction: &Transaction<'_>,
    prepared: &Prepared,
) -> Result<Result<Appended, AppendError>, tokio_postgres::Error> {
    let batch = [Command { prepared, depends_on: Vec::new() }];
    let columns = Columns::of(&batch);
    let statement = transaction.prepare_cached(&STATEMENT).await?;
    let rows = transaction.query(&statement, &columns.parameters()).await?;
    Ok(columns.outcomes(&batch, &rows)?.remove(0))
}

impl Columns<'_> {
    fn outcomes(
        &self,
        batch: &[Command<'_>],
        rows: &[Row],
    ) -> Result<Vec<Result<Appended, AppendError>>, tokio_postgres::Error> {
        assert_eq!(rows.len(), batch.len(), "append() returns one row for each command");
        batch.iter().zip(rows).map(|(command, row)| self.outcome(command.prepared, row)).collect()
    }

    /// Decodes the outcome of a command from the function's row. The outer error is a row that cannot be decoded.
    fn outcome(
        &self,
        prepared: &Prepared,
        row: &Row,
    ) -> Result<Result<Appended, AppendError>, tokio_postgres::Error> {
        let subject = |row: &Row| -> Result<usize, tokio_postgres::Error> {
            let ordinal: i32 = row.try_get("subject")?;
            Ok(usize::try_from(ordinal).expect("ordinals count from 1") - 1)
        };
        Ok(match row.try_get::<_, &str>("outcome")? {
            "appended" => Ok(Appended {
                first_position: row.try_get("first_position")?,
                last_position: row.try_get("last_position")?,
                recorded_at: row.try_get("recorded_at")?,
            }),
            "answered" => Err(AppendError::AlreadyAnswered(stored_answer(row)?)),
            "key_reused" => {
                let claim = prepared.append.claim.as_ref().expect("only a claimed key can be reused");
                Err(AppendError::KeyReused { key: claim.key.clone() })
            }
            "dependency_failed" => Err(AppendError::DependencyFailed),
            "checkpoint_lost" => {
                let lost = self.moves[subject(row)?];
                Err(AppendError::CheckpointLost {
                    consumer: lost.consumer.clone(),
                    topic: lost.topic.clone(),
                    partition: lost.partition,
                    actual_offset: row.try_get("actual")?,
                })
            }
            "conflict" => {
                let write = self.writes[subject(row)?];
                let actual: i64 = row.try_get("actual")?;
                Err(AppendError::Conflict {
                    stream: write.stream.clone(),
                    expected: write.expected_version,
                    actual: i32::try_from(actual).expect("versions are integers in the table"),
                })
            }
            other => unreachable!("append() has no outcome {other:?}"),
        })
    }
}

/// Decodes the answer from a row of the function, or of a query with the same column names.
pub(crate) fn stored_answer(row: &Row) -> Result<StoredAnswer, tokio_postgres::Error> {
    let fingerprint: &[u8] = row.try_get("answer_fingerprint")?;
    let status: i16 = row.try_get("answer_status")?;
    Ok(StoredAnswer {
        answer: Answer {
            status: u16::try_from(status).expect("idempotency_keys_status_is_http"),
            body: row.try_get("answer_body")?,
        },
        fingerprint: fingerprint.try_into().expect("idempotency_keys_fingerprint_is_sha256"),
        first_position: row.try_get("first_position")?,
        last_position: row.try_get("last_position")?,
        answered_at: row.try_get("recorded_at")?,
    })
}
