//! The publisher on a real Kafka: order, and what remains of a batch that fails.

use std::time::Duration;

use crate::support::{CONTEXT, bus, event, event_of, expected, on_topic, outgoing};
use event_bus::{BusConfig, OrderedPublisher, Outgoing, PublishError, Receipt, TopicError, ensure_topics};
use events::{Context, Position, TOPIC_PARTITIONS, cloud_event};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use testkit::eventually;

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client")
}

/// Topics of which one accepts only small records, from its creation, because a later change takes effect with a delay.
async fn bus_for_small_records() -> BusConfig {
    let bus = BusConfig::plain(testkit::kafka_brokers(), format!("{}-", testkit::unique("bus")));
    let topic = bus.topic(CONTEXT);
    let small =
        NewTopic::new(&topic, TOPIC_PARTITIONS, TopicReplication::Fixed(1)).set("max.message.bytes", "20000");
    let made = admin(&bus.brokers).create_topics([&small], &AdminOptions::new()).await.expect("answered");
    assert_eq!(made, [Ok(topic.clone())]);
    ensure_topics(&bus, &Context::NAMES, 1).await.expect("the other topics can be made");
    bus
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_in_order_on_the_partition_that_java_would_choose() {
    let bus = bus().await;
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
    let mut receipts = Vec::new();
    for chunk in (1..=5_000).collect::<Vec<_>>().chunks(700) {
        let records: Vec<Outgoing> = chunk.iter().map(|&position| outgoing(&event(position))).collect();
        receipts.push(publisher.enqueue(&records).await.expect("enqueued"));
    }
    for receipt in receipts {
        receipt.acknowledged().await.expect("acknowledged");
    }
    assert_eq!(on_topic(&bus).await, expected(1..=5_000));
}

/// librdkafka's mock broker, like a real one without state of the producer, accepts any first sequence number. It
/// refuses the first request and accepts those in flight behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_record_that_is_refused_once_is_not_acknowledged_by_the_success_of_the_next_one() {
    let kafka = MockCluster::new(1).expect("a mock broker");
    let mut bus = BusConfig::plain(kafka.bootstrap_servers(), "");
    // One record per request, so that several are in flight at once.
    bus.properties.push("batch.num.messages=1".parse().expect("key=value"));
    let topic = bus.topic(CONTEXT);
    kafka.create_topic(&topic, TOPIC_PARTITIONS, 1).expect("a topic");
    kafka.broker_round_trip_time(1, Duration::from_millis(50)).expect("a slow broker");
    let refusal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION];
    kafka.request_errors(RDKafkaApiKey::Produce, &refusal);

    let mut publisher = OrderedPublisher::new(&bus, topic.clone()).expect("a publisher");
    let records: Vec<Outgoing> = (1..=10).map(|position| outgoing(&event_of(position, "stock-A"))).collect();
    publisher.publish(&records).await.expect("acknowledged");
    let found = testkit::read_topic_at(&bus.brokers, &topic).await;
    let found: Vec<Position> = found
        .iter()
        .map(|record| cloud_event::decode_raw(CONTEXT, &record.value).expect("an event").position)
        .collect();
    assert_eq!(found, (1..=10).collect::<Vec<Position>>());
}

/// Until a producer knows its topic's partitions, librdkafka keeps records in a queue without a partition
/// (`rd_kafka_topic_assign_uas`). Records that arrive one after another in this state must not overtake each other.
#[tokio::test(flavor = "multi_thread")]
async fn records_keep_their_order_while_the_producer_learns_where_the_topic_is() {
    for _ in 0..5 {
        let bus = bus().await;
        let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
        let mut given = 0;
        // One at a time until the first is acknowledged, so that the topic is known, and then some more.
        let mut receipts = Vec::new();
        while given < 500 || !receipts.first().is_some_and(Receipt::is_acknowledged) {
            given += 1;
            receipts.push(publisher.enqueue(&[outgoing(&event(given))]).await.expect("enqueued"));
            // A pace at which records arrive while the producer still looks up the topic; it is not a wait for
            // anything.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for receipt in receipts {
            receipt.acknowledged().await.expect("acknowledged");
        }
        assert_eq!(on_topic(&bus).await, expected(1..=given));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_follows_a_refused_one_in_its_partition() {
    let bus = bus_for_small_records().await;
    let mut records: Vec<Outgoing> = (1..=2_000).map(|position| outgoing(&event(position))).collect();
    let mut too_large = event(1_000);
    too_large.metadata.actor = "x".repeat(50_000);
    records[999] = outgoing(&too_large);
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
    let failed = publisher.publish(&records).await;
    assert!(matches!(failed, Err(PublishError::NotDelivered { .. })), "{failed:?}");
    let again = publisher.publish(&records[1_000..]).await;
    assert!(
        matches!(again, Err(PublishError::NotDelivered { .. })),
        "the publisher must not be used again: {again:?}"
    );
    drop(publisher);
    for (partition, positions) in on_topic(&bus).await {
        let all = &expected(1..=2_000)[&partition];
        assert_eq!(positions, all[..positions.len()], "a prefix, without a gap or a swap");
        assert!(!positions.contains(&1_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_producer_stops_the_publisher_too() {
    let bus = bus().await;
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
    let mut huge = event(1);
    huge.metadata.actor = "x".repeat(2_000_000);
    let failed = publisher.publish(&[outgoing(&huge), outgoing(&event(2))]).await;
    assert!(matches!(failed, Err(PublishError::NotDelivered { .. })), "{failed:?}");
    drop(publisher);
    assert_eq!(on_topic(&bus).await, expected([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_dropped_with_records_in_flight_leaves_a_prefix_of_them() {
    let bus = bus().await;
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
    let records: Vec<Outgoing> = (1..=20_000).map(|position| outgoing(&event(position))).collect();
    let receipt = publisher.enqueue(&records).await.expect("enqueued");
    drop(publisher);
    let outcome = receipt.acknowledged().await;
    let found = on_topic(&bus).await;
    for (partition, positions) in &found {
        let all = &expected(1..=20_000)[partition];
        assert_eq!(positions, &all[..positions.len()]);
    }
    let count: usize = found.values().map(Vec::len).sum();
    assert!(outcome.is_err() || count == records.len(), "every acknowledged record is on the topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_enqueue_stops_the_publisher() {
    let unreachable = BusConfig::plain("127.0.0.1:1", "");
    let mut publisher = OrderedPublisher::new(&unreachable, unreachable.topic(CONTEXT)).expect("a publisher");
    // More than fits into the producer's queue, so that it must wait.
    let records: Vec<Outgoing> = (1..=60_000).map(|position| outgoing(&event(position))).collect();
    let mut half_way = Box::pin(publisher.enqueue(&records));
    let polled = futures::poll!(&mut half_way);
    assert!(polled.is_pending(), "the queue is full");
    drop(half_way);
    let next = publisher.publish(&records[..1]).await;
    assert!(matches!(next, Err(PublishError::Interrupted)), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_once_and_another_number_of_partitions_is_refused() {
    let bus = bus().await;
    ensure_topics(&bus, &Context::NAMES, 1).await.expect("the second call changes nothing");

    let mut other = bus.clone();
    other.topic_prefix = format!("{}-", testkit::unique("bus"));
    let topic = other.topic(Context::Payments);
    let three = NewTopic::new(&topic, 3, TopicReplication::Fixed(1));
    let made = admin(&bus.brokers).create_topics([&three], &AdminOptions::new()).await.expect("answered");
    assert_eq!(made, [Ok(topic.clone())]);
    let refused = eventually("the topic is known", || async {
        match ensure_topics(&other, &events::Context::NAMES, 1).await {
            Err(TopicError::NotVisible { .. }) => None,
            outcome => Some(outcome),
        }
    })
    .await;
    match refused {
        Err(TopicError::OtherPartitionCount { topic: named, given: 3, allowed: TOPIC_PARTITIONS }) => {
            assert_eq!(named, topic);
        }
        other => panic!("{other:?}"),
    }
}
