//! Events a second through the appender: each command has one event of about 500 bytes on a new stream. Baselines: the
//! same SQL function called in batches over one connection (the ceiling), and one INSERT for each transaction over 32
//! connections (without group commit).

use events::Context;
use tokio_postgres::types::Json;

use crate::appends::append_load;
use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::load_generator::ms;
use crate::orders::{metadata, placed};
use crate::pgbench::{BATCH_EVENTS, append_statement, drive, driver, insert_statement};

const INSERT_CONNECTIONS: usize = 32;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let database = Database::fresh("append").await?;
    prepare(&database).await?;
    let store = database.store(Context::Orders).await?;
    let sizes = &environment.sizes;
    let mut by_callers: Vec<Vec<f64>> = vec![Vec::new(); sizes.callers.len()];
    let mut one_caller_ms = Vec::new();
    let (mut batched, mut single) = (Vec::new(), Vec::new());
    for _ in 0..sizes.repetitions {
        for (callers, rates) in sizes.callers.iter().zip(&mut by_callers) {
            let outcome = append_load(&store, *callers, sizes.warm_up, sizes.span).await?;
            if *callers == 1 {
                one_caller_ms.push(ms(&outcome.latencies, 0.5));
            }
            rates.push(outcome.per_second);
        }
        let batches = drive(&database.url, &append_statement(), 1, sizes.span).await?;
        batched.push(batches * f64::from(BATCH_EVENTS));
        single.push(drive(&database.url, &insert_statement(), INSERT_CONNECTIONS, sizes.span).await?);
    }
    store.shutdown().await;
    let (ceiling, single) = (Spread::of(batched).median, Spread::of(single).median);
    let driver = driver();
    let mut rows = Vec::new();
    let most = sizes.callers.iter().copied().max().unwrap_or_default();
    for (callers, rates) in sizes.callers.iter().zip(by_callers) {
        let name = format!("{callers} callers");
        let row = Row::new(name.as_str(), "events/s", Spread::of(rates)).baseline(
            format!("events/s, the same function in batches of {BATCH_EVENTS} ({driver})"),
            ceiling,
        );
        if *callers == most {
            let alone = Row::new(name, "events/s", row.measured.clone()).baseline(
                format!("events/s, one INSERT per transaction, {INSERT_CONNECTIONS} connections"),
                single,
            );
            rows.extend([row.goal(Goal::AtLeast(0.8)), alone.goal(Goal::AtLeast(2.5))]);
        } else {
            rows.push(row);
        }
    }
    rows.push(Row::new("one command alone, p50", "ms", Spread::of(one_caller_ms)));
    database.drop().await?;
    Ok(rows)
}

/// Creates what the statements of `pgbench` need: the payload of the event, and a table like the log for the single inserts.
async fn prepare(database: &Database) -> anyhow::Result<()> {
    let admin = database.admin().await?;
    admin
        .batch_execute(
            "CREATE TABLE orders.bench_payload (payload json NOT NULL, metadata json NOT NULL);
             CREATE TABLE orders.bench_events (LIKE orders.events INCLUDING ALL);
             CREATE SEQUENCE orders.bench_position;",
        )
        .await?;
    let payload = placed(events::OrderId(uuid::Uuid::nil()));
    admin
        .execute("INSERT INTO orders.bench_payload VALUES ($1, $2)", &[&Json(payload), &Json(metadata())])
        .await?;
    Ok(())
}
