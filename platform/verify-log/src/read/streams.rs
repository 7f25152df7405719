//! A log by stream: the events of some streams, stream by stream and in the order of their versions.
//!
//! Memory holds no more than one stream at a time.

use event_log::EventSet;

use crate::Error;
use crate::read::keyed::Keyed;
use crate::read::log::{COLUMNS, Log, RawEvent};

/// An event of a log, and what it decodes to.
#[derive(Debug)]
pub struct LoggedEvent<E> {
    pub event: RawEvent,
    /// The decoded event, or, in words, why this build cannot read it.
    pub fact: Result<E, String>,
}

/// Some streams, in the order of their names as bytes.
pub struct Streams<E>(Keyed<LoggedEvent<E>>);

impl<E: EventSet> Streams<E> {
    /// The streams of one category: that is the part of their names before the first hyphen. The key is the part after it.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn of_category(log: &Log, category: &str) -> Result<Self, Error> {
        Self::open(log, &is_of_category(log, category), key_of).await
    }

    /// All other streams, by their whole names.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn of_other_categories(log: &Log, categories: &[&str]) -> Result<Self, Error> {
        let others = categories.iter().map(|category| format!("NOT ({})", is_of_category(log, category)));
        let others = others.collect::<Vec<_>>().join(" AND ");
        Self::open(log, if others.is_empty() { "true" } else { &others }, |stream| stream).await
    }

    async fn open(log: &Log, filter: &str, key: fn(&str) -> &str) -> Result<Self, Error> {
        let (context, stream) = (log.context(), log.snapshot.as_bytes("stream"));
        let sql = format!("SELECT {COLUMNS} FROM {context}.events WHERE {filter} ORDER BY {stream}, version");
        let events = log.events;
        let decoded = move |row: &tokio_postgres::Row| {
            let event = events.read(row);
            let fact = event.decode();
            (key(&event.stream).to_owned(), LoggedEvent { event, fact })
        };
        Ok(Self(Keyed::open(&log.snapshot, &sql, decoded).await?))
    }

    /// The key of the next stream.
    pub fn peek(&self) -> Option<&str> {
        self.0.peek()
    }

    /// The next event, whatever its stream.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn pop(&mut self) -> Result<Option<LoggedEvent<E>>, Error> {
        Ok(self.0.pop().await?.map(|(_, event)| event))
    }

    /// All events of the stream with this key, if it is the next one.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn take(&mut self, key: &str) -> Result<Vec<LoggedEvent<E>>, Error> {
        self.0.take(key).await
    }
}

fn is_of_category(log: &Log, category: &str) -> String {
    let stream = log.snapshot.as_bytes("stream");
    // '.' is the byte after '-'.
    format!("{stream} >= '{category}-' AND {stream} < '{category}.'")
}

fn key_of(stream: &str) -> &str {
    stream.split_once('-').map_or("", |(_, key)| key)
}
