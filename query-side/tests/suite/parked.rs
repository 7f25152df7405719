//! Parked streams: one among many harms no other, and is put right in order, also while the consumer parks more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use event_bus::parked::{records, streams};
use event_bus::{BatchHandler, BusConfig};
use events::{Context, ContextName, Envelope, Event, StreamId};
use projections::parked::retry;
use projections::{ChangeNotifier, ProjectionHandler, Projector};
use runtime::{Secret, postgres};

use crate::given::Happening::*;
use crate::given::{HAPPY, Logs, order_id};
use crate::service::{ReadModel, Topics, read_model};

const NAME: &str = "journal";
const CONSUMER: &str = "query-side.journal";

/// Writes down every event in the order in which it is applied; while it is `broken`, Postgres refuses those of one stream.
struct Journal {
    refused: StreamId,
    broken: AtomicBool,
}

#[async_trait]
impl Projector<Event> for Journal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn table(&self) -> &'static str {
        "journal"
    }

    fn key_column(&self) -> &'static str {
        "entry"
    }

    fn contexts(&self) -> &'static [ContextName] {
        const ORDERS: [ContextName; 1] = [Context::NAMES[Context::Orders as usize]];
        &ORDERS
    }

    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[&Envelope],
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        let broken = self.broken.load(Ordering::SeqCst);
        let streams: Vec<&str> = events.iter().map(|event| event.stream.as_str()).collect();
        let versions: Vec<i32> = events
            .iter()
            // 0 is what the table's constraint forbids.
            .map(|event| if broken && event.stream == self.refused { 0 } else { event.version })
            .collect();
        let insert = "INSERT INTO journal (stream, version) SELECT * FROM unnest($1::text[], $2::int[])";
        transaction.execute(insert, &[&streams, &versions]).await?;
        Ok(Vec::new())
    }
}

struct Stage {
    read_model: ReadModel,
    journal: Arc<Journal>,
    handler: Arc<ProjectionHandler<Event>>,
}

/// A journal that refuses the events of order 0.
async fn stage() -> Stage {
    let read_model = read_model().await;
    let admin_url = read_model.admin_url();
    let admin = postgres::connect(&Secret::from(admin_url)).await.expect("the test's database answers");
    admin
        .batch_execute(
            "CREATE TABLE readmodel.journal (
                 entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 stream text NOT NULL, version int NOT NULL CHECK (version > 0)
             );
             GRANT SELECT, INSERT ON readmodel.journal TO tradewind_readmodel",
        )
        .await
        .expect("a table for the journal");
    let journal =
        Arc::new(Journal { refused: events::orders::stream(order_id(0)), broken: AtomicBool::new(true) });
    let projector: Arc<dyn Projector<Event>> = journal.clone();
    let handler = Arc::new(ProjectionHandler::new(
        query_side::projections().with(vec![projector]),
        read_model.pool.clone(),
        ChangeNotifier::new(1),
    ));
    Stage { read_model, journal, handler }
}

impl Stage {
    fn mend(&self) {
        self.journal.broken.store(false, Ordering::SeqCst);
    }

    fn poisoned(&self) -> &str {
        self.journal.refused.as_str()
    }

    async fn retry(&self, dry_run: bool) -> event_bus::parked::Retried {
        let (bus, set) = (BusConfig::plain("127.0.0.1:1", ""), query_side::projections());
        retry(&self.read_model.pool, &bus, &set, &*self.journal, self.poisoned(), dry_run)
            .await
            .expect("it can be finished")
    }

    async fn parked(&self) -> i64 {
        let client = self.read_model.pool.get().await.expect("a connection");
        let parked = streams(&client, Some(CONSUMER)).await.expect("a readable table");
        assert!(parked.iter().all(|parked| parked.stream == self.poisoned()), "{parked:?}");
        parked.first().map_or(0, |parked| parked.records)
    }

    /// The versions of each stream, in the order in which they were applied.
    async fn applied(&self) -> BTreeMap<String, Vec<i32>> {
        let client = self.read_model.pool.get().await.expect("a connection");
        let rows = client.query("SELECT stream, version FROM journal ORDER BY entry", &[]).await;
        let mut applied = BTreeMap::<String, Vec<i32>>::new();
        for row in rows.expect("a readable table") {
            applied.entry(row.get(0)).or_default().push(row.get(1));
        }
        applied
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poison_event_among_ten_thousand_streams_leaves_the_others_alone_and_is_put_right_in_order() {
    const STREAMS: u128 = 10_000;
    let stage = stage().await;
    let (mut logs, mut topics) = (Logs::default(), Topics::default());
    for step in [Placed, Confirmed] {
        let mut events = Vec::new();
        for number in 0..STREAMS {
            events.extend(logs.story(order_id(number), &[step]));
        }
        for batch in events.chunks(2_500) {
            assert_eq!(stage.handler.handle(&topics.batch(batch)).await, Ok(()));
        }
    }
    let applied = stage.applied().await;
    assert_eq!(applied.len(), 9_999);
    assert!(applied.values().all(|versions| versions == &[1, 2]));
    assert_eq!(stage.parked().await, 2);

    let again = stage.retry(false).await;
    let stopped = again.stopped.expect("the cause is not gone");
    assert_eq!((again.handled, stopped.position), (0, Some(1)), "{stopped:?}");
    assert!(stopped.reason.contains("23514"), "{}", stopped.reason);
    assert_eq!(stage.parked().await, 2, "it stays, and so does the one behind it");

    stage.mend();
    let rehearsed = stage.retry(true).await;
    assert_eq!((rehearsed.handled, rehearsed.stopped), (2, None));
    assert_eq!(stage.parked().await, 2, "a dry run changes nothing");
    assert!(!stage.applied().await.contains_key(stage.poisoned()), "a dry run changes nothing");

    assert_eq!(stage.retry(false).await.handled, 2);
    assert_eq!(stage.applied().await[stage.poisoned()], [1, 2]);
    assert_eq!(stage.parked().await, 0);
    let later = logs.story(order_id(0), &[Shipped]);
    assert_eq!(stage.handler.handle(&topics.batch(&later)).await, Ok(()));
    assert_eq!(stage.applied().await[stage.poisoned()], [1, 2, 3], "and the stream flows again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_consumer_parks_while_a_retry_is_under_way_is_neither_lost_nor_overtaken() {
    let stage = stage().await;
    let (mut logs, mut topics) = (Logs::default(), Topics::default());
    let story: Vec<_> = HAPPY.iter().copied().cycle().take(300).collect();
    let events: Vec<Envelope> = logs
        .story(order_id(0), &story)
        .into_iter()
        .filter(|event| event.context == Context::Orders)
        .collect();
    let (first, rest) = events.split_at(1);
    assert_eq!(stage.handler.handle(&topics.batch(first)).await, Ok(()));
    assert_eq!(stage.parked().await, 1);
    stage.mend();

    let batches: Vec<_> = rest.iter().map(|event| topics.batch(std::slice::from_ref(event))).collect();
    let handler = Arc::clone(&stage.handler);
    let consuming = tokio::spawn(async move {
        for batch in &batches {
            assert_eq!(handler.handle(batch).await, Ok(()));
        }
    });
    let mut rounds = 0;
    while !consuming.is_finished() {
        assert_eq!(stage.retry(false).await.stopped, None);
        rounds += 1;
    }
    consuming.await.expect("every batch is handled");
    stage.retry(false).await;
    assert!(rounds > 0);
    assert_eq!(stage.parked().await, 0);
    let versions: Vec<i32> = events.iter().map(|event| event.version).collect();
    assert_eq!(stage.applied().await[stage.poisoned()], versions, "each once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_is_written_down_and_what_was_behind_it_goes_on() {
    let stage = stage().await;
    let (mut logs, mut topics) = (Logs::default(), Topics::default());
    let events = logs.story(order_id(0), &[Placed, Confirmed]);
    assert_eq!(stage.handler.handle(&topics.batch(&events)).await, Ok(()));
    let client = stage.read_model.pool.get().await.expect("a connection");
    let parked = records(&client, CONSUMER, stage.poisoned(), None, 10).await.expect("a readable table");
    let second = event_bus::parked::discard(&client, &parked[1], "ada", "not its turn").await;
    let refused = second.expect_err("the first goes first");
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("TW002"), "{refused}");
    event_bus::parked::discard(&client, &parked[0], "ada", "a test order").await.expect("the first may go");
    drop(client);
    stage.mend();
    assert_eq!(stage.retry(false).await.handled, 1);
    assert_eq!(stage.applied().await[stage.poisoned()], [2]);
    let written = stage
        .read_model
        .text("SELECT string_agg(discarded_by || ': ' || because || ' ' || position, ';') FROM discarded_events")
        .await;
    assert_eq!(written, "ada: a test order 1");
    let role = stage.read_model.pool.get().await.expect("a connection");
    for forbidden in [
        "DELETE FROM discarded_events",
        "UPDATE discarded_events SET because = ''",
        "DELETE FROM parked_events",
    ] {
        let refused = role.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(
            refused.code(),
            Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{forbidden}"
        );
    }
}
