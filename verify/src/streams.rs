//! The logs by stream: versions contiguous, every event known, each stream's facts in order.
//!
//! Never: more than one stream in memory at a time. Read next: `orders.rs`, `stock.rs`, which fold them.

use events::Context;

use crate::Error;
use crate::database::{Keyed, Snapshot};
use crate::log::{COLUMNS, Event};
use crate::report::{Offence, Property, Report};

/// An event with what it says, where this build knows it.
#[derive(Debug)]
pub struct Told {
    pub event: Event,
    pub fact: Option<events::Event>,
    pub partition: i32,
}

/// The streams of one category, in the order of their names as bytes.
pub struct Streams {
    context: Context,
    rows: Keyed<(Event, Result<events::Event, String>)>,
    /// The stream and version that was read last.
    last: (String, i32),
}

impl Streams {
    /// `category` is what stands before the hyphen in the streams' names.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn open(log: &Snapshot, context: Context, category: &str) -> Result<Self, Error> {
        let stream = log.as_bytes("stream");
        // '.' is the byte after '-'.
        let sql = format!(
            "SELECT {COLUMNS} FROM {context}.events WHERE {stream} >= '{category}-' AND {stream} < '{category}.'
              ORDER BY {stream}, version"
        );
        let decoded = move |row: &tokio_postgres::Row| {
            let event = Event::read(row);
            let fact = event.decode(context);
            (key_of(&event.stream).to_owned(), (event, fact))
        };
        Ok(Self { context, rows: Keyed::open(log, &sql, decoded).await?, last: (String::new(), 0) })
    }

    /// What stands after the hyphen in the next stream's name.
    pub fn peek(&self) -> Option<&str> {
        self.rows.peek()
    }

    /// The next event, whatever its stream.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn pop(&mut self, report: &mut Report) -> Result<Option<Told>, Error> {
        let Some((_, (event, fact))) = self.rows.pop().await? else { return Ok(None) };
        Ok(Some(self.look_at(event, fact, report)))
    }

    /// All events of the stream that is called `key`, where it is the next one.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn take(&mut self, key: &str, report: &mut Report) -> Result<Vec<Told>, Error> {
        let events = self.rows.take(key).await?;
        Ok(events.into_iter().map(|(event, fact)| self.look_at(event, fact, report)).collect())
    }

    fn look_at(&mut self, event: Event, fact: Result<events::Event, String>, report: &mut Report) -> Told {
        let line = report.line(Property::Log);
        let (stream, version) = &mut self.last;
        if *stream != event.stream {
            line.count("streams", 1);
            stream.clone_from(&event.stream);
            *version = 0;
        }
        let wanted = *version + 1;
        if event.version != wanted {
            let offence =
                Offence::new("versions have a gap: this event does not follow the one before in its stream");
            line.offend(event.accuse(self.context, offence).given(event.version).wanted(wanted));
        }
        *version = event.version;
        let fact = fact.map_err(|unknown| {
            let offence = Offence::new("an event that this build cannot read").given(unknown);
            line.offend(event.accuse(self.context, offence));
        });
        Told { partition: event.partition(), fact: fact.ok(), event }
    }
}

fn key_of(stream: &str) -> &str {
    stream.split_once('-').map_or("", |(_, key)| key)
}
