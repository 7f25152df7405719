//! One more command on an aggregate with a short, a long and a very long history: cold (nothing cached) and warm.
//! Baseline: the same on the shortest history. The lengths are measured in turn, so that other load on the machine
//! affects all.

use std::time::{Duration, Instant};

use domain::{StockCommand, StockItem};
use event_store::{Append, EventStore, NewEvent, StreamWrite};
use events::inventory::{SkuRegistered, StockReceived};
use events::{Context, Sku, StockEvent};

use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::load_generator::{Latencies, latencies, ms, record};
use crate::orders::{metadata, pieces, sku};

const CHUNK_EVENTS: usize = 1_000;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let database = Database::fresh("long_stream").await?;
    let lengths = environment.sizes.stream_lengths.clone();
    let named = |length: usize| sku(&format!("SOLD-{length}-TIMES"));
    let filler = database.store(Context::Inventory).await?;
    for length in &lengths {
        append_history(&filler, &named(*length), *length).await?;
        // The store writes a snapshot of a long stream when the stream is used.
        command(&filler, &named(*length)).await?;
    }
    filler.shutdown().await;
    let admin = database.admin().await?;
    admin.batch_execute("VACUUM (ANALYZE) inventory.events").await?;

    let mut cold: Vec<Latencies> = lengths.iter().map(|_| latencies()).collect();
    let mut warm = cold.clone();
    for _ in 0..environment.sizes.stream_samples {
        for (index, length) in lengths.iter().enumerate() {
            let store = database.store(Context::Inventory).await?;
            // This opens the connections and prepares the statements; the measured stream is not loaded.
            command(&store, &sku("ANOTHER")).await?;
            record(&mut cold[index], command(&store, &named(*length)).await?);
            record(&mut warm[index], command(&store, &named(*length)).await?);
            store.shutdown().await;
        }
    }
    database.drop().await?;
    let mut rows = Vec::new();
    for (temperature, seen) in [("cold", &cold), ("warm", &warm)] {
        let shortest = ms(&seen[0], 0.5);
        for (length, seen) in lengths.iter().zip(seen) {
            let spread = Spread { median: ms(seen, 0.5), min: ms(seen, 0.0), max: ms(seen, 1.0) };
            let row = Row::new(format!("{temperature}, {length} events"), "ms", spread);
            let baseline = format!("ms, {} events", lengths[0]);
            rows.push(row.baseline(baseline, shortest).goal(Goal::AtMost(1.5)));
        }
    }
    Ok(rows)
}

async fn append_history(store: &EventStore, sku: &Sku, length: usize) -> anyhow::Result<()> {
    let mut version = 0;
    while version < length {
        let count = CHUNK_EVENTS.min(length - version);
        let event = |number: usize| -> StockEvent {
            match number {
                0 => SkuRegistered { sku: sku.clone() }.into(),
                _ => StockReceived { sku: sku.clone(), quantity: pieces(1), reference: None }.into(),
            }
        };
        let events = (version..version + count).map(|number| NewEvent::new(&event(number), metadata()));
        let write = StreamWrite {
            stream: events::inventory::stock_stream(sku),
            expected_version: i32::try_from(version)?,
            events: events.collect(),
        };
        store.append(Append { writes: vec![write], ..Append::default() }).await?;
        version += count;
    }
    Ok(())
}

/// One more receipt: load, decide, append.
async fn command(store: &EventStore, sku: &Sku) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let command = StockCommand::ReceiveStock { sku: sku.clone(), quantity: pieces(1), reference: None };
    let mut work = store.unit_of_work();
    work.decide::<StockItem>(&events::inventory::stock_stream(sku), &command, &metadata()).await??;
    work.commit().await?;
    Ok(begun.elapsed())
}
