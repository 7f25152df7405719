//! Records that no relay put on a topic, and events that this build does not know. One platform; each has its own part.

use e2e::chaos::{Own, Scene};
use e2e::kafka::{RawRecord, produce, read_records};
use e2e::{eventually, line, those_who_park};
use events::{Context, TOPIC_PARTITIONS, partition_of};
use serde_json::{Value, json};
use uuid::Uuid;

const REPEATED_PER_PARTITION: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn records_that_do_not_belong_are_neither_applied_nor_do_they_stop_a_stream_in_silence() {
    let mut scene = Scene::start("records", Own::default(), 1).await;
    repeated_and_reordered_records_are_skipped(&mut scene).await;
    a_known_position_with_another_body_is_skipped_and_named(&mut scene).await;
    a_poison_record_parks_its_stream_and_no_other(&mut scene).await;
    an_event_type_from_the_future_parks_its_stream_and_no_other(&mut scene).await;
}

async fn repeated_and_reordered_records_are_skipped(scene: &mut Scene) {
    let mut repeated = 0;
    for context in Context::ALL {
        repeated += scene.repeat_records(context, REPEATED_PER_PARTITION).await.expect("Kafka answers");
    }
    assert!(repeated > REPEATED_PER_PARTITION, "there was something to repeat");
    let (figures, violations) = scene.verdict().await;
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(figures.duplicates >= repeated, "{figures:?}, repeated: {repeated}");
}

async fn a_known_position_with_another_body_is_skipped_and_named(scene: &mut Scene) {
    let before = read_models(scene).await;
    let (brokers, topic) = (scene.platform.kafka_brokers().to_owned(), scene.platform.topic(Context::Orders));
    let forge = move || {
        let mut record = read_records(&brokers, &topic, 1)?.pop().ok_or("the topic is empty")?;
        let mut event: Value = serde_json::from_slice(&record.value).map_err(|error| error.to_string())?;
        event["data"]["reason"] = json!("forged");
        record.value = event.to_string().into_bytes();
        produce(&brokers, &topic, &[record])
    };
    tokio::task::spawn_blocking(forge).await.expect("forging does not panic").expect("Kafka takes it");
    scene.recovered().await.expect("the consumers pass it");
    assert_eq!(read_models(scene).await, before, "nothing came of it");
    let (_, violations) = scene.verdict().await;
    let [ours, verify] = violations.as_slice() else { panic!("the forgery, told twice: {violations:#?}") };
    assert!(ours.contains("differs from the first"), "{ours}");
    assert!(verify.starts_with("tradewind verify") && verify.contains("topics"), "{verify}");
}

async fn a_poison_record_parks_its_stream_and_no_other(scene: &mut Scene) {
    let stream = format!("order-{}", Uuid::now_v7());
    let (brokers, topic) = (scene.platform.kafka_brokers().to_owned(), scene.platform.topic(Context::Orders));
    let poison = RawRecord {
        partition: partition_of(&stream, TOPIC_PARTITIONS),
        offset: 0,
        key: stream.clone().into_bytes(),
        value: b"this is no CloudEvent".to_vec(),
    };
    let put = move || produce(&brokers, &topic, &[poison]);
    tokio::task::spawn_blocking(put).await.expect("producing does not panic").expect("Kafka takes it");
    every_consumer_parks(scene, Context::Orders, &stream).await;
    every_other_stream_flows(scene).await;
}

/// As a newer build would have appended it, before this one was rolled back to.
async fn an_event_type_from_the_future_parks_its_stream_and_no_other(scene: &mut Scene) {
    let stream = format!("shipment-{}", Uuid::now_v7());
    let metadata = json!({"correlation_id": Uuid::now_v7(), "actor": "a newer build"}).to_string();
    let insert = format!(
        "INSERT INTO shipping.events
         (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
         SELECT coalesce(max(position), 0) + 1, '{stream}', 1, '{}', 'ShipmentBlessed', 1, '{{}}', '{metadata}', now()
         FROM shipping.events",
        Uuid::now_v7()
    );
    let database = scene.database().await.expect("the database answers");
    database.batch_execute(&insert).await.expect("a superuser may do anything");
    every_consumer_parks(scene, Context::Shipping, &stream).await;
    every_other_stream_flows(scene).await;
}

/// In `parked_events` of each consumer that reads the context's topic, once; and the sagas' readiness names the stream, and
/// the verdict on a scene names each of them: nobody parks unseen.
async fn every_consumer_parks(scene: &mut Scene, context: Context, stream: &str) {
    let database = scene.database().await.expect("the database answers");
    let union = |table: &str, columns: &str| {
        let schemas = Context::ALL.map(Context::name).into_iter().chain(["readmodel"]);
        let selects = schemas.map(|schema| format!("SELECT {columns} FROM {schema}.{table}"));
        selects.collect::<Vec<_>>().join(" UNION ALL ")
    };
    let consumers = format!(
        "SELECT DISTINCT consumer FROM ({}) c WHERE topic = $1",
        union("checkpoints", "consumer, topic")
    );
    let parked = format!(
        "SELECT consumer FROM ({}) p WHERE topic = $1 AND stream = $2 ORDER BY 1",
        union("parked_events", "consumer, topic, stream")
    );
    let topic = scene.platform.topic(context);
    let names = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get(0)).collect::<Vec<String>>();
    let readers = names(database.query(&consumers, &[&topic]).await.expect("it can be asked"));
    assert!(readers.len() > 1, "{topic} is read by the query side and by sagas: {readers:?}");
    let consumers: Vec<String> = those_who_park(context, readers).into_iter().collect();
    eventually(&format!("{stream} is parked by each of {consumers:?}"), || async {
        let rows = database.query(&parked, &[&topic, &stream]).await.map_err(|error| error.to_string())?;
        let parked = names(rows);
        if parked == consumers { Ok(()) } else { Err(format!("{parked:?}")) }
    })
    .await;
    let url = format!("{}/readyz", scene.platform.endpoints()["ops_urls"]["sagas"].as_str().expect("a URL"));
    // Degraded, not down: one stream waits for a person, everything else is done.
    eventually("the sagas say that they are degraded, and name the stream", || async {
        let ready = reqwest::get(&url).await.map_err(|error| error.to_string())?;
        let status = ready.status().as_u16();
        let said = ready.text().await.map_err(|error| error.to_string())?;
        let named = status == 200 && said.contains("\"degraded\"") && said.contains(stream);
        if named { Ok(()) } else { Err(format!("{status} {said}")) }
    })
    .await;
    let (_, violations) = scene.verdict().await;
    for consumer in consumers {
        let says = format!("{consumer} has parked {stream}");
        assert!(violations.iter().any(|violation| violation.starts_with(&says)), "{says}: {violations:#?}");
    }
}

async fn every_other_stream_flows(scene: &Scene) {
    let shop = scene.platform.shop();
    shop.receives_stock("AFTERWARDS", 1).await;
    let order = shop.places_order("anybody", &[line("AFTERWARDS", 1, 100)]).await;
    shop.sees_order(order, "confirmed").await;
    shop.dispatches(order).await.accepted();
    shop.sees_order(order, "shipped").await;
    shop.delivers(order).await;
    shop.sees_order(order, "delivered").await;
}

/// A digest of each table.
async fn read_models(scene: &Scene) -> Vec<String> {
    let database = scene.database().await.expect("the database answers");
    let mut digests = Vec::new();
    for table in ["orders", "order_events", "processes", "stock", "payments", "sales"] {
        let select = format!(
            "SELECT coalesce(md5(string_agg(t::text, ';' ORDER BY t::text)), '') FROM readmodel.{table} t"
        );
        digests.push(database.query_one(&select, &[]).await.expect("the table can be read").get(0));
    }
    digests
}
