//! The projectors on a real Postgres: what it writes is what the fold gives, whatever the batches.

use std::sync::Arc;

use events::{Context, Envelope, Event};
use projections::{Projection, Projector, fold, key_of};
use proptest::prelude::*;
use query_side::orders;
use query_side::processes::{Processes, Row};
use query_side::projections;
use tokio_postgres::types::Json;

use crate::given::Happening::*;
use crate::given::{Logs, STORIES, order_id, received, sku};
use crate::service::{ReadModel, read_model};

const ORDERS: u128 = 40;

/// Forty receipts of five SKUs; and forty orders, each with one of the stories, step by step side by side.
fn many_stories() -> Vec<Envelope> {
    let mut logs = Logs::default();
    let longest = STORIES.iter().map(|(_, steps)| steps.len()).max().unwrap_or(0);
    let mut events = Vec::new();
    for number in 0..ORDERS {
        let name = format!("SKU-{}", number % 5);
        events.push(logs.happens(&events::inventory::stock_stream(&sku(&name)), received(&name, 7)));
    }
    for step in 0..longest {
        for number in 0..ORDERS {
            let steps = STORIES[number as usize % STORIES.len()].1;
            if let Some(happening) = steps.get(step) {
                events.extend(logs.story(order_id(number), &[*happening]));
            }
        }
    }
    events
}

async fn apply(read_model: &ReadModel, projector: &dyn Projector<Event>, events: &[Envelope]) {
    let mut client = read_model.pool.get().await.expect("a connection");
    let transaction = client.transaction().await.expect("a transaction");
    let events: Vec<&Envelope> = events.iter().collect();
    projector.apply(&transaction, &events).await.expect("the events are applied");
    transaction.commit().await.expect("the commit");
}

async fn stored_process(read_model: &ReadModel, number: u128) -> Row {
    let client = read_model.pool.get().await.expect("a connection");
    let row = client
        .query_one(
            "SELECT row_to_json(p) FROM processes p WHERE order_id = $1",
            &[&order_id(number).to_string()],
        )
        .await
        .expect("the row is there");
    row.get::<_, Json<Row>>(0).0
}

fn folded_process(events: &[Envelope], number: u128) -> Row {
    let key = order_id(number).to_string();
    let mine = events.iter().filter(|event| key_of::<Processes>(event).as_ref() == Some(&key));
    mine.fold(None, fold::<Processes>).expect("a row")
}

/// A digest of everything in a table.
async fn contents(read_model: &ReadModel, table: &str, key: &str) -> String {
    read_model.text(&format!("SELECT coalesce(json_agg(t ORDER BY {key})::text, '') FROM {table} t")).await
}

#[tokio::test]
async fn the_size_of_the_batches_makes_no_difference_to_any_projection() {
    let events = many_stories();
    let (in_one, in_many) = (read_model().await, read_model().await);
    for projector in projections().projectors {
        let heard: Vec<Envelope> =
            events.iter().filter(|event| projector.contexts().contains(&event.context)).cloned().collect();
        apply(&in_one, &*projector, &heard).await;
        for batch in heard.chunks(7) {
            apply(&in_many, &*projector, batch).await;
        }
        let (table, key) = (projector.table(), projector.key_column());
        assert_eq!(contents(&in_one, table, key).await, contents(&in_many, table, key).await, "{table}");
        assert_ne!(contents(&in_one, table, key).await, "", "{table}");
    }
}

#[tokio::test]
async fn what_is_stored_is_what_the_fold_gives() {
    let (read_model, events) = (read_model().await, many_stories());
    let projector = projections().named(Processes::NAME).expect("a projection");
    for batch in events.chunks(11) {
        apply(&read_model, &*projector, batch).await;
    }
    for number in 0..ORDERS {
        assert_eq!(stored_process(&read_model, number).await, folded_process(&events, number));
    }
}

#[tokio::test]
async fn four_processes_that_feed_the_same_rows_at_once_lose_nothing() {
    let read_model = Arc::new(read_model().await);
    let events = Arc::new(many_stories());
    let writers = Context::ALL.map(|context| {
        let (read_model, events) = (Arc::clone(&read_model), Arc::clone(&events));
        tokio::spawn(async move {
            let projector = projections().named(Processes::NAME).expect("a projection");
            let mine: Vec<Envelope> =
                events.iter().filter(|event| event.context == context).cloned().collect();
            for batch in mine.chunks(13) {
                apply(&read_model, &*projector, batch).await;
            }
        })
    });
    for writer in writers {
        writer.await.expect("no writer fails");
    }
    for number in 0..ORDERS {
        assert_eq!(stored_process(&read_model, number).await, folded_process(&events, number));
    }
}

#[tokio::test]
async fn a_row_begun_in_the_database_is_the_row_that_the_fold_begins() {
    let read_model = read_model().await;
    let projector = projections().named(Processes::NAME).expect("a projection");
    let events = Logs::default().story(order_id(1), &[Prepared]);
    apply(&read_model, &*projector, &events).await;
    assert_eq!(stored_process(&read_model, 1).await, folded_process(&events, 1));
}

#[tokio::test]
async fn every_column_of_an_order_survives_the_way_to_the_table_and_back() {
    let read_model = read_model().await;
    let projector = projections().named(orders::Orders::NAME).expect("a projection");
    for (number, (_, steps)) in STORIES.iter().enumerate() {
        let id = order_id(number as u128);
        let events: Vec<Envelope> = Logs::default()
            .story(id, steps)
            .into_iter()
            .filter(|event| event.context == Context::Orders)
            .collect();
        apply(&read_model, &*projector, &events).await;
        let folded = events.iter().fold(None, fold::<orders::Orders>).expect("a row");
        let client = read_model.pool.get().await.expect("a connection");
        let select = "SELECT row_to_json(o) FROM orders o WHERE order_id = $1";
        let row = client.query_one(select, &[&id.to_string()]).await.expect("the row is there");
        assert_eq!(row.get::<_, Json<orders::Row>>(0).0, folded);
    }
}

proptest! {
    /// What the SQL is built from: every field of every row is in its JSON, also where it holds nothing.
    #[test]
    fn a_rows_json_names_every_field(story in 0..STORIES.len()) {
        let events = Logs::default().story(order_id(1), STORIES[story].1);
        let first = serde_json::to_value(fold::<Processes>(None, &events[0])).expect("JSON");
        let last = events.iter().fold(None, fold::<Processes>);
        let last = serde_json::to_value(last).expect("JSON");
        let keys = |value: &serde_json::Value| value.as_object().map(|row| row.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(keys(&first), keys(&last));
    }
}
