//! The logs by position, beside what the topics hold: nothing lost, nothing swapped, every byte right.
//!
//! The first occurrences in a partition come in the order of the log, so one pass over the log and twelve partitions,
//! each looked at where it stands, compares everything. What stands at or before a position that was met in the
//! partition is a repetition, and is held against the log by itself.
//!
//! The order of reading decides on a running system: the relay's cursor and the checkpoints first, then where the
//! topics end, then the logs. So what the cursor counts is in the topics, and what the topics hold is in the logs.
//! Never: a map of events. Read next: `holding.rs` (one partition).

use events::{Context, StreamId};
use futures::{StreamExt, TryStreamExt, pin_mut};
use tokio::sync::mpsc;
use tokio_postgres::Row;

use crate::Error;
use crate::database::Snapshot;
use crate::depends::{self, Positions};
use crate::holding::{Holding, Repeated};
use crate::log::{COLUMNS, Event, Published};
use crate::progress::{Applied, Shown};
use crate::reach::Claim;
use crate::report::{Offence, Property, Report};
use crate::topic::Topic;

/// Events handed over at a time, and so many of these on the way.
const CHUNK_EVENTS: usize = 256;
const CHUNKS: usize = 8;
/// Repeated records held against the log at a time.
const REPEATED_MAX: usize = 256;

/// What to compare.
pub struct Journey {
    pub context: Context,
    pub topic: Topic,
    /// What the relay had counted before the topic's ends were asked for.
    pub cursor: i64,
    /// The checkpoints of all consumers on this topic, read before its ends were asked for.
    pub claims: Vec<Claim>,
    /// Where every log ends, in the order of [`Context::ALL`].
    pub heads: Positions,
    /// What the read models say of this context, read with their checkpoints.
    pub applied: Applied,
}

/// A journey, and three connections to one snapshot of its log.
pub struct Leg {
    pub journey: Journey,
    pub log: Snapshot,
    pub beside: Snapshot,
    pub ids: Snapshot,
}

/// One context after another, so that one topic's records are in memory at a time. `seen`: what the read models say that
/// they have seen of each.
///
/// # Errors
/// [`Error`] when they could not be compared.
pub async fn hold_positions(legs: Vec<Leg>, seen: Positions) -> Result<Report, Error> {
    let (mut report, mut shown) = (Report::default(), Shown::default());
    for Leg { journey, log, beside, ids } in legs {
        let context = journey.context;
        let ((compared, of_context), doubled) =
            tokio::try_join!(journey.compare(&log, &beside), hold_event_ids(&ids, context))?;
        report.add(compared);
        report.add(doubled);
        shown.add(of_context);
    }
    shown.hold(&seen, report.line(Property::Progress));
    Ok(report)
}

async fn hold_event_ids(log: &Snapshot, context: Context) -> Result<Report, Error> {
    let mut report = Report::default();
    let sql = format!(
        "SELECT event_id::text, min(position), max(position) FROM {context}.events
          GROUP BY event_id HAVING count(*) > 1 ORDER BY 2"
    );
    for row in log.query(&sql, &[]).await? {
        let (event_id, first, again): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let offence =
            Offence::new("an event id that is there twice").in_context(context).at("event_id", event_id);
        report.line(Property::Log).offend(offence.at("position", again).at("first position", first));
    }
    Ok(report)
}

impl Journey {
    async fn compare(self, log: &Snapshot, beside: &Snapshot) -> Result<(Report, Shown), Error> {
        let (to_compare, chunks) = mpsc::channel(CHUNKS);
        let (to_look_up, repeated) = mpsc::channel(CHUNKS);
        let context = self.context;
        let comparing = tokio::task::spawn_blocking(move || Comparing::new(self, to_look_up)?.run(chunks));
        let (read, looked_up) =
            tokio::join!(feed(log, context, to_compare), look_up(beside, context, repeated));
        let compared = comparing.await.map_err(|panic| Error::Broken { cause: panic.to_string() })?;
        // Whoever failed first has stopped the others; the comparison that was stopped has nothing to tell.
        let (mut report, shown) = match compared {
            Err(Error::Stopped) => return Err(read.err().unwrap_or(Error::Stopped)),
            compared => compared?,
        };
        report.add(looked_up?);
        Ok((report, shown))
    }
}

/// A part of a log, or its end. Without the end the reading was broken off.
enum Chunk {
    Events(Vec<Published>),
    End,
}

async fn feed(log: &Snapshot, context: Context, to_compare: mpsc::Sender<Chunk>) -> Result<(), Error> {
    let sql = format!("SELECT {COLUMNS} FROM {context}.events ORDER BY position");
    let published = |row: Row| Published::of(Event::read(&row), context);
    let rows = log.stream(&sql).await?.map_ok(published).try_chunks(CHUNK_EVENTS);
    pin_mut!(rows);
    while let Some(chunk) = rows.next().await {
        let chunk = chunk.map_err(|cause| Error::database(context.name(), cause.1))?;
        if to_compare.send(Chunk::Events(chunk)).await.is_err() {
            return Ok(()); // the comparison stopped, and says why
        }
    }
    let _ = to_compare.send(Chunk::End).await;
    Ok(())
}

/// Holds repeated records against the log.
async fn look_up(
    log: &Snapshot,
    context: Context,
    mut repeated: mpsc::Receiver<(String, Repeated)>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut batch = Vec::new();
    while repeated.recv_many(&mut batch, REPEATED_MAX).await > 0 {
        let positions: Vec<i64> = batch.iter().map(|(_, repeated)| repeated.position).collect();
        let sql = format!("SELECT {COLUMNS} FROM {context}.events WHERE position = ANY($1)");
        let rows = log.query(&sql, &[&positions]).await?;
        let events: Vec<Published> =
            rows.iter().map(|row| Published::of(Event::read(row), context)).collect();
        for (topic, record) in batch.drain(..) {
            let event = events.iter().find(|known| known.event.position == record.position);
            if let Some(offence) = record.offence(context, event) {
                report.line(Property::Topics).offend(offence.at("topic", topic));
            }
        }
    }
    Ok(report)
}

struct Comparing {
    context: Context,
    topic: String,
    cursor: i64,
    head: i64,
    heads: Positions,
    holdings: Vec<Holding>,
    applied: Applied,
    report: Report,
}

impl Comparing {
    fn new(journey: Journey, to_look_up: mpsc::Sender<(String, Repeated)>) -> Result<Self, Error> {
        let Journey { context, topic, cursor, claims, heads, applied } = journey;
        let (mut holdings, mut report) = (Vec::new(), Report::default());
        for (number, partition) in (0..).zip(topic.partitions()?) {
            let claims: Vec<Claim> =
                claims.iter().filter(|claim| claim.partition == number).cloned().collect();
            let bounds = topic.bounds[holdings.len()];
            let to_look_up = to_look_up.clone();
            holdings.push(Holding::new(context, &topic.name, number, bounds, partition, claims, to_look_up));
        }
        report.line(Property::Log).count("logs", 1);
        report.line(Property::Topics).count("topics", 1);
        Ok(Self { context, topic: topic.name, cursor, head: 0, heads, holdings, applied, report })
    }

    fn run(mut self, mut chunks: mpsc::Receiver<Chunk>) -> Result<(Report, Shown), Error> {
        while let Chunk::Events(events) = chunks.blocking_recv().ok_or(Error::Stopped)? {
            for published in &events {
                self.check_place(&published.event);
                let is_counted = published.event.position <= self.cursor;
                let line = self.report.line(Property::Log);
                depends::hold_named(line, self.context, published, &self.heads, is_counted);
                self.applied.hold(published, self.report.line(Property::Progress));
                self.check_record(published)?;
            }
        }
        if self.cursor > self.head {
            let offence = Offence::new("the relay's cursor is beyond the log").in_context(self.context);
            self.report
                .line(Property::Topics)
                .offend(offence.given(self.cursor).wanted(format!("at most {}", self.head)));
        }
        for mut holding in self.holdings {
            holding.finish(self.head, &mut self.report)?;
        }
        let shown = self.applied.finish(self.head, self.report.line(Property::Progress));
        Ok((self.report, shown))
    }

    fn check_place(&mut self, event: &Event) {
        let line = self.report.line(Property::Log);
        line.count("events", 1);
        let wanted = self.head + 1;
        if event.position != wanted {
            let offence = Offence::new("positions have a gap: this event does not follow the one before");
            line.offend(event.accuse(self.context, offence).given(event.position).wanted(wanted));
        }
        self.head = event.position;
        let stream = StreamId::from(event.stream.clone());
        if Context::of_stream(&stream) != Some(self.context) {
            let offence = Offence::new("a stream that is not of this context");
            line.offend(event.accuse(self.context, offence));
        }
    }

    fn check_record(&mut self, published: &Published) -> Result<(), Error> {
        let event = &published.event;
        let holding = &mut self.holdings[event.partition() as usize];
        let is_counted = event.position <= self.cursor;
        if holding.meet(published, &mut self.report)? {
            return Ok(());
        }
        let line = self.report.line(Property::Topics);
        match holding.head() {
            // Nothing of the log after it is in the partition, so it may still be on its way.
            None if !is_counted => line.count("not published yet", 1),
            next => {
                let what = match next {
                    None => "the event is missing in the topic: the relay counted it as published",
                    Some(_) => "the event is missing in the topic: a later one of its partition is there",
                };
                let offence = event.accuse(self.context, Offence::new(what)).at("topic", &self.topic);
                let offence = offence.at("partition", event.partition());
                line.offend(match next {
                    None => offence,
                    Some(next) => offence.at("before offset", next.offset),
                });
            }
        }
        Ok(())
    }
}
