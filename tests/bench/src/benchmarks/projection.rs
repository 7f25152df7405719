//! Events a second that each projection applies from full topics, alone.
//! Baselines: COPY of the resulting rows, counted in the same events; and one transaction for each event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use event_bus::{BusConfig, ConsumerOptions, run_consumer};
use events::{Context, ContextName, Envelope, Event};
use futures::{SinkExt as _, TryStreamExt as _};
use projections::{ChangeNotifier, ProjectionHandler, Projector};
use query_side::READ_MODEL;
use runtime::postgres::{self, owner_url};
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::platform::BenchPlatform;
use crate::shop::two_lines;

const APPLY_MAX: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const EVENTS_ONE_BY_ONE_MAX: usize = 20_000;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let (orders, span) = (environment.sizes.projection_orders, environment.sizes.span);
    let platform = environment.platform().await?;
    platform.shop.receive_all_stock().await?;
    let placed = platform.place(orders, two_lines).await?;
    platform.wait_until_settled(&placed).await?;
    platform.stop_roles().await?;
    let mut rows = Vec::new();
    for projector in query_side::projections().projectors {
        let database = Database::fresh(projector.table()).await?;
        let (events, per_second) = from_topics(platform, &database, Arc::clone(&projector)).await?;
        let copied = copy(&database, &*projector, events).await?;
        let alone = one_by_one(platform, &database, &*projector, span).await?;
        let row = Row::new(projector.name(), "events/s", Spread::one(per_second));
        rows.push(row.clone().baseline("events/s, COPY of the same rows", copied));
        rows.push(row.baseline("events/s, one transaction for each", alone).goal(Goal::AtLeast(20.0)));
        database.drop().await?;
    }
    Ok(rows)
}

/// Applies the topics from their beginning to the present end of their logs, by a separate consumer.
async fn from_topics(
    platform: &BenchPlatform,
    database: &Database,
    projector: Arc<dyn Projector<Event>>,
) -> anyhow::Result<(f64, f64)> {
    let mut head = 0;
    for context in projector.contexts() {
        let store = platform.database.store(Context::try_from(*context)?).await?;
        head += store.head().await?;
        store.shutdown().await;
    }
    let pool = postgres::pool(&owner_url(&database.url, READ_MODEL), 2)?;
    // Its own name: consumers of one name share the partitions.
    let mut options = ConsumerOptions::new(testkit::unique("bench"), projector.contexts().iter().copied());
    options.batch_max = batch_max()?;
    let set = query_side::projections().with(vec![projector]);
    let handler = ProjectionHandler::new(set, pool, ChangeNotifier::new(1));
    let bus = BusConfig::plain(testkit::kafka_brokers(), platform.topic_prefix.clone());
    let shutdown = CancellationToken::new();
    let consuming = run_consumer(&bus, options, Arc::new(handler), Arc::new(|_| ()), shutdown.clone());
    let watching = async {
        let watched = wait_until_applied(database, head).await;
        shutdown.cancel();
        watched
    };
    let (consumed, watched) = tokio::join!(consuming, watching);
    consumed?;
    watched
}

/// The batch size that the query side has by default.
fn batch_max() -> anyhow::Result<usize> {
    use clap::{Args as _, Command, FromArgMatches as _};
    let command = query_side::Config::augment_args(Command::new("query-side").no_binary_name(true));
    let config = query_side::Config::from_arg_matches(&command.try_get_matches_from(Vec::<String>::new())?)?;
    Ok(config.projection_batch_max)
}

async fn wait_until_applied(database: &Database, head: i64) -> anyhow::Result<(f64, f64)> {
    let admin = database.admin().await?;
    let give_up = Instant::now() + APPLY_MAX;
    let applied = format!("SELECT coalesce(sum(next_offset), 0)::bigint FROM {READ_MODEL}.checkpoints");
    let mut first: Option<(Instant, i64)> = None;
    loop {
        let done: i64 = admin.query_one(&applied, &[]).await?.try_get(0)?;
        let now = Instant::now();
        let (since, from) = *first.get_or_insert((now, done));
        if done == 0 {
            first = None;
        }
        if done >= head {
            let seconds = now.duration_since(since).as_secs_f64().max(POLL_INTERVAL.as_secs_f64());
            return Ok((head as f64, (done - from).max(1) as f64 / seconds));
        }
        ensure!(now < give_up, "{done} of {head} events are applied after {APPLY_MAX:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Copies the rows into an empty table of the same form; in the events a second that led to these rows.
async fn copy(database: &Database, projector: &dyn Projector<Event>, events: f64) -> anyhow::Result<f64> {
    let (admin, table) = (database.admin().await?, projector.table());
    let out = admin.copy_out(&format!("COPY {READ_MODEL}.{table} TO STDOUT (FORMAT binary)")).await?;
    let chunks: Vec<Bytes> = out.try_collect().await?;
    admin
        .batch_execute(&format!(
            "CREATE TABLE {READ_MODEL}.bench_copy (LIKE {READ_MODEL}.{table} INCLUDING ALL)"
        ))
        .await?;
    let begun = Instant::now();
    let sink = admin.copy_in(&format!("COPY {READ_MODEL}.bench_copy FROM STDIN (FORMAT binary)")).await?;
    let mut sink = std::pin::pin!(sink);
    for chunk in chunks {
        sink.send(chunk).await?;
    }
    sink.finish().await?;
    let seconds = begun.elapsed().as_secs_f64();
    admin.batch_execute(&format!("DROP TABLE {READ_MODEL}.bench_copy")).await?;
    Ok(events / seconds)
}

/// A simple projection: one transaction for each event, with its effect and its checkpoint.
async fn one_by_one(
    platform: &BenchPlatform,
    database: &Database,
    projector: &dyn Projector<Event>,
    span: Duration,
) -> anyhow::Result<f64> {
    let events = envelopes(platform, projector.contexts()).await?;
    let pool = postgres::pool(&owner_url(&database.url, READ_MODEL), 1)?;
    let admin = database.admin().await?;
    admin.batch_execute(&format!("TRUNCATE {READ_MODEL}.{}", projector.table())).await?;
    let mut client = pool.get().await?;
    let begun = Instant::now();
    let mut applied = 0.0;
    for event in &events {
        if begun.elapsed() > span {
            break;
        }
        let transaction = client.transaction().await?;
        let checkpoint = transaction
            .prepare_cached(
                "INSERT INTO checkpoints (consumer, topic, partition, next_offset, last_position) VALUES ('bench', $1, 0, $2, $2)
                 ON CONFLICT (consumer, topic, partition) DO UPDATE SET next_offset = excluded.next_offset, last_position = excluded.last_position",
            )
            .await?;
        transaction.execute(&checkpoint, &[&event.context.topic(), &event.position]).await?;
        projector.apply(&transaction, &[event]).await?;
        transaction.commit().await?;
        applied += 1.0;
    }
    Ok(applied / begun.elapsed().as_secs_f64())
}

/// The first events of all logs in the order of their times: the same mix as in the topics.
async fn envelopes(platform: &BenchPlatform, contexts: &[ContextName]) -> anyhow::Result<Vec<Envelope>> {
    let mut events = Vec::new();
    for context in contexts {
        let store = platform.database.store(Context::try_from(*context)?).await?;
        let raw = store.scan(0, EVENTS_ONE_BY_ONE_MAX).await?;
        store.shutdown().await;
        for event in raw {
            events.push(event.decode(*context)?);
        }
    }
    events.sort_by_key(|event: &Envelope| event.recorded_at);
    Ok(events)
}
