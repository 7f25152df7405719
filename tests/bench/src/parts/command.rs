//! Accepted `POST /v1/orders` a second over HTTP, two lines an order, connections kept alive; and how long one takes at
//! half that rate.
//!
//! Beside it appends from as many callers, and an echo of the same body by the same server loop. The role runs in a
//! process of its own; this process is the shop, on the same machine. Read next: `command-side/src/answer.rs`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use events::Context;
use futures::future::{BoxFuture, FutureExt as _, try_join_all};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::figures::{Goal, Row, Spread};
use crate::http::Connection;
use crate::orders;
use crate::pace::{Outcome, by_one_thread, closed_loop, ms, open_loop};
use crate::parts::append::{append_to, appending};
use crate::role::Role;
use crate::stage::{Database, Stage, binary};

/// The most that p99 may be, in round trips of a one-command append.
const P99_ROUND_TRIPS_MAX: f64 = 10.0;

pub async fn rows(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    let database = Database::fresh("command").await?;
    let store = database.store(Context::Orders).await?;
    let role = command_side(&database).await?;
    let own = std::env::current_exe().context("this program has a path")?;
    let echo = Role::start(&own, &["echo"], &[], None).await?;
    let sizes = stage.sizes.clone();
    let (connections, warm_up, span) = (sizes.connections, sizes.warm_up, sizes.span);
    let placing_at = |rate| {
        let address = role.address.clone();
        by_one_thread(move || async move {
            Shop::open(&address, connections, 201).await?.placing_at(rate, warm_up, span).await
        })
    };
    let (mut commands, mut echoes, mut appends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut append_p99, mut round_trips) = (vec![], vec![], vec![], vec![]);
    for _ in 0..sizes.repetitions {
        let full = placing(&role.address, connections, 201, warm_up, span).await?;
        appends.push(appending(&store, connections, warm_up, span).await?.per_second);
        echoes.push(placing(&echo.address, connections, 200, warm_up, span).await?.per_second);
        let rate = full.per_second / 2.0;
        let half = placing_at(rate).await?;
        p50.push(ms(&half.latencies, 0.5));
        p99.push(ms(&half.latencies, 0.99));
        let append = open_loop(connections, rate, warm_up, span, append_to(&store)).await?;
        append_p99.push(ms(&append.latencies, 0.99));
        commands.push(full.per_second);
        let alone = appending(&store, 1, warm_up, span / 2).await?;
        round_trips.push(ms(&alone.latencies, 0.5));
    }
    role.stop().await?;
    echo.stop().await?;
    store.shutdown().await;
    database.drop().await?;
    let round_trip = Spread::of(round_trips).median;
    let full =
        Row::new(format!("POST /v1/orders, {connections} connections"), "orders/s", Spread::of(commands));
    let echo = full.clone().beside("/s, HTTP echo by the same server loop", Spread::of(echoes).median);
    let beside_append = format!("events/s appended by {connections} callers");
    let p99 = Row::new("p99 at half that rate, open loop", "ms", Spread::of(p99));
    Ok(vec![
        full.beside(beside_append, Spread::of(appends).median).goal(Goal::AtLeast(0.5)),
        echo,
        Row::new("p50 at half that rate, open loop", "ms", Spread::of(p50))
            .beside("ms, one append alone, p50", round_trip),
        p99.clone().beside("ms, one append alone, p50", round_trip).goal(Goal::AtMost(P99_ROUND_TRIPS_MAX)),
        p99.beside("ms, appends at the same rate, p99", Spread::of(append_p99).median),
    ])
}

/// A command side of its own.
///
/// # Errors
/// When it does not become ready.
pub async fn command_side(database: &Database) -> anyhow::Result<Role> {
    let env = [("DATABASE_URL", database.url.expose())];
    Role::start(&binary(), &["command-side"], &env, Some("/readyz")).await
}

/// As many orders as go through a door, by a shop that is one thread.
///
/// # Errors
/// When the door does not open, or one is not answered with that status.
pub async fn placing(
    address: &str,
    connections: usize,
    expected_status: u16,
    warm_up: Duration,
    span: Duration,
) -> anyhow::Result<Outcome> {
    let address = address.to_owned();
    by_one_thread(move || async move {
        Shop::open(&address, connections, expected_status).await?.placing(warm_up, span).await
    })
    .await
}

/// Connections to a door, each with one request under way at most.
#[derive(Clone)]
pub struct Shop {
    connections: Arc<[Mutex<Connection>]>,
    expected_status: u16,
}

impl Shop {
    /// # Errors
    /// When the door does not open.
    pub async fn open(address: &str, connections: usize, expected_status: u16) -> anyhow::Result<Self> {
        let opened = try_join_all((0..connections).map(|_| Connection::open(address))).await?;
        let connections = opened.into_iter().map(Mutex::new).collect();
        Ok(Self { connections, expected_status })
    }

    /// As many orders as go through.
    ///
    /// # Errors
    /// When one is not accepted.
    pub async fn placing(&self, warm_up: Duration, span: Duration) -> anyhow::Result<Outcome> {
        closed_loop(self.connections(), warm_up, span, self.place_by()).await
    }

    /// So many orders a second, whether or not they go through.
    ///
    /// # Errors
    /// When one is not accepted.
    pub async fn placing_at(&self, rate: f64, warm_up: Duration, span: Duration) -> anyhow::Result<Outcome> {
        open_loop(self.connections(), rate.max(1.0), warm_up, span, self.place_by()).await
    }

    /// Places one order over the connection of that number.
    fn place_by(&self) -> impl Fn(usize) -> BoxFuture<'static, anyhow::Result<()>> + Clone + use<> {
        let shop = self.clone();
        move |connection| {
            let shop = shop.clone();
            async move { shop.place_order(connection, Uuid::now_v7(), &["TEAPOT", "TEACUP"]).await }.boxed()
        }
    }

    /// One order over one of the connections, with a key of its own.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn place_order(
        &self,
        connection: usize,
        order_id: Uuid,
        skus: &[impl AsRef<str>],
    ) -> anyhow::Result<()> {
        let body = orders::body(order_id, skus);
        self.post(connection, "/v1/orders", &order_id.to_string(), &body, self.expected_status).await
    }

    /// # Errors
    /// When it is not accepted.
    pub async fn receive_stock(&self, sku: &str, pieces: i64) -> anyhow::Result<()> {
        let (path, key) = (format!("/v1/stock/{sku}/receive"), Uuid::now_v7().to_string());
        self.post(0, &path, &key, &format!("{{\"quantity\":{pieces}}}"), 200).await
    }

    async fn post(
        &self,
        connection: usize,
        path: &str,
        key: &str,
        body: &str,
        expected_status: u16,
    ) -> anyhow::Result<()> {
        let mut connection = self.connections[connection % self.connections.len()].lock().await;
        let status = connection.post(path, key, body).await?;
        ensure!(status == expected_status, "{path} was answered with {status}");
        Ok(())
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}
