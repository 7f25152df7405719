//! Applies a batch of events to a projection's table: load the touched rows, fold in memory, write them back.
//!
//! Whatever the size of the batch, that is one or two statements. The table's name is not qualified: the connection's
//! search path says whether it is the live table or a shadow (`tradewind replay`). The transaction is the caller's, who
//! moves the checkpoints in it. Never: a commit, or anything but the given transaction.
//! Read next: [`crate::consumer`], which calls this for the live tables.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::marker::PhantomData;
use std::sync::OnceLock;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use events::{Context, Envelope};
use fault::mutant;
use tokio_postgres::types::{Json, ToSql};

use crate::projection::{FedBy, Projection};
use crate::rebuild::{self, Rebuild};

/// The one consumer of a query side: all projections are applied together, and their checkpoints are filed under this. Also
/// the consumer group on Kafka, after the topic prefix.
pub const READER: &str = "query-side";

/// The parked events of the projection called `name` are filed under this.
pub fn consumer_name(name: &str) -> String {
    format!("query-side.{name}")
}

/// A projection that can be applied without knowing which one it is. It is given its transaction and nothing else:
/// whatever applies projections alone, such as a rebuild, cannot act on the world.
#[async_trait]
pub trait Projector: Send + Sync {
    fn name(&self) -> &'static str;
    fn table(&self) -> &'static str;
    /// The column that is the table's primary key.
    fn key_column(&self) -> &'static str;
    fn contexts(&self) -> &'static [Context];

    /// Folds the events, which are in order within each stream, into the table. Returns the keys of the rows that they
    /// touch.
    ///
    /// # Errors
    /// The database's. Where [`is_refusal`] holds, the same events would be refused again.
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[&Envelope],
    ) -> Result<Vec<String>, tokio_postgres::Error>;

    /// The same fold for a whole history, with rows kept in memory, by one task alone. None where other tasks write to the
    /// same rows: then the history is applied page by page.
    fn rebuild(&self) -> Option<Box<dyn Rebuild>> {
        None
    }
}

/// Whether the data itself is refused: by the database (SQLSTATE classes 22, data exception, and 23, integrity
/// constraint violation), or by us, who cannot read a row back. Trying again would end the same way.
pub fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let unreadable = error.source().is_some_and(|cause| cause.is::<serde_json::Error>());
    unreadable || error.code().is_some_and(|state| matches!(state.code().get(..2), Some("22" | "23")))
}

/// [`Projector`] for a [`Projection`].
pub struct Engine<P> {
    upsert: OnceLock<String>,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Engine<P> {
    pub fn new() -> Self {
        Self { upsert: OnceLock::new(), projection: PhantomData }
    }

    pub(crate) async fn load(
        transaction: &Transaction<'_>,
        keys: &[&str],
    ) -> Result<BTreeMap<String, P::Row>, tokio_postgres::Error> {
        let (table, key) = (P::TABLE, P::KEY);
        let select = format!("SELECT t.{key}, row_to_json(t) FROM {table} t WHERE t.{key} = ANY($1)");
        let rows = match P::FED_BY {
            FedBy::OneEvent => return Ok(BTreeMap::new()),
            FedBy::OneStream => {
                let select = transaction.prepare_cached(&select).await?;
                transaction.query(&select, &[&keys]).await?
            }
            FedBy::SeveralStreams => {
                // Two processes may begin the same row at once: the second waits here for the first. Both insert in
                // the order of the keys, and lock only when all of theirs are inserted: no circle of waiting.
                let begin = format!(
                    "INSERT INTO {table} ({key}) SELECT unnest($1::text[]) ON CONFLICT ({key}) DO NOTHING"
                );
                let begin = transaction.prepare_cached(&begin).await?;
                let select =
                    transaction.prepare_cached(&format!("{select} ORDER BY t.{key} FOR UPDATE")).await?;
                // The server does the one and then the other; we wait for both at once.
                let params: [&(dyn ToSql + Sync); 1] = [&keys];
                futures::try_join!(transaction.execute(&begin, &params), transaction.query(&select, &params))?
                    .1
            }
        };
        rows.iter()
            .map(|row| {
                let Json(folded) = row.try_get::<_, Json<P::Row>>(1)?;
                Ok((row.try_get(0)?, folded))
            })
            .collect()
    }

    pub(crate) async fn write(
        &self,
        transaction: &Transaction<'_>,
        rows: &[P::Row],
    ) -> Result<(), tokio_postgres::Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let upsert = self.upsert.get_or_init(|| upsert_statement::<P>(first));
        let upsert = transaction.prepare_cached(upsert).await?;
        transaction.execute(&upsert, &[&Json(rows)]).await?;
        Ok(())
    }
}

impl<P: Projection> Default for Engine<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// The columns are the fields of the row.
fn upsert_statement<P: Projection>(row: &P::Row) -> String {
    let (table, key) = (P::TABLE, P::KEY);
    let row = serde_json::to_value(row).expect("a row has string keys and no failing serialiser");
    let columns: Vec<&str> = row.as_object().expect("a row is a struct").keys().map(String::as_str).collect();
    let assignments: Vec<String> =
        columns.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
    let (columns, assignments) = (columns.join(", "), assignments.join(", "));
    let on_conflict = match P::FED_BY {
        FedBy::OneEvent if !mutant!("projector::version_not_checked") => "DO NOTHING".to_owned(),
        FedBy::OneEvent | FedBy::OneStream | FedBy::SeveralStreams => {
            format!("DO UPDATE SET {assignments}")
        }
    };
    format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json) \
         ON CONFLICT ({key}) {on_conflict}"
    )
}

/// The events of each row, by key; events that are nothing to the projection left out.
fn by_key<'a, P: Projection>(events: &[&'a Envelope]) -> BTreeMap<String, Vec<&'a Envelope>> {
    let mut touched = BTreeMap::<String, Vec<&Envelope>>::new();
    for event in events {
        if let Some(key) = P::key(event) {
            touched.entry(key).or_default().push(event);
        }
    }
    touched
}

#[async_trait]
impl<P: Projection> Projector for Engine<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn table(&self) -> &'static str {
        P::TABLE
    }

    fn key_column(&self) -> &'static str {
        P::KEY
    }

    fn contexts(&self) -> &'static [Context] {
        P::CONTEXTS
    }

    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[&Envelope],
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        let touched = by_key::<P>(events);
        if touched.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<&str> = touched.keys().map(String::as_str).collect();
        let mut rows = Self::load(transaction, &keys).await?;
        let mut changed = Vec::new();
        for (key, events) in &touched {
            let before = rows.remove(key);
            let after = events.iter().fold(before.clone(), |row, event| P::apply(row, event));
            if after != before {
                changed.extend(after);
            }
        }
        self.write(transaction, &changed).await?;
        Ok(touched.into_keys().collect())
    }

    fn rebuild(&self) -> Option<Box<dyn Rebuild>> {
        rebuild::rebuild::<P>()
    }
}
