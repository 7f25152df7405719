//! Append, command and replay on a short log and on long ones: nothing may slow down because there is a past.
//!
//! Beside each the same on the shortest log. Read next: `migrations/context/functions/append.sql` (every look-up is by index).

use std::time::Duration;

use events::Context;

use crate::figures::{Goal, Row, Spread};
use crate::fill::log_of;
use crate::parts::append::appending;
use crate::parts::command::{command_side, placing};
use crate::parts::replay::replay;
use crate::stage::{Database, Stage, admin};

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let sizes = stage.sizes.clone();
    let mut logs = Vec::new();
    for events in &sizes.growth_events {
        let database = log_of(stage, *events).await?;
        // The first on a log makes the live table that the next are compared with.
        let first = replay(&database).await?;
        let replayed = if first.is_equal { first } else { replay(&database).await? };
        logs.push((*events, database, replayed));
    }
    // What the replays wrote is on the disk before anything else is measured, and the lengths take turns.
    admin().await?.batch_execute("CHECKPOINT").await?;
    let mut written = vec![(Vec::new(), Vec::new()); logs.len()];
    for _ in 0..sizes.repetitions {
        for ((_, database, _), (appends, commands)) in logs.iter().zip(&mut written) {
            let (append, command) = writing(database, sizes.connections, sizes.warm_up, sizes.span).await?;
            appends.push(append);
            commands.push(command);
        }
    }
    let mut measured = Vec::new();
    for ((events, database, replayed), (appends, commands)) in logs.into_iter().zip(written) {
        let spreads = [Spread::of(appends), Spread::of(commands), Spread::one(replayed.per_second)];
        measured.push((events, spreads));
        // It is not of that length any more.
        stage.logs.remove(&events);
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
            let row = row.beside(format!("{unit}, {shortest_events} events"), *shortest);
            rows.push(row.goal(Goal::AtLeast(0.9)));
        }
    }
    Ok(rows)
}

async fn writing(
    database: &Database,
    callers: usize,
    warm_up: Duration,
    span: Duration,
) -> anyhow::Result<(f64, f64)> {
    let store = database.store(Context::Orders).await?;
    let append = appending(&store, callers, warm_up, span).await?.per_second;
    store.shutdown().await;
    let role = command_side(database).await?;
    let command = placing(&role.address, callers, 201, warm_up, span).await?.per_second;
    role.stop().await?;
    Ok((append, command))
}
