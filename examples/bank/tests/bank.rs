//! The bank on real engines. Needs `DATABASE_URL` and `KAFKA_BROKERS`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bank::events::{Context, Event};
use clap::{Args, Command, FromArgMatches};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What the generic part of verify must know.
static DOMAIN: verify_log::Domain = verify_log::Domain {
    contexts: &Context::NAMES,
    context_of: |stream| Context::of_stream(stream).map(Into::into),
    read_model_schema: bank::SCHEMA,
    read_model_consumer: "bank-readers",
};

async fn get(url: String) -> Value {
    let answer: Value = reqwest::get(url).await.expect("the bank answers").json().await.expect("JSON");
    assert!(answer["detail"].is_null(), "{answer}");
    answer
}

async fn post(url: String, body: Value) -> String {
    let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("the bank answers");
    answer.json::<Value>().await.expect("JSON")["position"].as_str().expect("it was accepted").to_owned()
}

async fn status_of_transfer(bank: &str, (from, to): (&str, &str), pence: i64) -> String {
    let (id, limit) = (Uuid::now_v7(), Instant::now() + Duration::from_secs(120));
    post(format!("{bank}/transfers"), json!({"transfer": id, "from": from, "to": to, "pence": pence})).await;
    loop {
        match get(format!("{bank}/transfers/{id}")).await["status"].as_str().expect("a status") {
            "requested" if Instant::now() < limit => tokio::time::sleep(Duration::from_millis(20)).await,
            status => return status.to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_once_and_what_cannot_be_credited_comes_back() {
    let name = format!("bank_{}", Uuid::now_v7().simple());
    let server = std::env::var("DATABASE_URL").expect("DATABASE_URL names a running PostgreSQL");
    let admin = runtime::postgres::connect(&server.as_str().into()).await.expect("it answers");
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("its owner may");
    let url = format!("{}/{name}", server.rsplit_once('/').expect("a URL ends in /<database>").0);
    let options = ["--database-url", &url, "--topic-prefix", &format!("{name}.")];
    let command = relay::Config::augment_args(Command::new("bank").no_binary_name(true));
    let relay = relay::Config::from_arg_matches(&command.get_matches_from(options)).expect("its options");
    let replay = replay::Options {
        check: true,
        rollback: false,
        databases: relay.databases.clone(),
        topic_prefix: format!("{name}."),
    };
    let (urls, prefix) = (relay.databases.clone(), relay.bus.topic_prefix.clone());
    let connections = verify_log::Connections {
        connect: Arc::new(move |owner| {
            let url = urls.of(owner);
            Box::pin(async move { runtime::postgres::connect(&url).await.map_err(|cause| cause.to_string()) })
        }),
        kafka: vec![("bootstrap.servers".to_owned(), relay.bus.brokers.clone())],
        topic_prefix: prefix,
        topic_partitions: event_log::TOPIC_PARTITIONS,
    };
    let listener = runtime::http::bind("127.0.0.1:0", "--listen").await.expect("a free port");
    let bank = &format!("http://{}", listener.local_addr().expect("a bound port"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(bank::run(relay, listener, stop.clone()));

    post(format!("{bank}/accounts/ada"), json!({"pence": 100})).await;
    post(format!("{bank}/accounts/bob"), json!({"pence": 1})).await;
    assert_eq!(status_of_transfer(bank, ("ada", "bob"), 30).await, "completed");
    assert_eq!(status_of_transfer(bank, ("ada", "bob"), 500).await, "failed", "ada has not so much");
    assert_eq!(status_of_transfer(bank, ("ada", "nobody"), 50).await, "failed", "nobody has no account");
    let last = post(format!("{bank}/accounts/bob"), json!({"pence": 9})).await;
    assert_eq!(get(format!("{bank}/accounts/ada?after={last}")).await["balance"], 70);
    assert_eq!(get(format!("{bank}/accounts/bob?after={last}")).await["balance"], 40);

    let replayed = replay::run(&bank::read_models(), &[], replay, CancellationToken::new()).await;
    assert!(replayed.expect("it replays").iter().all(replay::ReplayReport::is_equal));
    let report =
        verify_log::run::<Event>(&connections, &DOMAIN, |_property| true).await.expect("it verifies");
    assert!(report.holds(), "{report}");
    stop.cancel();
    running.await.expect("no panic").expect("no error");
}
