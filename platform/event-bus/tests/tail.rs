//! The end of a topic, as a relay reads it when it takes over.

use crate::support::{CONTEXT, bus, event, event_of, expected, home, outgoing, publish, put_by_hand};
use event_bus::read_tail;
use events::TOPIC_PARTITIONS;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_topic_has_empty_partitions() {
    let bus = bus().await;
    let tails = read_tail(&bus, CONTEXT).await.expect("read");
    assert_eq!(tails.len(), TOPIC_PARTITIONS as usize);
    assert!(tails.iter().all(|tail| tail.is_empty && tail.last.is_none()), "{tails:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_returns_its_last_event() {
    let bus = bus().await;
    publish(&bus, 1..=500).await;
    let tails = read_tail(&bus, CONTEXT).await.expect("read");
    for (partition, positions) in expected(1..=500) {
        let tail = &tails[partition as usize];
        let last = tail.last.expect("the partition has events");
        let position = *positions.last().expect("it has positions");
        assert_eq!((last.position, last.offset), (position, positions.len() as i64 - 1));
        assert_eq!(last.event_id, event(position).event_id);
        assert!(!tail.is_empty);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_foreign_records_and_poison_at_the_end_do_not_hide_the_last_event() {
    let bus = bus().await;
    publish(&bus, 1..=500).await;
    let last = event(500);
    let partition = home(&last);
    let old = event(50); // the same stream as 500
    put_by_hand(&bus, partition, old.stream.as_str(), &outgoing(&old).value).await;
    put_by_hand(&bus, partition, "x", b"not JSON").await;
    let foreign =
        (0..).map(|n| event_of(9_999, &format!("stock-S{n}"))).find(|event| home(event) != partition);
    let foreign = foreign.expect("some stream has another partition");
    put_by_hand(&bus, partition, foreign.stream.as_str(), &outgoing(&foreign).value).await;
    let tails = read_tail(&bus, CONTEXT).await.expect("read");
    let found = tails[partition as usize].last.expect("the partition has events");
    let highest = *expected(1..=500)[&partition].last().expect("it has positions");
    assert_eq!(found.position, highest);
}
