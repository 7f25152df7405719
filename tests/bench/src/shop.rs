//! The shop: the HTTP client that places the orders, and the stock that it receives first.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use futures::future::{BoxFuture, FutureExt as _, try_join_all};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::http::Connection;
use crate::load_generator::{LoadResult, closed_loop, on_one_thread, open_loop};
use crate::orders;

const SKUS: usize = 500;
const STOCK: i64 = 1_000_000;

/// Connections to the command side, each with at most one request in flight.
#[derive(Clone)]
pub struct Shop {
    connections: Arc<[Mutex<Connection>]>,
    expected_status: u16,
}

impl Shop {
    /// # Errors
    /// When nothing listens at `address`.
    pub async fn open(address: &str, connections: usize, expected_status: u16) -> anyhow::Result<Self> {
        let opened = try_join_all((0..connections).map(|_| Connection::open(address))).await?;
        let connections = opened.into_iter().map(Mutex::new).collect();
        Ok(Self { connections, expected_status })
    }

    /// Places as many orders as the server accepts.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn place_orders(&self, warm_up: Duration, span: Duration) -> anyhow::Result<LoadResult> {
        closed_loop(self.connections(), warm_up, span, self.place_by()).await
    }

    /// Places `rate` orders a second, however long the answers take.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn place_orders_at(
        &self,
        rate: f64,
        warm_up: Duration,
        span: Duration,
    ) -> anyhow::Result<LoadResult> {
        open_loop(self.connections(), rate.max(1.0), warm_up, span, self.place_by()).await
    }

    /// A call that places one order over the connection of the given number.
    fn place_by(&self) -> impl Fn(usize) -> BoxFuture<'static, anyhow::Result<()>> + Clone + use<> {
        let shop = self.clone();
        move |connection| {
            let shop = shop.clone();
            async move { shop.place_order(connection, Uuid::now_v7(), &["TEAPOT", "TEACUP"]).await }.boxed()
        }
    }

    /// Places one order; its id is its idempotency key.
    ///
    /// # Errors
    /// When the server refuses it.
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
    /// When the server refuses it.
    pub async fn receive_stock(&self, sku: &str, pieces: i64) -> anyhow::Result<()> {
        let (path, key) = (format!("/v1/stock/{sku}/receive"), Uuid::now_v7().to_string());
        self.post(0, &path, &key, &format!("{{\"quantity\":{pieces}}}"), 200).await
    }

    /// Receives more of each SKU of [`two_lines`] than the orders can take.
    ///
    /// # Errors
    /// When the server refuses a receipt.
    pub async fn receive_all_stock(&self) -> anyhow::Result<()> {
        for number in 0..SKUS {
            self.receive_stock(&sku(number), STOCK).await?;
        }
        Ok(())
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

/// Places as many orders as the server at `address` accepts, from one thread.
///
/// # Errors
/// When nothing listens there, or an answer has another status.
pub async fn order_load(
    address: &str,
    connections: usize,
    expected_status: u16,
    warm_up: Duration,
    span: Duration,
) -> anyhow::Result<LoadResult> {
    let address = address.to_owned();
    on_one_thread(move || async move {
        Shop::open(&address, connections, expected_status).await?.place_orders(warm_up, span).await
    })
    .await
}

/// One of the 500 SKUs in stock.
pub fn sku(number: usize) -> String {
    format!("SKU-{}", number % SKUS)
}

/// The SKUs of an order: two that many other orders have, too.
pub fn two_lines(number: usize) -> Vec<String> {
    vec![sku(number), sku(number * 7 + 1)]
}
