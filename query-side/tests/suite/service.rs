//! A query side of a test's own: its database, migrated; its projections, fed by hand; its routes, on a free port.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use event_bus::{Batch, BatchHandler, BusConfig, CheckpointMove, HandlerError, Record};
use events::{ContextName, Envelope, Event, RawEvent, TOPIC_PARTITIONS, cloud_event, partition_of};
use projections::http::ReadModels;
use projections::{ChangeNotifier, ProjectionHandler};
use query_side::{App, CONSUMER, READ_MODEL, projections};
use reqwest::{Client, Response};
use runtime::http::{Limits, bind, serve};
use runtime::{Secret, postgres};
use serde_json::Value;
use testkit::TestDatabase;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const WAITERS_MAX: usize = 8;

/// An empty read model, and who may write it.
pub struct ReadModel {
    database: TestDatabase,
    pub url: Secret,
    pub pool: Pool,
}

pub async fn read_model() -> ReadModel {
    let database = testkit::migrated_database("query", &[READ_MODEL], async |admin| {
        postgres::prepare_owner(admin, READ_MODEL, None).await.expect("the owner is prepared");
        query_side::migrate(admin).await.expect("the migrations run");
    })
    .await;
    let admin_url = Secret::from(database.url.as_str());
    let url = postgres::owner_url(&admin_url, READ_MODEL);
    let pool = postgres::pool(&url, 8).expect("a good url");
    ReadModel { database, url, pool }
}

impl ReadModel {
    pub fn admin_url(&self) -> &str {
        &self.database.url
    }

    /// A reader that applies one projection alone.
    pub fn handler(&self, projection: &str, notifier: ChangeNotifier) -> ProjectionHandler<Event> {
        let set = projections();
        let projector = set.named(projection).expect("a projection");
        ProjectionHandler::new(set.with(vec![projector]), self.pool.clone(), notifier)
    }

    /// What only the owner of the database may do to it.
    pub async fn as_owner(&self, sql: &str) {
        let owner = postgres::connect(&Secret::from(self.database.url.as_str())).await.expect("it answers");
        owner.batch_execute(sql).await.expect(sql);
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let client = self.pool.get().await.expect("a connection");
        client.query_one(sql, &[]).await.expect(sql).get(0)
    }

    pub async fn text(&self, sql: &str) -> String {
        let client = self.pool.get().await.expect("a connection");
        client.query_one(sql, &[]).await.expect(sql).get(0)
    }
}

/// What Kafka would hand over: records of the events, each in its stream's partition. Offsets go on from `offsets`.
#[derive(Default)]
pub struct Topics {
    next: BTreeMap<(String, i32), (i64, i64)>,
}

impl Topics {
    pub fn batch(&mut self, events: &[Envelope]) -> Batch {
        self.batch_of(events.iter().map(record).collect())
    }

    pub fn batch_of(&mut self, mut records: Vec<Record>) -> Batch {
        let mut moves = BTreeMap::<(String, i32), CheckpointMove>::new();
        for record in &mut records {
            let key = (record.topic.to_string(), record.partition);
            let (next_offset, last_position) = self.next.entry(key.clone()).or_default();
            let step = moves.entry(key).or_insert_with(|| CheckpointMove {
                consumer: CONSUMER.to_owned(),
                topic: record.topic.to_string(),
                partition: record.partition,
                from_offset: *next_offset,
                to_offset: *next_offset,
                last_position: *last_position,
            });
            record.offset = *next_offset;
            *next_offset += 1;
            *last_position = record.position.map_or(*last_position, |position| position.max(*last_position));
            step.to_offset = *next_offset;
            step.last_position = *last_position;
        }
        let records = records.into_iter().map(Arc::new).collect();
        Batch { records, moves: moves.into_values().collect() }
    }
}

pub fn record(event: &Envelope) -> Record {
    let raw = RawEvent {
        position: event.position,
        stream: event.stream.clone(),
        version: event.version,
        event_id: event.event_id,
        event_type: event.event.event_type().to_owned(),
        schema_version: event.event.schema_version(),
        payload: event.event.payload(),
        metadata: event.metadata.clone(),
        recorded_at: event.recorded_at,
    };
    record_of(event.context, event.stream.as_str(), cloud_event::encode(event.context, &raw))
}

/// A record of a stream's partition, whatever its payload is.
pub fn record_of(context: impl Into<ContextName>, key: &str, payload: Vec<u8>) -> Record {
    let context = context.into();
    let partition = partition_of(key, TOPIC_PARTITIONS);
    Record::read(context, context.topic().into(), (partition, 0), key.as_bytes().to_vec(), payload)
}

/// A query side that answers, and whose projections are fed by [`Service::project`].
pub struct Service {
    pub read_model: ReadModel,
    pub base_url: String,
    notifier: ChangeNotifier,
    topics: tokio::sync::Mutex<Topics>,
    client: Client,
    _stop: DropGuard,
}

pub async fn service() -> Service {
    let read_model = read_model().await;
    let notifier = ChangeNotifier::new(WAITERS_MAX);
    let (pool, bus) = (read_model.pool.clone(), BusConfig::plain("127.0.0.1:1", ""));
    let read_models = ReadModels::new(&projections(), pool, bus, notifier.clone());
    let app = App { read_models, stuck_after: Duration::from_secs(60) };
    let listener = bind("127.0.0.1:0", "--query-side-listen").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("a bound port"));
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, query_side::router(app), Limits::default(), stop.clone()));
    Service {
        read_model,
        base_url,
        notifier,
        topics: tokio::sync::Mutex::default(),
        client: Client::new(),
        _stop: stop.drop_guard(),
    }
}

impl Service {
    /// Applies the events to every projection, as the reader would.
    pub async fn project(&self, events: &[Envelope]) {
        let batch = self.topics.lock().await.batch(events);
        let handler =
            ProjectionHandler::new(projections(), self.read_model.pool.clone(), self.notifier.clone());
        handler.handle(&batch).await.unwrap_or_else(|error: HandlerError| panic!("{error}"));
    }

    /// The header that says how far the answer has come.
    pub async fn position(&self, path: &str) -> String {
        let response = self.request(path, &[]).await;
        let header = response.headers().get("x-tradewind-position");
        header.map_or_else(String::new, |value| value.to_str().expect("ASCII").to_owned())
    }

    pub async fn request(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = headers
            .iter()
            .fold(self.client.get(format!("{}{path}", self.base_url)), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.send().await.expect("the service answers")
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let (status, body) = self.status_and_body(path).await;
            assert_eq!(status, 200, "{caller}: {path}: {body}");
            body
        }
    }

    pub async fn status_and_body(&self, path: &str) -> (u16, Value) {
        let response = self.request(path, &[]).await;
        let status = response.status().as_u16();
        (status, response.json().await.expect("the answer is JSON"))
    }
}
