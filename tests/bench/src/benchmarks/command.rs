//! Accepted `POST /v1/orders` a second, two lines an order, over kept-alive connections; and the latency at half that
//! rate. Baselines: appends from as many callers, and an echo of the same body by the same HTTP server. The command
//! side runs in its own process; this process is its client, on the same machine.

use anyhow::Context as _;
use events::Context;

use crate::appends::{append_load, append_to};
use crate::database::Database;
use crate::environment::Environment;
use crate::figures::{Goal, Row, Spread};
use crate::load_generator::{ms, on_one_thread, open_loop};
use crate::role::Role;
use crate::shop::{Shop, order_load};

/// The limit of p99, as a multiple of one append alone.
const P99_ROUND_TRIPS_MAX: f64 = 10.0;

pub async fn rows(environment: &mut Environment) -> anyhow::Result<Vec<Row>> {
    let database = Database::fresh("command").await?;
    let store = database.store(Context::Orders).await?;
    let role = Role::command_side(&database).await?;
    let own = std::env::current_exe().context("this program has a path")?;
    let echo = Role::start(&own, &["echo"], &[], None).await?;
    let sizes = environment.sizes.clone();
    let (connections, warm_up, span) = (sizes.connections, sizes.warm_up, sizes.span);
    let order_load_at = |rate| {
        let address = role.address.clone();
        on_one_thread(move || async move {
            Shop::open(&address, connections, 201).await?.place_orders_at(rate, warm_up, span).await
        })
    };
    let (mut commands, mut echoes, mut appends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut append_p99, mut round_trips) = (vec![], vec![], vec![], vec![]);
    for _ in 0..sizes.repetitions {
        let full = order_load(&role.address, connections, 201, warm_up, span).await?;
        appends.push(append_load(&store, connections, warm_up, span).await?.per_second);
        echoes.push(order_load(&echo.address, connections, 200, warm_up, span).await?.per_second);
        let rate = full.per_second / 2.0;
        let half = order_load_at(rate).await?;
        p50.push(ms(&half.latencies, 0.5));
        p99.push(ms(&half.latencies, 0.99));
        let append = open_loop(connections, rate, warm_up, span, append_to(&store)).await?;
        append_p99.push(ms(&append.latencies, 0.99));
        commands.push(full.per_second);
        let alone = append_load(&store, 1, warm_up, span / 2).await?;
        round_trips.push(ms(&alone.latencies, 0.5));
    }
    role.stop().await?;
    echo.stop().await?;
    store.shutdown().await;
    database.drop().await?;
    let round_trip = Spread::of(round_trips).median;
    let full =
        Row::new(format!("POST /v1/orders, {connections} connections"), "orders/s", Spread::of(commands));
    let echo = full.clone().baseline("/s, HTTP echo by the same server", Spread::of(echoes).median);
    let append_baseline = format!("events/s appended by {connections} callers");
    let p99 = Row::new("p99 at half that rate, open loop", "ms", Spread::of(p99));
    Ok(vec![
        full.baseline(append_baseline, Spread::of(appends).median).goal(Goal::AtLeast(0.5)),
        echo,
        Row::new("p50 at half that rate, open loop", "ms", Spread::of(p50))
            .baseline("ms, one append alone, p50", round_trip),
        p99.clone().baseline("ms, one append alone, p50", round_trip).goal(Goal::AtMost(P99_ROUND_TRIPS_MAX)),
        p99.baseline("ms, appends at the same rate, p99", Spread::of(append_p99).median),
    ])
}
