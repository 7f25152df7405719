//! The publisher on a real Kafka: order, and what is left of a batch that fails.

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

/// Topics of which the one takes only small records, from the beginning: a later change takes its time.
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
async fn records_come_in_the_order_given_on_the_partition_that_java_would_choose() {
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

/// librdkafka's mock broker, like a real one that knows nothing of the producer yet, accepts any first sequence number: it refuses
/// the first request and accepts those that are under way behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_record_that_is_refused_once_is_not_acknowledged_by_the_success_of_the_next_one() {
    let kafka = MockCluster::new(1).expect("a mock broker");
    let mut bus = BusConfig::plain(kafka.bootstrap_servers(), "");
    // A record for each request, so that several are under way at once.
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

/// Until a producer has learnt where its topic is, librdkafka keeps what it is given in a queue of no partition
/// (`rd_kafka_topic_assign_uas`). Records that are given meanwhile, one after the other, must not pass each other.
#[tokio::test(flavor = "multi_thread")]
async fn records_keep_their_order_while_the_producer_learns_where_the_topic_is() {
    for _ in 0..5 {
        let bus = bus().await;
        let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
        let mut given = 0;
        // One at a time until the first is acknowledged, and so the topic known, and then some more.
        let mut receipts = Vec::new();
        while given < 500 || !receipts.first().is_some_and(Receipt::is_acknowledged) {
            given += 1;
            receipts.push(publisher.enqueue(&[outgoing(&event(given))]).await.expect("enqueued"));
            // A pace at which they come while the producer still asks, and not a wait for anything.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for receipt in receipts {
            receipt.acknowledged().await.expect("acknowledged");
        }
        assert_eq!(on_topic(&bus).await, expected(1..=given));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_record_that_the_broker_refuses_nothing_follows_in_its_partition() {
    let bus = bus_for_small_records().await;
    let mut records: Vec<Outgoing> = (1..=2_000).map(|position| outgoing(&event(position))).collect();
    let mut too_large = event(1_000);
    too_large.metadata.actor = "x".repeat(50_000);
    records[999] = outgoing(&too_large);
    let mut publisher = OrderedPublisher::new(&bus, bus.topic(CONTEXT)).expect("a publisher");
    let failed = publisher.publish(&records).await;
    assert!(matches!(failed, Err(PublishError::NotDelivered { .. })), "{failed:?}");
    let again = publisher.publish(&records[1_000..]).await;
    assert!(matches!(again, Err(PublishError::NotDelivered { .. })), "it is not to be used again: {again:?}");
    drop(publisher);
    for (partition, positions) in on_topic(&bus).await {
        let all = &expected(1..=2_000)[&partition];
        assert_eq!(positions, all[..positions.len()], "a beginning, without a gap or a swap");
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
async fn a_publisher_dropped_with_records_on_their_way_leaves_a_beginning_of_them() {
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
    assert!(outcome.is_err() || count == records.len(), "acknowledged means that it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enqueue_given_up_half_way_stops_the_publisher() {
    let nobody_there = BusConfig::plain("127.0.0.1:1", "");
    let mut publisher =
        OrderedPublisher::new(&nobody_there, nobody_there.topic(CONTEXT)).expect("a publisher");
    // More than the producer's queue holds, so that it must wait.
    let records: Vec<Outgoing> = (1..=60_000).map(|position| outgoing(&event(position))).collect();
    let mut half_way = Box::pin(publisher.enqueue(&records));
    let polled = futures::poll!(&mut half_way);
    assert!(polled.is_pending(), "the queue is full");
    drop(half_way);
    let next = publisher.publish(&records[..1]).await;
    assert!(matches!(next, Err(PublishError::Interrupted)), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_once_and_another_number_of_partitions_is_refused() {
    let bus = bus().await;
    ensure_topics(&bus, &Context::NAMES, 1).await.expect("the second time nothing is to be done");

    let mut other = bus.clone();
    other.topic_prefix = format!("{}-", testkit::unique("bus"));
    let topic = other.topic(Context::Payments);
    let three = NewTopic::new(&topic, 3, TopicReplication::Fixed(1));
    let made = admin(&bus.brokers).create_topics([&three], &AdminOptions::new()).await.expect("answered");
    assert_eq!(made, [Ok(topic.clone())]);
    let refused = eventually("the topic is known", || async {
        match ensure_topics(&other, &events::Context::NAMES, 1).await {
            Err(TopicError::NotThere { .. }) => None,
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
