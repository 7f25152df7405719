//! Folds a whole history into an empty table: the same fold as live, with the rows kept in memory while their events follow one
//! another, and written by COPY.
//!
//! A row is fetched from the table only when it may be there: not at its stream's first event, and not while it is kept in
//! memory. The memory is bounded: when it is full, the rows without an event for longest are written and evicted. Never: another
//! fold than the live one's, a commit.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_postgres::Transaction;
use event_log::{Envelope, EventSet, Position};
use futures::SinkExt as _;
use serde_json::Value;

use crate::projection::{Projection, RowSource, fold, key_of};
use crate::table;

/// The size of what is kept: the rows that were fetched, and the payloads that were folded into them. In memory they take a
/// small multiple of it.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// How much stays when the memory is full, so that rows with more events to come need not be fetched again.
const KEPT_BYTES_AFTER: usize = 12 << 20;
/// The further size of each row.
const ROW_BYTES: usize = 256;
/// Rows sent to the server as one parameter.
const UPSERT_ROWS: usize = 1_000;
/// Sent to the server at a time.
const COPY_CHUNK_BYTES: usize = 256 << 10;

/// A rebuild of one projection by one task, of events that no other task folds into the same rows.
#[async_trait]
pub trait Rebuild<E: EventSet>: Send {
    /// Folds the events, which follow those of the last call; their payloads have so many bytes.
    ///
    /// # Errors
    /// The database's.
    async fn fold(
        &mut self,
        transaction: &Transaction<'_>,
        events: &[Envelope<E>],
        payload_bytes: usize,
    ) -> Result<(), tokio_postgres::Error>;

    /// Writes what is kept: then the table holds everything that was folded.
    ///
    /// # Errors
    /// The database's.
    async fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error>;
}

/// None where other tasks write to the same rows: each page is then folded under their locks, as live.
pub(crate) fn rebuild<P: Projection>() -> Option<Box<dyn Rebuild<P::Events>>> {
    match P::SOURCE {
        RowSource::OneEvent | RowSource::OneStream(_) => {
            Some(Box::new(InMemory::<P> { kept: HashMap::new(), kept_bytes: 0, columns: None }))
        }
        RowSource::SeveralStreams => None,
    }
}

struct Kept<R> {
    /// None: no event so far began a row.
    row: Option<R>,
    in_table: bool,
    bytes: usize,
    /// The position of its last event so far.
    position: Position,
}

/// A column, and whether its values are JSON (a string among them has quotes then).
struct Column {
    name: String,
    is_json: bool,
}

struct InMemory<P: Projection> {
    kept: HashMap<String, Kept<P::Row>>,
    kept_bytes: usize,
    /// Known from the first flush on.
    columns: Option<Vec<Column>>,
}

#[async_trait]
impl<P: Projection> Rebuild<P::Events> for InMemory<P> {
    async fn fold(
        &mut self,
        transaction: &Transaction<'_>,
        events: &[Envelope<P::Events>],
        payload_bytes: usize,
    ) -> Result<(), tokio_postgres::Error> {
        let touched: Vec<(String, &Envelope<P::Events>)> =
            events.iter().filter_map(|event| Some((key_of::<P>(event)?, event))).collect();
        self.fetch(transaction, &touched).await?;
        // Only the sum of the payloads is known: each event counts as an equal part of it.
        let event_bytes = payload_bytes.div_ceil(events.len().max(1));
        for (key, event) in touched {
            let kept = self.kept.entry(key).or_insert_with(|| {
                self.kept_bytes += ROW_BYTES;
                Kept { row: None, in_table: false, bytes: ROW_BYTES, position: 0 }
            });
            kept.row = fold::<P>(kept.row.take(), event);
            kept.bytes += event_bytes;
            kept.position = event.position;
            self.kept_bytes += event_bytes;
        }
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.evict_down_to(KEPT_BYTES_AFTER, transaction).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
        self.evict_down_to(0, transaction).await
    }
}

impl<P: Projection> InMemory<P> {
    /// Writes and evicts the rows without an event for longest, until at most `bytes_max` are kept.
    async fn evict_down_to(
        &mut self,
        bytes_max: usize,
        transaction: &Transaction<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        let mut ages: Vec<(Position, usize)> =
            self.kept.values().map(|kept| (kept.position, kept.bytes)).collect();
        ages.sort_unstable();
        let mut last_position = 0;
        for (position, bytes) in ages {
            if self.kept_bytes <= bytes_max {
                break;
            }
            self.kept_bytes -= bytes;
            last_position = position;
        }
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for (_, kept) in self.kept.extract_if(|_, kept| kept.position <= last_position) {
            if kept.in_table { &mut known } else { &mut new }.extend(kept.row);
        }
        if let Some(first) = known.first() {
            let upsert = table::upsert_statement::<P>(first);
            for rows in known.chunks(UPSERT_ROWS) {
                table::write::<P>(transaction, &upsert, rows).await?;
            }
        }
        self.copy(transaction, &new).await
    }

    /// The rows that may be in the table and are not kept.
    async fn fetch(
        &mut self,
        transaction: &Transaction<'_>,
        touched: &[(String, &Envelope<P::Events>)],
    ) -> Result<(), tokio_postgres::Error> {
        let may_be_there = |(key, event): &&(String, &Envelope<P::Events>)| {
            matches!(P::SOURCE, RowSource::OneStream(_)) && event.version > 1 && !self.kept.contains_key(key)
        };
        let mut keys: Vec<&str> = touched.iter().filter(may_be_there).map(|(key, _)| key.as_str()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        keys.dedup();
        for (key, row) in table::load::<P>(transaction, &keys).await? {
            let bytes =
                serde_json::to_vec(&row).expect("a row has string keys and no failing serialiser").len();
            let bytes = ROW_BYTES + bytes;
            self.kept_bytes += bytes;
            self.kept.insert(key, Kept { row: Some(row), in_table: true, bytes, position: 0 });
        }
        Ok(())
    }

    async fn copy(
        &mut self,
        transaction: &Transaction<'_>,
        rows: &[P::Row],
    ) -> Result<(), tokio_postgres::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = match self.columns.take() {
            Some(columns) => columns,
            None => columns_of(transaction, P::TABLE).await?,
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let statement = format!("COPY {} ({}) FROM STDIN", P::TABLE, names.join(", "));
        let sink = transaction.copy_in::<_, Bytes>(&statement).await?;
        let mut sink = std::pin::pin!(sink);
        let mut text = String::with_capacity(COPY_CHUNK_BYTES * 2);
        for row in rows {
            let row = serde_json::to_value(row).expect("a row has string keys and no failing serialiser");
            write_line(&mut text, &columns, &row);
            if text.len() > COPY_CHUNK_BYTES {
                sink.send(Bytes::from(std::mem::take(&mut text))).await?;
            }
        }
        sink.send(Bytes::from(text)).await?;
        sink.finish().await?;
        self.columns = Some(columns);
        Ok(())
    }
}

async fn columns_of(
    transaction: &Transaction<'_>,
    table: &str,
) -> Result<Vec<Column>, tokio_postgres::Error> {
    let query = "SELECT attname::text, atttypid IN ('json'::regtype, 'jsonb'::regtype)
                   FROM pg_attribute
                  WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let rows = transaction.query(query, &[&table]).await?;
    rows.iter().map(|row| Ok(Column { name: row.try_get(0)?, is_json: row.try_get(1)? })).collect()
}

/// One line of COPY's text format. Source: PostgreSQL's documentation, "COPY", File Formats.
fn write_line(text: &mut String, columns: &[Column], row: &Value) {
    for (number, column) in columns.iter().enumerate() {
        if number > 0 {
            text.push('\t');
        }
        match &row[column.name.as_str()] {
            Value::Null => text.push_str("\\N"),
            Value::String(value) if !column.is_json => escape(text, value),
            value => escape(text, &value.to_string()),
        }
    }
    text.push('\n');
}

fn escape(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        text.push_str(&rest[..at]);
        text.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            _ => "\\t",
        });
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(row: &Value, columns: &[(&str, bool)]) -> String {
        let columns: Vec<Column> =
            columns.iter().map(|&(name, is_json)| Column { name: name.to_owned(), is_json }).collect();
        let mut text = String::new();
        write_line(&mut text, &columns, row);
        text
    }

    #[test]
    fn a_value_is_text_in_a_text_column_and_json_in_a_json_column() {
        let row =
            json!({"name": "a \"b\"", "address": "a \"b\"", "pieces": 3, "counted": true, "gone": null});
        let columns =
            [("name", false), ("address", true), ("pieces", false), ("counted", false), ("gone", true)];
        assert_eq!(line(&row, &columns), "a \"b\"\t\"a \\\\\"b\\\\\"\"\t3\ttrue\t\\N\n");
    }

    #[test]
    fn what_the_format_uses_for_itself_is_escaped() {
        let row = json!({"name": "tab\tline\nreturn\r\\N"});
        assert_eq!(line(&row, &[("name", false)]), "tab\\tline\\nreturn\\r\\\\N\n");
    }
}
