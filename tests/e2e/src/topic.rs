//! What consumers may rely on, asked of a whole topic. Read next: `tests/e2e/tests/crash.rs`.

use std::collections::{BTreeSet, HashMap};

use events::Context;
use serde_json::{Value, json};
use testkit::TopicRecord;

/// Within a partition, first occurrences come in strictly increasing position, and a duplicate is equal to the first; over
/// the partitions, every position from 1 on is there.
///
/// # Panics
/// When any of it does not hold.
pub fn first_occurrences_are_in_order(records: &[TopicRecord]) {
    let mut last = HashMap::<i32, i64>::new();
    let mut seen = HashMap::<i64, &[u8]>::new();
    for TopicRecord { partition, value, .. } in records {
        let event: Value = serde_json::from_slice(value).expect("a record is JSON");
        let position = event["position"].as_i64().expect("a record has its position");
        if let Some(first) = seen.get(&position) {
            assert_eq!(first, value, "a duplicate differs from the first");
            continue;
        }
        let last = last.entry(*partition).or_default();
        assert!(*last < position, "position {position} after {last} in partition {partition}");
        *last = position;
        seen.insert(position, value);
    }
    let missing: Vec<i64> = (1..=seen.len() as i64).filter(|position| !seen.contains_key(position)).collect();
    assert_eq!(json!(missing), json!([]), "positions missing on Kafka");
}

/// The consumers that park what none of them can read in a context's topic, given those that have checkpoints there. The
/// query side has one reader, and parks for each projection that hears the context by itself.
pub fn those_who_park(context: Context, readers: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let projections: &[&str] = match context {
        Context::Orders => &["orders", "order-events", "processes", "sales"],
        Context::Inventory => &["order-events", "processes", "stock"],
        Context::Payments => &["order-events", "payments", "processes"],
        Context::Shipping => &["order-events", "processes"],
    };
    let parks = |reader: String| match reader.as_str() {
        "query-side" => projections.iter().map(|name| format!("query-side.{name}")).collect(),
        _ => vec![reader],
    };
    readers.into_iter().flat_map(parks).collect()
}
