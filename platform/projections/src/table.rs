//! Loads rows from a projection's table and writes them back, in one statement each.
//!
//! The table's name is not qualified: the connection's search path says whether it is the live table or a shadow.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use fault::mutant;
use tokio_postgres::Error;
use tokio_postgres::types::{Json, ToSql};

use crate::projection::{Projection, RowSource};

/// The rows with these keys, by key. Rows that several streams feed are made where they are missing, and locked.
pub async fn load<P: Projection>(
    transaction: &Transaction<'_>,
    keys: &[&str],
) -> Result<BTreeMap<String, P::Row>, Error> {
    let (table, key) = (P::TABLE, P::KEY_COLUMN);
    let select = format!("SELECT t.{key}, row_to_json(t) FROM {table} t WHERE t.{key} = ANY($1)");
    let rows = match P::SOURCE {
        RowSource::OneEvent => return Ok(BTreeMap::new()),
        RowSource::OneStream(_) => {
            let select = transaction.prepare_cached(&select).await?;
            transaction.query(&select, &[&keys]).await?
        }
        RowSource::SeveralStreams => {
            // Two processes may begin the same row at once: the second waits here for the first. Both insert in the order of
            // the keys, and lock only when all of theirs are inserted: no deadlock.
            let begin = format!(
                "INSERT INTO {table} ({key}) SELECT unnest($1::text[]) ON CONFLICT ({key}) DO NOTHING"
            );
            let begin = transaction.prepare_cached(&begin).await?;
            let select = transaction.prepare_cached(&format!("{select} ORDER BY t.{key} FOR UPDATE")).await?;
            // The server runs one after the other; we wait for both at once.
            let params: [&(dyn ToSql + Sync); 1] = [&keys];
            futures::try_join!(transaction.execute(&begin, &params), transaction.query(&select, &params))?.1
        }
    };
    rows.iter()
        .map(|row| {
            let Json(folded) = row.try_get::<_, Json<P::Row>>(1)?;
            Ok((row.try_get(0)?, folded))
        })
        .collect()
}

/// `upsert` is the statement that [`upsert_statement`] gives.
pub async fn write<P: Projection>(
    transaction: &Transaction<'_>,
    upsert: &str,
    rows: &[P::Row],
) -> Result<(), Error> {
    let upsert = transaction.prepare_cached(upsert).await?;
    transaction.execute(&upsert, &[&Json(rows)]).await?;
    Ok(())
}

/// The columns are the fields of the row.
pub fn upsert_statement<P: Projection>(row: &P::Row) -> String {
    let (table, key) = (P::TABLE, P::KEY_COLUMN);
    let row = serde_json::to_value(row).expect("a row has string keys and no failing serialiser");
    let columns: Vec<&str> = row.as_object().expect("a row is a struct").keys().map(String::as_str).collect();
    let assignments: Vec<String> =
        columns.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
    let (columns, assignments) = (columns.join(", "), assignments.join(", "));
    let on_conflict = match P::SOURCE {
        RowSource::OneEvent if !mutant!("projector::version_not_checked") => "DO NOTHING".to_owned(),
        RowSource::OneEvent | RowSource::OneStream(_) | RowSource::SeveralStreams => {
            format!("DO UPDATE SET {assignments}")
        }
    };
    format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json) \
         ON CONFLICT ({key}) {on_conflict}"
    )
}
