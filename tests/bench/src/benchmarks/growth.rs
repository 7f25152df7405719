//! Append, command and replay on short and long logs: the length of the history must not slow anything down.
//! Baseline: the same on the shortest log.

use std::time::Duration;

use events::Context;

use crate::appends::append_load;
use crate::benchmarks::replay::replay;
use crate::database::{Database, admin};
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::role::Role;
use crate::seed_log::seeded_log;
use crate::shop::order_load;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let sizes = environment.sizes.clone();
    let mut logs = Vec::new();
    for events in &sizes.growth_events {
        let database = seeded_log(environment, *events).await?;
        // The first replay of a log builds the live table; later replays are compared with it.
        let first = replay(&database).await?;
        let replayed = if first.is_equal { first } else { replay(&database).await? };
        logs.push((*events, database, replayed));
    }
    // The disk writes of the replays end before anything else is measured. The lengths are measured in turn.
    admin().await?.batch_execute("CHECKPOINT").await?;
    let mut written = vec![(Vec::new(), Vec::new()); logs.len()];
    for _ in 0..sizes.repetitions {
        for ((_, database, _), (appends, commands)) in logs.iter().zip(&mut written) {
            let (append, command) =
                measure_writes(database, sizes.connections, sizes.warm_up, sizes.span).await?;
            appends.push(append);
            commands.push(command);
        }
    }
    let mut measured = Vec::new();
    for ((events, database, replayed), (appends, commands)) in logs.into_iter().zip(written) {
        let spreads = [Spread::of(appends), Spread::of(commands), Spread::one(replayed.per_second)];
        measured.push((events, spreads));
        // The log has grown.
        environment.logs.remove(&events);
        database.drop().await?;
    }
    let shortest: Vec<f64> = measured[0].1.iter().map(|spread| spread.median).collect();
    let shortest_events = measured[0].0;
    let mut rows = Vec::new();
    for (events, spreads) in measured {
        for ((name, unit), (spread, shortest)) in
            [("append", "events/s"), ("command", "orders/s"), ("replay", "events/s")]
                .into_iter()
                .zip(spreads.into_iter().zip(&shortest))
        {
            let row = Row::new(format!("{name}, {events} events in the log"), unit, spread);
            let row = row.baseline(format!("{unit}, {shortest_events} events"), *shortest);
            rows.push(row.goal(Goal::AtLeast(0.9)));
        }
    }
    Ok(rows)
}

async fn measure_writes(
    database: &Database,
    callers: usize,
    warm_up: Duration,
    span: Duration,
) -> anyhow::Result<(f64, f64)> {
    let store = database.store(Context::Orders).await?;
    let append = append_load(&store, callers, warm_up, span).await?.per_second;
    store.shutdown().await;
    let role = Role::command_side(database).await?;
    let command = order_load(&role.address, callers, 201, warm_up, span).await?.per_second;
    role.stop().await?;
    Ok((append, command))
}
