//! The logs by position, beside what the topics hold: no event lost, none swapped, every byte right.
//!
//! The first occurrences in a partition come in the order of the log, so one pass over the log and its topic's partitions, each
//! read up to its next first occurrence, compares everything. A record whose position is at or before one that was read in its
//! partition is a repetition; it is looked up in the log.

use event_log::{ContextName, EventSet};
use futures::{StreamExt, TryStreamExt, pin_mut};
use tokio::sync::mpsc;

use crate::Domain;
use crate::check::log::{self, PositionCheck, check_event_ids, dependencies, versions};
use crate::check::progress::{self, ProgressCheck, Shown};
use crate::check::topics::{self, Place, RepeatedRecord};
use crate::error::{Error, panicked};
use crate::partition_comparison::PartitionComparison;
use crate::read::applied_positions::Checkpoint;
use crate::read::connections::Connections;
use crate::read::log::Log;
use crate::read::positions::Positions;
use crate::read::progress::Progress;
use crate::read::record::ExpectedRecord;
use crate::read::snapshots::Snapshots;
use crate::read::topic::{Partition, Topic};
use crate::report::Report;

/// The most events in a chunk, and the most chunks that are read ahead.
const CHUNK_EVENTS: usize = 256;
const CHUNKS: usize = 8;
/// The most repeated records that are looked up at a time.
const REPEATED_MAX: usize = 256;

/// A log and its topic, to be compared.
pub struct TopicComparison {
    context: ContextName,
    topic: Topic,
    /// What the relay had counted before the topic's ends were asked for.
    cursor: i64,
    /// The checkpoints of all consumers on this topic, read before its ends were asked for.
    checkpoints: Vec<Checkpoint>,
    /// Where every log ends.
    heads: Positions,
    progress: ProgressCheck,
    domain: &'static Domain,
    /// Three connections to one snapshot of the log: by position, for repeated records, and by event id and stream.
    log: Log,
    repeated: Log,
    streams: Log,
}

/// The comparisons of all contexts. Takes the topics out of `snapshots`.
///
/// # Errors
/// [`Error`] when a database cannot be reached.
pub async fn prepare(
    connections: &Connections,
    domain: &'static Domain,
    snapshots: &mut Snapshots,
) -> Result<Vec<TopicComparison>, Error> {
    let mut heads = Positions::none(domain);
    for log in snapshots.logs() {
        heads.raise(log.context(), log.head().await?);
    }
    let topics = snapshots.take_topics();
    let mut comparisons = Vec::new();
    for (topic, log) in topics.into_iter().zip(snapshots.logs()) {
        let context = log.context();
        let of_topic = |checkpoint: &&Checkpoint| checkpoint.context == context;
        let checkpoints = snapshots.consumers().flat_map(|consumers| &consumers.checkpoints);
        let recorded = snapshots.read_models.progress.of(context);
        let [log, repeated, streams] =
            [log.beside(connections), log.beside(connections), log.beside(connections)];
        let (log, repeated, streams) = tokio::try_join!(log, repeated, streams)?;
        comparisons.push(TopicComparison {
            context,
            domain,
            topic,
            cursor: snapshots.cursors.of(context),
            checkpoints: checkpoints.filter(of_topic).cloned().collect(),
            heads: heads.clone(),
            progress: ProgressCheck::new(context, recorded, snapshots.read_models.passed(context)),
            log,
            repeated,
            streams,
        });
    }
    Ok(comparisons)
}

/// Compares one context after another, so that memory holds one topic's records at a time. `categories`: the stream categories
/// that are checked elsewhere; `recorded`: what the read models say of their progress.
///
/// # Errors
/// [`Error`] when they could not be compared.
pub async fn compare_topics<E: EventSet>(
    domain: &Domain,
    comparisons: Vec<TopicComparison>,
    categories: &[&str],
    recorded: Progress,
) -> Result<Report, Error> {
    let (mut report, mut shown) = (Report::default(), Shown::default());
    for comparison in comparisons {
        let (of_context, of_its_events) = comparison.compare::<E>(categories).await?;
        report.add(of_context);
        shown.add(of_its_events);
    }
    shown.check(domain, |context| recorded.of(context).seen, report.line(&progress::PROPERTY));
    Ok(report)
}

impl TopicComparison {
    async fn compare<E: EventSet>(self, categories: &[&str]) -> Result<(Report, Shown), Error> {
        let Self { context, topic, cursor, checkpoints, heads, progress, domain, log, repeated, streams } =
            self;
        let (to_compare, chunks) = mpsc::channel(CHUNKS);
        let (to_look_up, records) = mpsc::channel(REPEATED_MAX);
        let comparing = tokio::task::spawn_blocking(move || {
            let partitions = partitions(context, &topic, &checkpoints, &to_look_up)?;
            drop(to_look_up); // each partition has a sender of its own
            let mut report = Report::default();
            report.line(&topics::PROPERTY).count("topics", 1);
            let positions = PositionCheck::new(domain, context, report.line(&log::PROPERTY));
            Pass { topic: topic.name, cursor, heads, positions, partitions, progress, report }.run(chunks)
        });
        let (fed, looked_up, by_stream) = tokio::join!(
            feed(domain, &log, to_compare),
            look_up(domain, &repeated, records),
            check_ids_and_streams::<E>(&streams, categories)
        );
        let compared = comparing.await.map_err(panicked)?;
        // The comparison stops when the log fails; then the log's error is the cause.
        let (mut report, shown) = match compared {
            Err(Error::Stopped) => return Err(fed.err().unwrap_or(Error::Stopped)),
            compared => compared?,
        };
        report.add(looked_up?);
        report.add(by_stream?);
        Ok((report, shown))
    }
}

async fn check_ids_and_streams<E: EventSet>(log: &Log, categories: &[&str]) -> Result<Report, Error> {
    let mut report = Report::default();
    let line = report.line(&log::PROPERTY);
    check_event_ids(log, line).await?;
    versions::check_other_streams::<E>(log, categories, line).await?;
    Ok(report)
}

/// Some events of a log, or its end. A channel that closes without an end was interrupted.
enum Chunk {
    Events(Vec<ExpectedRecord>),
    End,
}

async fn feed(domain: &Domain, log: &Log, to_compare: mpsc::Sender<Chunk>) -> Result<(), Error> {
    let chunks =
        log.by_position().await?.map_ok(|event| ExpectedRecord::of(domain, event)).try_chunks(CHUNK_EVENTS);
    pin_mut!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|cause| Error::database(&log.snapshot.owner, cause.1))?;
        if to_compare.send(Chunk::Events(chunk)).await.is_err() {
            return Ok(()); // the comparison has failed; it reports why
        }
    }
    let _ = to_compare.send(Chunk::End).await;
    Ok(())
}

/// Holds repeated records against the log.
async fn look_up(
    domain: &Domain,
    log: &Log,
    mut records: mpsc::Receiver<RepeatedRecord>,
) -> Result<Report, Error> {
    let (mut report, mut batch) = (Report::default(), Vec::new());
    while records.recv_many(&mut batch, REPEATED_MAX).await > 0 {
        let positions: Vec<i64> = batch.iter().map(|repeated| repeated.position).collect();
        let events: Vec<ExpectedRecord> =
            log.at(&positions).await?.into_iter().map(|event| ExpectedRecord::of(domain, event)).collect();
        for repeated in batch.drain(..) {
            let expected = events.iter().find(|known| known.event.position == repeated.position);
            let line = report.line(&topics::PROPERTY);
            repeated.check(expected).into_iter().for_each(|violation| line.add_violation(violation));
        }
    }
    Ok(report)
}

fn partitions(
    context: ContextName,
    topic: &Topic,
    checkpoints: &[Checkpoint],
    to_look_up: &mpsc::Sender<RepeatedRecord>,
) -> Result<Vec<PartitionComparison>, Error> {
    let partitions = (0..).zip(topic.partitions()?).zip(&topic.bounds);
    let comparison = |((number, mut partition), bounds): ((i32, Partition), &_)| {
        let of_partition = checkpoints.iter().filter(|checkpoint| checkpoint.partition == number);
        let place = Place { context, topic: topic.name.clone(), partition: number };
        let checkpoints = of_partition.cloned().collect();
        PartitionComparison::new(
            place,
            *bounds,
            Box::new(move || partition.read()),
            checkpoints,
            to_look_up.clone(),
        )
    };
    Ok(partitions.map(comparison).collect())
}

/// One pass over a log beside the partitions of its topic.
struct Pass {
    topic: String,
    cursor: i64,
    heads: Positions,
    positions: PositionCheck,
    partitions: Vec<PartitionComparison>,
    progress: ProgressCheck,
    report: Report,
}

impl Pass {
    fn run(mut self, mut chunks: mpsc::Receiver<Chunk>) -> Result<(Report, Shown), Error> {
        while let Chunk::Events(events) = chunks.blocking_recv().ok_or(Error::Stopped)? {
            for expected in &events {
                self.check(expected)?;
            }
        }
        self.finish()
    }

    /// After the log's last event.
    fn finish(self) -> Result<(Report, Shown), Error> {
        let (head, context, mut report) = (self.positions.head, self.positions.context, self.report);
        topics::check_cursor(context, self.cursor, head, report.line(&topics::PROPERTY));
        for mut partition in self.partitions {
            partition.finish(head, &mut report)?;
        }
        let shown = self.progress.finish(head, report.line(&progress::PROPERTY));
        Ok((report, shown))
    }

    fn check(&mut self, expected: &ExpectedRecord) -> Result<(), Error> {
        let event = &expected.event;
        let is_counted = event.position <= self.cursor;
        let line = self.report.line(&log::PROPERTY);
        self.positions.check(event, line);
        dependencies::check_named(expected, &self.heads, is_counted, line);
        self.progress.check(expected, self.report.line(&progress::PROPERTY));
        let partition = &mut self.partitions[event.partition as usize];
        if !partition.find(expected, &mut self.report)? {
            let line = self.report.line(&topics::PROPERTY);
            topics::check_missing(event, &self.topic, partition.next(), is_counted, line);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
