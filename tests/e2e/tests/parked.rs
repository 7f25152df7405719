//! `tradewind parked list | show | retry | discard`, as a person runs them against a whole platform.

use std::collections::BTreeSet;

use e2e::kafka::{RawRecord, produce};
use e2e::{Platform, eventually, line, readiness, those_who_park};
use events::{Context, TOPIC_PARTITIONS, partition_of};
use tokio_postgres::Client;
use uuid::Uuid;

/// One line of `tradewind parked list`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Parked {
    consumer: String,
    records: u64,
    reason: String,
}

#[tokio::test]
async fn a_person_sees_what_is_parked_and_puts_it_right_and_a_rehearsal_changes_nothing() {
    let platform = Platform::start("parked", &[]).await;
    platform.shop().receives_stock("VASE", 10).await;
    assert_eq!(list(&platform, "order-").await, [], "nothing is parked");
    what_the_database_refused_is_retried_in_order_when_its_cause_is_gone(&platform).await;
    what_is_no_event_is_discarded_and_what_waits_behind_it_goes_on(&platform).await;
    a_stream_of_nobody_is_discarded_whole(&platform).await;
    let (code, said) = platform.tradewind(&["verify"]).await;
    let fails: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    let poison = fails.len() == 1 && fails[0].contains("foreign-records");
    assert!(code == 1 && poison, "what is no event lies on the topic still, and all else is well: {said}");
}

async fn what_the_database_refused_is_retried_in_order_when_its_cause_is_gone(platform: &Platform) {
    let (shop, database) = (platform.shop(), platform.database().await);
    let refuse = "ALTER TABLE readmodel.orders ADD CONSTRAINT nobody_is_eve CHECK (customer_id <> 'eve')";
    database.batch_execute(refuse).await.expect("the owner may");
    let order_id = shop.places_order("eve", &[line("VASE", 1, 700)]).await;
    let stream = format!("order-{order_id}");
    let parked = eventually("the order and its confirmation are parked", || async {
        match list(platform, &stream).await.as_slice() {
            [parked] if parked.records == 2 => Ok(parked.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(parked.consumer, "query-side.orders");
    assert!(parked.reason.contains("nobody_is_eve") && parked.reason.contains("23514"), "{parked:?}");
    says_parked(platform, "query-side", "projection orders parked", &stream).await;
    parked_streams_are(platform, "query-side", "query-side.orders", 1).await;
    let (code, said) = platform.tradewind(&["parked", "show", &stream]).await;
    let (placed, confirmed) = (said.find("OrderPlaced"), said.find("OrderConfirmed"));
    assert!(code == 0 && placed.is_some() && placed < confirmed, "in order: {said}");

    let (code, said) = platform.tradewind(&["parked", "retry", &stream]).await;
    assert!(code == 1 && said.contains("0 events handled; stopped at position"), "{said}");
    assert_eq!(list(platform, &stream).await, std::slice::from_ref(&parked), "its cause is there still");
    let allow = "ALTER TABLE readmodel.orders DROP CONSTRAINT nobody_is_eve";
    database.batch_execute(allow).await.expect("the owner may");
    let (code, said) = platform.tradewind(&["parked", "retry", &stream, "--dry-run"]).await;
    assert!(code == 0 && said.contains("2 events would be handled, none left"), "{said}");
    assert_eq!(list(platform, &stream).await, [parked], "a rehearsal changes nothing");
    assert_eq!(shop.get(&format!("/v1/orders/{order_id}")).await.status.as_u16(), 404);

    let (code, said) = platform.tradewind(&["parked", "retry", &stream]).await;
    assert!(code == 0 && said.contains("2 events handled, none left"), "{said}");
    assert_eq!(shop.sees_order(order_id, "confirmed").await["customer_id"], "eve");
    parked_streams_are(platform, "query-side", "query-side.orders", 0).await;
    says_ready(platform, "query-side").await;
    let (code, said) = platform.tradewind(&["parked", "retry", &stream]).await;
    assert!(code == 1 && said.contains("is not parked"), "{said}");
}

async fn what_is_no_event_is_discarded_and_what_waits_behind_it_goes_on(platform: &Platform) {
    let shop = platform.shop();
    let order_id = shop.places_order("ada", &[line("VASE", 1, 700)]).await;
    shop.sees_order(order_id, "confirmed").await;
    shop.shipment_is_prepared(order_id).await;
    let stream = format!("order-{order_id}");
    let consumers = consumers_of(platform, Context::Orders).await;
    poison(platform, &stream).await;
    parked_by(platform, &stream, &consumers, |_| 1).await;
    shop.cancels(order_id).await.accepted();
    // A cancellation of a confirmed order is the shipment's business, and not that of stock and money.
    let with_the_cancellation = |consumer: &str| match consumer {
        "sagas.inventory" | "sagas.payments" => 1,
        _ => 2,
    };
    let parked = parked_by(platform, &stream, &consumers, with_the_cancellation).await;
    for consumer in &consumers {
        let (role, check) = where_told(consumer);
        says_parked(platform, role, &check, &stream).await;
        parked_streams_are(platform, role, consumer, 1).await;
        parked_stream_is(platform, role, (consumer, &stream), 1).await;
    }
    let (code, said) = platform.tradewind(&["parked", "show", &stream, "--consumer", "sagas.shipping"]).await;
    let (poison, behind) = (said.find("this is no CloudEvent"), said.find("OrderCancellationRequested"));
    assert!(code == 0 && poison.is_some() && poison < behind, "in order: {said}");

    let discard = ["parked", "discard", &stream, "--first", "--by", "ada", "--reason", "a vandal's"];
    let (code, said) = platform.tradewind(&[&discard[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    for consumer in &consumers {
        let would = format!("would discard 1 event of {stream}, parked by {consumer};");
        assert!(said.contains(&would), "{would} in {said}");
    }
    let (code, said) = platform.tradewind(&discard).await;
    assert!(code != 0 && said.contains("--yes"), "nobody is asked who is not there: {said}");
    assert_eq!(list(platform, &stream).await, parked, "nothing was changed");

    let (code, said) = platform.tradewind(&[&discard[..], &["--yes"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    shop.sees_order(order_id, "cancelled").await;
    nothing_is_parked_any_more(platform, &consumers).await;
    for consumer in &consumers {
        parked_stream_is(platform, where_told(consumer).0, (consumer, &stream), 0).await;
    }
    let told = ("ada".to_owned(), "a vandal's".to_owned());
    assert_eq!(discarded(&platform.database().await, &stream).await, vec![told; consumers.len()]);
}

async fn a_stream_of_nobody_is_discarded_whole(platform: &Platform) {
    let stream = format!("order-{}", Uuid::now_v7());
    let consumers = consumers_of(platform, Context::Orders).await;
    poison(platform, &stream).await;
    parked_by(platform, &stream, &consumers, |_| 1).await;
    let discard = ["parked", "discard", &stream, "--by", "ben", "--reason", "nobody's", "--yes"];
    let (code, said) = platform.tradewind(&discard).await;
    assert_eq!(code, 0, "{said}");
    nothing_is_parked_any_more(platform, &consumers).await;
    let told = ("ben".to_owned(), "nobody's".to_owned());
    assert_eq!(discarded(&platform.database().await, &stream).await, vec![told; consumers.len()]);
}

async fn nothing_is_parked_any_more(platform: &Platform, consumers: &BTreeSet<String>) {
    let (code, said) = platform.tradewind(&["parked", "list"]).await;
    assert!(code == 0 && said.starts_with("nothing is parked"), "{said}");
    for consumer in consumers {
        parked_streams_are(platform, where_told(consumer).0, consumer, 0).await;
    }
    for role in ["sagas", "query-side"] {
        says_ready(platform, role).await;
    }
}

/// Past the relay, which would never.
async fn poison(platform: &Platform, stream: &str) {
    let (brokers, topic) = (platform.kafka_brokers().to_owned(), platform.topic(Context::Orders));
    let record = RawRecord {
        partition: partition_of(stream, TOPIC_PARTITIONS),
        offset: 0,
        key: stream.as_bytes().to_vec(),
        value: b"this is no CloudEvent".to_vec(),
    };
    let put = move || produce(&brokers, &topic, &[record]);
    tokio::task::spawn_blocking(put).await.expect("producing does not panic").expect("Kafka takes it");
}

/// What `tradewind parked list` says of a stream, by consumer.
async fn list(platform: &Platform, stream: &str) -> Vec<Parked> {
    let (code, said) = platform.tradewind(&["parked", "list"]).await;
    assert_eq!(code, 0, "{said}");
    let parse = |line: &str| {
        let (before, reason) = line.split_once(&format!("{stream}: "))?;
        let mut words = before.split_whitespace();
        let (consumer, records) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Parked { consumer, records, reason: reason.to_owned() })
    };
    let mut parked: Vec<Parked> = said.lines().filter_map(parse).collect();
    parked.sort();
    parked
}

async fn parked_by(
    platform: &Platform,
    stream: &str,
    consumers: &BTreeSet<String>,
    records: impl Fn(&str) -> u64,
) -> Vec<Parked> {
    eventually(&format!("{stream} is parked by {consumers:?}"), || async {
        let parked = list(platform, stream).await;
        let by: BTreeSet<String> = parked.iter().map(|parked| parked.consumer.clone()).collect();
        let all = by == *consumers && parked.iter().all(|parked| parked.records == records(&parked.consumer));
        if all { Ok(parked) } else { Err(format!("{parked:?}")) }
    })
    .await
}

/// The role of a consumer, and the name of its check.
fn where_told(consumer: &str) -> (&'static str, String) {
    match consumer.strip_prefix("query-side.") {
        Some(projection) => ("query-side", format!("projection {projection} parked")),
        None => ("sagas", format!("{consumer} parked")),
    }
}

async fn says_parked(platform: &Platform, role: &str, check: &str, stream: &str) {
    let url = platform.ops_url(role);
    eventually(&format!("{role}: {check} names {stream}"), || async {
        let (status, told) = readiness(&url).await?;
        let named = told["checks"].as_array().into_iter().flatten().any(|told| {
            let names = told["detail"].as_str().is_some_and(|detail| detail.contains(stream));
            told["name"] == check && told["level"] == "degraded" && names
        });
        // One stream waits for a person, everything else is done.
        let goes_on = status == 200 && told["status"] == "degraded";
        if named && goes_on { Ok(()) } else { Err(format!("{status} {told}")) }
    })
    .await;
}

async fn says_ready(platform: &Platform, role: &str) {
    let url = platform.ops_url(role);
    eventually(&format!("{role} is ready"), || async {
        let (status, told) = readiness(&url).await?;
        if status == 200 && told["status"] == "ready" { Ok(()) } else { Err(format!("{status} {told}")) }
    })
    .await;
}

async fn parked_stream_is(platform: &Platform, role: &str, (consumer, stream): (&str, &str), wanted: u64) {
    let line = format!("tradewind_parked_stream{{consumer=\"{consumer}\",stream=\"{stream}\"}} {wanted}");
    metrics_say(platform, role, &line).await;
}

async fn parked_streams_are(platform: &Platform, role: &str, consumer: &str, wanted: u64) {
    let line = format!("tradewind_parked_streams{{consumer=\"{consumer}\"}} {wanted}");
    metrics_say(platform, role, &line).await;
}

async fn metrics_say(platform: &Platform, role: &str, line: &str) {
    let url = format!("{}/metrics", platform.ops_url(role));
    eventually(line, || async {
        let metrics = platform.shop().text_at(&url).await;
        if metrics.lines().any(|told| told == line) { Ok(()) } else { Err(metrics) }
    })
    .await;
}

/// Everybody who parks what cannot be read in the context's topic.
async fn consumers_of(platform: &Platform, context: Context) -> BTreeSet<String> {
    let (database, topic) = (platform.database().await, platform.topic(context));
    let query = format!("SELECT DISTINCT consumer FROM ({}) c WHERE topic = $1", all("checkpoints"));
    let rows = database.query(&query, &[&topic]).await.expect("a readable table");
    assert!(rows.len() > 1, "{topic} is read by the query side and by sagas");
    those_who_park(context, rows.iter().map(|row| row.get("consumer")))
}

/// Who gave up a record of the stream, and why.
async fn discarded(database: &Client, stream: &str) -> Vec<(String, String)> {
    let query =
        format!("SELECT discarded_by, because FROM ({}) d WHERE stream = $1", all("discarded_events"));
    let rows = database.query(&query, &[&stream]).await.expect("a readable table");
    rows.iter().map(|row| (row.get("discarded_by"), row.get("because"))).collect()
}

fn all(table: &str) -> String {
    let columns = if table == "checkpoints" { "consumer, topic" } else { "stream, discarded_by, because" };
    let schemas = Context::ALL.map(Context::name).into_iter().chain(["readmodel"]);
    let selects = schemas.map(|schema| format!("SELECT {columns} FROM {schema}.{table}"));
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}
