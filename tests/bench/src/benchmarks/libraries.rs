//! The workloads of the fastest Rust event-sourcing libraries. Baseline: the median of their figures on a machine of
//! this kind, which is a constant here and is not measured.

use domain::{Order, OrderCommand, StockCommand, StockItem};
use event_store::{AppendError, EventStore, retry_conflicts};
use events::orders::OrderPlaced;
use events::{Context, OrderId};
use uuid::Uuid;

use crate::benchmarks::replay::replay;
use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::load_generator::closed_loop;
use crate::orders::{metadata, pieces, placed, sku};
use crate::seed_log::seeded_log;

const FRESH_CALLERS: usize = 32;
const ONE_STREAM_CALLERS: usize = 8;
const ATTEMPTS_MAX: u32 = 1_000;
const THEIR_COMMANDS: f64 = 7_200.0;
const THEIR_SUCCESSES: f64 = 490.0;
const THEIR_REBUILD: f64 = 5_500.0;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let database = Database::fresh("libraries").await?;
    let orders = database.store(Context::Orders).await?;
    let inventory = database.store(Context::Inventory).await?;
    let sizes = environment.sizes.clone();
    let (mut fresh, mut one) = (Vec::new(), Vec::new());
    for _ in 0..sizes.repetitions {
        let (store, warm_up, span) = (orders.clone(), sizes.warm_up, sizes.span);
        let placing = closed_loop(FRESH_CALLERS, warm_up, span, move |_| place(store.clone())).await?;
        fresh.push(placing.per_second);
        let store = inventory.clone();
        let receiving =
            closed_loop(ONE_STREAM_CALLERS, warm_up, span, move |_| receive(store.clone())).await?;
        one.push(receiving.per_second);
    }
    orders.shutdown().await;
    inventory.shutdown().await;
    database.drop().await?;

    let events = *environment.sizes.replay_events.first().expect("there is a smallest log");
    let database = seeded_log(environment, events).await?;
    let rebuilt = replay(&database).await?;
    Ok(vec![
        Row::new("32 in-process callers, a fresh aggregate each", "commands/s", Spread::of(fresh))
            .baseline("commands/s, theirs", THEIR_COMMANDS)
            .goal(Goal::AtLeast(4.0)),
        Row::new("8 callers on one aggregate, with retry", "successes/s", Spread::of(one))
            .baseline("successes/s, theirs", THEIR_SUCCESSES)
            .goal(Goal::AtLeast(10.0)),
        Row::new(
            format!("rebuild of the orders from {events} events"),
            "events/s",
            Spread::one(rebuilt.per_second),
        )
        .baseline("events/s, theirs", THEIR_REBUILD)
        .goal(Goal::AtLeast(20.0)),
    ])
}

/// Decides and appends as `POST /v1/orders` does: it assumes a new stream, and the append checks that.
async fn place(store: EventStore) -> anyhow::Result<()> {
    let order_id = OrderId(Uuid::now_v7());
    let OrderPlaced { customer_id, currency, lines, shipping_address, placed_at, .. } = placed(order_id);
    let command =
        OrderCommand::PlaceOrder { order_id, customer_id, currency, lines, shipping_address, placed_at };
    let mut work = store.unit_of_work();
    let stream = events::orders::stream(order_id);
    work.assume_empty::<Order>(&stream);
    work.decide::<Order>(&stream, &command, &metadata()).await??;
    work.commit().await?;
    Ok(())
}

/// All callers write to one stream; a conflict is retried until it succeeds.
async fn receive(store: EventStore) -> anyhow::Result<()> {
    let popular = sku("POPULAR");
    let stream = events::inventory::stock_stream(&popular);
    let command = StockCommand::ReceiveStock { sku: popular, quantity: pieces(1), reference: None };
    retry_conflicts(ATTEMPTS_MAX, async || {
        let mut work = store.unit_of_work_ahead();
        let decided = work.decide::<StockItem>(&stream, &command, &metadata()).await?;
        decided.expect("there is room for one piece");
        work.commit().await?;
        Ok::<_, AppendError>(())
    })
    .await?;
    Ok(())
}
