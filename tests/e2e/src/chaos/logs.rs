//! The four logs as they lie in the database, and what was parked of them, read by SQL of the checker's own.
//!
//! Never: a type of the platform's. Read next: `check.rs`.

use std::collections::BTreeMap;

use events::Context;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// An event of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub position: i64,
    pub stream: String,
    pub version: i32,
    pub event_type: String,
    pub payload: Value,
    pub correlation_id: Uuid,
    /// `http` for what a request did itself.
    pub actor: String,
}

/// All events of each context, by position.
pub type Logs = BTreeMap<&'static str, Vec<Logged>>;

/// # Errors
/// When the database does not answer.
pub async fn connect(url: &str) -> Result<Client, String> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(client)
}

/// # Errors
/// When the database does not answer.
pub async fn read(database: &Client) -> Result<Logs, String> {
    let mut logs = Logs::new();
    for context in Context::ALL {
        let select = format!(
            "SELECT position, stream, version, type, payload, (metadata->>'correlation_id')::uuid, metadata->>'actor'
             FROM {context}.events ORDER BY position"
        );
        let rows = database.query(&select, &[]).await.map_err(|error| error.to_string())?;
        let events = rows.iter().map(|row| Logged {
            position: row.get(0),
            stream: row.get(1),
            version: row.get(2),
            event_type: row.get(3),
            payload: row.get(4),
            correlation_id: row.get(5),
            actor: row.get(6),
        });
        logs.insert(context.name(), events.collect());
    }
    Ok(logs)
}

/// What waits in `parked_events` for a person, one line each: of the sagas by context, of the projections in the read model.
///
/// # Errors
/// When the database does not answer.
pub async fn parked(database: &Client) -> Result<Vec<String>, String> {
    let mut parked = Vec::new();
    for schema in Context::ALL.map(Context::name).into_iter().chain(["readmodel"]) {
        let select =
            format!("SELECT consumer, stream, position, reason FROM {schema}.parked_events ORDER BY 1, 2, 3");
        for row in database.query(&select, &[]).await.map_err(|error| error.to_string())? {
            let (consumer, stream): (String, String) = (row.get(0), row.get(1));
            let (position, reason): (Option<i64>, String) = (row.get(2), row.get(3));
            let position = position.map_or("that cannot be read".to_owned(), |position| position.to_string());
            parked.push(format!("{consumer} has parked {stream}, position {position}: {reason}"));
        }
    }
    Ok(parked)
}

/// The events of each stream, in order.
pub fn streams(logs: &Logs) -> BTreeMap<&str, Vec<&Logged>> {
    let mut streams = BTreeMap::<&str, Vec<&Logged>>::new();
    for event in logs.values().flatten() {
        streams.entry(&event.stream).or_default().push(event);
    }
    streams
}
