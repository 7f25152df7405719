//! The shop floor: a whole platform, each role in a process of its own, and what became of the orders placed there.
//!
//! An order is settled when its event (confirmed, rejected) can be read from Kafka. One floor serves several parts.
//! Never: an order that is counted before its event was seen. Read next: `parts/saga.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::Platform;
use events::{Context, StreamId};
use query_side::engine::READER;
use rdkafka::message::Message as _;
use runtime::Secret;
use uuid::Uuid;

use crate::pace::open_loop;
use crate::parts::command::Shop;
use crate::parts::pipe::header;
use crate::proc::cpu_seconds;
use crate::stage::Database;
use crate::tail::Tail;

const ROLES: [&str; 5] = ["command-side", "relay", "sagas", "query-side", "payment-provider"];
/// Without one more settled order for this long, something is stuck.
const STANDSTILL_MAX: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);
/// A log that has not grown for so long has nothing on its way: a saga's hop takes a fraction of it.
const STILL: Duration = Duration::from_secs(2);

pub struct Floor {
    pub platform: Platform,
    pub shop: Shop,
    /// Of the platform.
    pub database: Database,
    pub prefix: String,
    settled: Arc<Mutex<HashMap<Uuid, Settled>>>,
    _tail: Tail,
    is_resting: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Settled {
    pub at: Instant,
    pub confirmed: bool,
}

impl Floor {
    /// # Errors
    /// When its doors do not open.
    pub async fn open(name: &str, connections: usize) -> anyhow::Result<Self> {
        let platform = Platform::start(&format!("bench_{name}"), &[]).await;
        let shop = shop(&platform, connections).await?;
        let database = Database { url: Secret::from(platform.endpoint("database_url")) };
        let topic = platform.topic(Context::Orders);
        let prefix = topic.strip_suffix(Context::Orders.topic()).context("a prefixed topic")?.to_owned();
        let settled = Arc::<Mutex<HashMap<Uuid, Settled>>>::default();
        let seen = Arc::clone(&settled);
        let tail = Tail::of(&topic, move |record| {
            let at = Instant::now();
            let confirmed = match header(record, "ce_type") {
                Some("tradewind.orders.OrderConfirmed.v1") => true,
                Some("tradewind.orders.OrderRejected.v1") => false,
                _ => return,
            };
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            if let Some(order_id) = StreamId::from(key).order_id() {
                locked(&seen).entry(order_id.0).or_insert(Settled { at, confirmed });
            }
        })?;
        Ok(Self { platform, shop, database, prefix, settled, _tail: tail, is_resting: false })
    }

    /// Waits until every event has gone its way and brings no other one.
    ///
    /// # Errors
    /// When for a long time nothing moved, and not all of them are in the read models.
    pub async fn idle(&self) -> anyhow::Result<()> {
        let admin = self.database.admin().await?;
        let reached =
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM readmodel.checkpoints WHERE consumer = $1";
        let (mut last, mut since) = ((0.0, 0), Instant::now());
        loop {
            let events = self.events().await?;
            // The read models hear all topics, behind the relay and beside the sagas.
            let seen: i64 = admin.query_one(reached, &[&READER]).await?.try_get(0)?;
            if (events, seen) != last {
                (last, since) = ((events, seen), Instant::now());
            }
            if since.elapsed() >= STILL && seen as f64 >= events {
                return Ok(());
            }
            ensure!(
                since.elapsed() < STANDSTILL_MAX,
                "{seen} of {events} events are in the read models, and no further one for {STANDSTILL_MAX:?}"
            );
            tokio::time::sleep(STILL / 10).await;
        }
    }

    /// Waits until nothing is left to do, and stops all roles: whatever is measured now, nobody is beside it.
    ///
    /// # Errors
    /// As of [`Self::idle`].
    pub async fn rest(&mut self) -> anyhow::Result<()> {
        self.idle().await?;
        self.platform.stop().await;
        self.is_resting = true;
        Ok(())
    }

    /// Starts the roles again where they rest.
    ///
    /// # Errors
    /// When its doors do not open.
    pub async fn rise(&mut self) -> anyhow::Result<()> {
        if self.is_resting {
            self.platform.start_again();
            self.platform.wait_until_ready().await;
            self.shop = shop(&self.platform, self.shop.connections()).await?;
            self.is_resting = false;
        }
        Ok(())
    }

    /// What became of these orders so far.
    pub fn settled(&self, orders: &[Uuid]) -> Vec<Settled> {
        let settled = locked(&self.settled);
        orders.iter().filter_map(|order| settled.get(order).copied()).collect()
    }

    /// Until all of them are settled.
    ///
    /// # Errors
    /// When for a long time none was.
    pub async fn all_settled(&self, orders: &[Uuid]) -> anyhow::Result<Vec<Settled>> {
        let (mut count, mut progress_at) = (0, Instant::now());
        loop {
            let settled = self.settled(orders);
            if settled.len() == orders.len() {
                return Ok(settled);
            }
            if settled.len() > count {
                (count, progress_at) = (settled.len(), Instant::now());
            }
            ensure!(
                progress_at.elapsed() < STANDSTILL_MAX,
                "{count} of {} orders are settled, and no further one for {STANDSTILL_MAX:?}; the platform's log ends:\n{}",
                orders.len(),
                last_lines(&self.platform.log())
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Places as many orders at once as there are connections, until there are `count`; returns their ids.
    ///
    /// # Errors
    /// When one is not accepted.
    pub async fn place(
        &self,
        count: usize,
        skus: impl Fn(usize) -> Vec<String>,
    ) -> anyhow::Result<Vec<Uuid>> {
        let orders: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        let connections = self.shop.connections();
        let (orders_ref, skus) = (&orders, &skus);
        futures::future::try_join_all((0..connections).map(|connection| async move {
            for number in (connection..count).step_by(connections) {
                self.shop.place_order(connection, orders_ref[number], &skus(number)).await?;
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok(orders)
    }

    /// Places orders at a rate for a while; returns their ids and the times that were meant for them.
    ///
    /// # Errors
    /// When one is not accepted.
    pub async fn place_at(
        &self,
        rate: f64,
        span: Duration,
        skus: fn(usize) -> Vec<String>,
    ) -> anyhow::Result<Vec<(Uuid, Instant)>> {
        let placed = Arc::<Mutex<Vec<(Uuid, Instant)>>>::default();
        let begin = Instant::now() + Duration::from_millis(20);
        let place = {
            let (shop, placed) = (self.shop.clone(), Arc::clone(&placed));
            move |connection| {
                let (shop, placed, order) = (shop.clone(), Arc::clone(&placed), Uuid::now_v7());
                async move {
                    let number = {
                        let mut placed = locked(&placed);
                        let intended = begin + Duration::from_secs_f64(placed.len() as f64 / rate);
                        placed.push((order, intended));
                        placed.len()
                    };
                    shop.place_order(connection, order, &skus(number)).await
                }
            }
        };
        open_loop(self.shop.connections(), rate, Duration::ZERO, span, place).await?;
        Ok(std::mem::take(&mut *locked(&placed)))
    }

    /// Of all contexts together.
    ///
    /// # Errors
    /// When a database does not answer.
    pub async fn events(&self) -> anyhow::Result<f64> {
        let mut sum = 0;
        for context in Context::ALL {
            let store = self.database.store(context).await?;
            sum += store.head().await?;
            store.shutdown().await;
        }
        Ok(sum as f64)
    }

    pub fn processes(&self) -> BTreeMap<&'static str, u32> {
        processes(&self.platform)
    }

    /// Seconds on a processor so far, of each of them.
    pub fn cpu(&self) -> BTreeMap<&'static str, f64> {
        self.processes().into_iter().map(|(name, pid)| (name, cpu_seconds(pid))).collect()
    }
}

/// The processes that work for an order, by name.
pub fn processes(platform: &Platform) -> BTreeMap<&'static str, u32> {
    let mut all: BTreeMap<_, _> = ROLES.map(|role| (role, platform.pid(role))).into();
    for (name, variable) in [("postgres", "TRADEWIND_POSTGRES_PID"), ("kafka", "TRADEWIND_KAFKA_PID")] {
        let pid = std::env::var(variable).ok().and_then(|pid| pid.parse().ok());
        all.extend(pid.map(|pid| (name, pid)));
    }
    all
}

async fn shop(platform: &Platform, connections: usize) -> anyhow::Result<Shop> {
    let address = platform.endpoint("command_url").replace("http://", "");
    Shop::open(&address, connections, 201).await
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
