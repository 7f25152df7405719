//! From a topic to an answer, on a real Kafka and a real Postgres.

use std::time::Duration;

use event_bus::{BusConfig, OrderedPublisher, Outgoing, ensure_topics};
use events::{Context, Envelope};
use query_side::Config;
use reqwest::Client;
use serde_json::Value;
use testkit::{kafka_brokers, unique};
use tokio_util::sync::CancellationToken;

use crate::given::{HAPPY, Logs, STORIES, order_id};
use crate::service::{ReadModel, read_model, record};

const LIMIT: Duration = Duration::from_secs(60);

/// Publishes as the relay does: in the order of the log, keyed by stream.
async fn publish(bus: &BusConfig, events: &[Envelope]) {
    for context in Context::ALL {
        let records: Vec<Outgoing> = events
            .iter()
            .filter(|event| event.context == context)
            .map(|event| Outgoing {
                key: event.stream.to_string(),
                headers: Vec::new(),
                value: record(event).payload,
            })
            .collect();
        let mut publisher = OrderedPublisher::new(bus, bus.topic(context)).expect("a publisher");
        let receipt = publisher.enqueue(&records).await.expect("enqueued");
        receipt.acknowledged().await.expect("acknowledged");
    }
}

/// A free port: bound once, so that the next bind of it succeeds.
async fn free_address() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound port")
}

async fn start(read_model: &ReadModel, bus: &BusConfig, shutdown: &CancellationToken) -> String {
    let config = Config {
        listen: free_address().await,
        bus: bus.clone(),
        database_url: None,
        readmodel_database_url: Some(read_model.url.clone()),
        query_connections_max: 4,
        query_waiters_max: 16,
        stuck_after_seconds: 60,
        projection_batch_max: 100,
    };
    let base_url = format!("http://{}", config.listen);
    let running = query_side::run(config, shutdown.clone());
    tokio::spawn(async move { running.await.expect("the query side runs") });
    base_url
}

async fn get_until(url: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let client = Client::new();
    let looking = async {
        loop {
            if let Ok(response) = client.get(url).send().await {
                let status = response.status().as_u16();
                let body = response.json().await.unwrap_or(Value::Null);
                if wanted(status, &body) {
                    return body;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("{url} was not as wanted in time"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_answered_by_two_query_sides_that_share_the_partitions() {
    let bus = BusConfig::plain(kafka_brokers(), unique("query"));
    ensure_topics(&bus, &events::Context::NAMES, 1).await.expect("the topics are made");
    let read_model = read_model().await;
    let shutdown = CancellationToken::new();
    let first = start(&read_model, &bus, &shutdown).await;
    let mut logs = Logs::default();
    publish(&bus, &logs.story(order_id(0), HAPPY)).await;
    get_until(&format!("{first}/readyz"), |status, _| status == 200).await;
    let order = format!("{first}/v1/orders/{}?wait=settled&timeout_ms=1000", order_id(0));
    get_until(&order, |status, order| status == 200 && order["status"] == "delivered").await;

    let second = start(&read_model, &bus, &shutdown).await;
    get_until(&format!("{second}/readyz"), |status, _| status == 200).await;
    let mut events = Vec::new();
    for number in 1..=30 {
        events.extend(logs.story(order_id(number), STORIES[number as usize % STORIES.len()].1));
    }
    publish(&bus, &events).await;
    for number in 1..=30 {
        let process = format!("{second}/v1/orders/{}/process", order_id(number));
        let steps = STORIES[number as usize % STORIES.len()].1.len();
        // The order's own last event proves the story done; what the other topics tell of it may come later.
        let process =
            get_until(&process, |_, process| process["done"].as_array().map(Vec::len) == Some(steps)).await;
        assert_eq!(process["state"], "done", "{process}");
        let timeline = format!("{first}/v1/orders/{}/events", order_id(number));
        get_until(&timeline, |_, page| page["items"].as_array().map(Vec::len) == Some(steps)).await;
    }
    let in_all = (events.len() + HAPPY.len()) as i64;
    assert_eq!(read_model.number("SELECT count(*) FROM order_events").await, in_all);
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_of_the_database_took_away_is_read_again_though_nothing_new_happens() {
    let bus = BusConfig::plain(kafka_brokers(), unique("query"));
    ensure_topics(&bus, &events::Context::NAMES, 1).await.expect("the topics are made");
    let read_model = read_model().await;
    let shutdown = CancellationToken::new();
    let base_url = start(&read_model, &bus, &shutdown).await;
    let events = Logs::default().story(order_id(0), HAPPY);
    publish(&bus, &events).await;
    let last =
        events.iter().filter(|event| event.context == Context::Orders).map(|event| event.position).max();
    let order =
        format!("{base_url}/v1/orders/{}?after=orders:{}", order_id(0), last.expect("the order's events"));
    get_until(&order, |status, order| status == 200 && order["status"] == "delivered").await;

    // The commits do not wait for the disk: as after a crash, the last of them are gone, here all.
    read_model
        .as_owner("SET search_path TO readmodel; TRUNCATE orders, order_events, processes, payments, sales, checkpoints, progress")
        .await;
    // The row is there again: nothing else can give this answer.
    get_until(&order, |status, order| status == 200 && order["status"] == "delivered").await;
    assert_eq!(read_model.number("SELECT count(*) FROM order_events").await, HAPPY.len() as i64);
    shutdown.cancel();
}
