//! The table `parked_events`: records that a projection could not apply, and every later one of the same stream.
//!
//! A poison event stops its own stream and no other, and the stream's order is kept for whoever repairs it.
//! Never: a record left out without a row here. Read next: [`crate::consumer`].

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use event_bus::Record;

/// A record to be parked, and why.
pub struct Parking<'a> {
    pub record: &'a Record,
    pub reason: String,
}

/// Which of these streams are parked for the consumer.
///
/// # Errors
/// The database's.
pub async fn parked_among(
    transaction: &Transaction<'_>,
    consumer: &str,
    streams: &[String],
) -> Result<HashSet<String>, tokio_postgres::Error> {
    let statement = transaction
        .prepare_cached("SELECT DISTINCT stream FROM parked_events WHERE consumer = $1 AND stream = ANY($2)")
        .await?;
    let rows = transaction.query(&statement, &[&consumer, &streams]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Files the records. One that is filed already (its checkpoint was set back) stays as it is.
///
/// # Errors
/// The database's.
pub async fn park(
    transaction: &Transaction<'_>,
    consumer: &str,
    parkings: &[Parking<'_>],
) -> Result<(), tokio_postgres::Error> {
    let statement = transaction
        .prepare_cached(
            "INSERT INTO parked_events (consumer, topic, partition, record_offset, stream, position, key, payload, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .await?;
    for Parking { record, reason } in parkings {
        let (topic, stream) = (&*record.topic, storable(&record.stream_name()));
        transaction
            .execute(
                &statement,
                &[
                    &consumer,
                    &topic,
                    &record.partition,
                    &record.offset,
                    &stream,
                    &record.position,
                    &record.key,
                    &record.payload,
                    &storable(reason),
                ],
            )
            .await?;
    }
    Ok(())
}

/// Postgres text holds every character but NUL.
pub fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
