//! The table `parked_events`, for operators: which records are parked, and how they are removed, in the order of each
//! stream.
//!
//! Every schema with checkpoints has the table, in the same form; it must be on the connection's search path. Consumers
//! park records together with their effects. Two SQL functions remove them, the first record of a stream first:
//! `unpark` in the transaction of the record's effect, and `discard_parked`, which records who discarded it and why
//! (docs/decisions/0009).

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use event_log::Position;
use tokio_postgres::{Error, Row};

use crate::{BusConfig, Record};

/// The number of parked streams that are named in the metrics.
const NAMED_MAX: usize = 5;

/// A stream with parked records of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    pub consumer: String,
    pub stream: String,
    /// The number of parked records.
    pub records: i64,
    /// The first of them; the others wait for it.
    pub first: Place,
    /// The first record's position in the context's log; none if it cannot be read.
    pub position: Option<Position>,
    pub reason: String,
    pub since: DateTime<Utc>,
}

/// The metrics of one consumer's parked streams: how many there are (`tradewind_parked_streams`), and the names of the
/// first few (`tradewind_parked_stream`, 1 while parked).
pub struct ParkedMetrics {
    pub consumer: String,
    named: BTreeSet<String>,
}

impl ParkedMetrics {
    pub fn new(consumer: impl Into<String>) -> Self {
        Self { consumer: consumer.into(), named: BTreeSet::new() }
    }

    /// Sets the metrics to `parked`, streams in any order. Returns a sentence about them; none if there are none.
    pub fn update(&mut self, mut parked: Vec<&str>) -> Option<String> {
        parked.sort_unstable();
        metrics::gauge!("tradewind_parked_streams", "consumer" => self.consumer.clone())
            .set(u32::try_from(parked.len()).unwrap_or(u32::MAX));
        let named: BTreeSet<String> =
            parked.iter().take(NAMED_MAX).map(|stream| (*stream).to_owned()).collect();
        let gauge = |stream: &String| {
            let labels = [("consumer", self.consumer.clone()), ("stream", stream.clone())];
            metrics::gauge!("tradewind_parked_stream", &labels)
        };
        self.named.difference(&named).for_each(|stream| gauge(stream).set(0));
        named.iter().for_each(|stream| gauge(stream).set(1));
        let names = named.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.named = named;
        let count = parked.len();
        (count > 0).then(|| format!("{count} streams are parked: {names} (`tradewind parked list`)"))
    }
}

/// The topic, partition and offset of a record when it was parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// A record that is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRecord {
    pub consumer: String,
    pub stream: String,
    pub place: Place,
    pub position: Option<Position>,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
    pub reason: String,
    pub parked_at: DateTime<Utc>,
}

/// The outcome of retrying a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retried {
    /// The number of records that were handled, in order, and are no longer parked.
    pub handled: u64,
    /// The record that failed again; it and all later ones are still parked.
    pub stopped: Option<Stopped>,
}

/// The record at which a retry stopped, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub place: Place,
    pub position: Option<Position>,
    pub reason: String,
}

impl ParkedRecord {
    /// The record in the form that the consumer gets; none if its topic belongs to no context.
    pub fn record(&self, config: &BusConfig) -> Option<Record> {
        let context = config.context_of(&self.place.topic)?;
        let Place { topic, partition, offset } = &self.place;
        let place = (*partition, *offset);
        Some(Record::read(context, Arc::from(topic.as_str()), place, self.key.clone(), self.payload.clone()))
    }

    pub fn stopped(&self, reason: impl Into<String>) -> Stopped {
        Stopped { place: self.place.clone(), position: self.position, reason: reason.into() }
    }
}

/// The parked streams of one consumer, or of all consumers of this table.
///
/// # Errors
/// The database's.
pub async fn streams(
    client: &impl GenericClient,
    consumer: Option<&str>,
) -> Result<Vec<ParkedStream>, Error> {
    let statement = client
        .prepare_cached(
            "SELECT DISTINCT ON (consumer, stream) consumer, stream, topic, partition, record_offset, position, reason,
                    parked_at, count(*) OVER (PARTITION BY consumer, stream) AS records
               FROM parked_events
              WHERE $1::text IS NULL OR consumer = $1
              ORDER BY consumer, stream, topic, partition, record_offset",
        )
        .await?;
    let rows = client.query(&statement, &[&consumer]).await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedStream {
                consumer: row.try_get("consumer")?,
                stream: row.try_get("stream")?,
                records: row.try_get("records")?,
                first: place(row)?,
                position: row.try_get("position")?,
                reason: row.try_get("reason")?,
                since: row.try_get("parked_at")?,
            })
        })
        .collect()
}

/// The next parked records of a stream after `after`, in order.
///
/// # Errors
/// The database's.
pub async fn records(
    client: &impl GenericClient,
    consumer: &str,
    stream: &str,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<ParkedRecord>, Error> {
    let statement = client
        .prepare_cached(
            "SELECT consumer, stream, topic, partition, record_offset, position, key, payload, reason, parked_at
               FROM parked_events
              WHERE consumer = $1 AND stream = $2 AND (topic, partition, record_offset) > ($3, $4, $5)
              ORDER BY topic, partition, record_offset LIMIT $6",
        )
        .await?;
    let (topic, partition, offset) =
        after.map_or(("", -1, -1), |after| (after.topic.as_str(), after.partition, after.offset));
    let rows = client.query(&statement, &[&consumer, &stream, &topic, &partition, &offset, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(ParkedRecord {
                consumer: row.try_get("consumer")?,
                stream: row.try_get("stream")?,
                place: place(row)?,
                position: row.try_get("position")?,
                key: row.try_get("key")?,
                payload: row.try_get("payload")?,
                reason: row.try_get("reason")?,
                parked_at: row.try_get("parked_at")?,
            })
        })
        .collect()
}

fn place(row: &Row) -> Result<Place, Error> {
    Ok(Place {
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        offset: row.try_get("record_offset")?,
    })
}

/// Removes the record, in the transaction of its effect.
///
/// # Errors
/// The database's; also when it is not the first of its stream: roll back.
pub async fn unpark(transaction: &Transaction<'_>, record: &ParkedRecord) -> Result<(), Error> {
    let statement = transaction.prepare_cached("SELECT unpark($1, $2, $3, $4)").await?;
    let Place { topic, partition, offset } = &record.place;
    transaction.execute(&statement, &[&record.consumer, topic, partition, offset]).await?;
    Ok(())
}

/// Discards the record, and records by whom and why.
///
/// # Errors
/// The database's; also when it is not the first of its stream: roll back.
pub async fn discard(
    client: &impl GenericClient,
    record: &ParkedRecord,
    by: &str,
    because: &str,
) -> Result<(), Error> {
    let statement = client.prepare_cached("SELECT discard_parked($1, $2, $3, $4, $5, $6)").await?;
    let Place { topic, partition, offset } = &record.place;
    client.execute(&statement, &[&record.consumer, topic, partition, offset, &by, &because]).await?;
    Ok(())
}
