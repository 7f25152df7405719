//! The platform under test: every role in its own process, the shop that places orders there, and which orders are
//! settled. An order is settled when a Kafka consumer has read its `OrderConfirmed` or `OrderRejected`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::Platform;
use events::{Context, StreamId};
use query_side::CONSUMER;
use rdkafka::message::Message as _;
use runtime::Secret;
use uuid::Uuid;

use crate::database::Database;
use crate::load_generator::open_loop;
use crate::proc::cpu_seconds;
use crate::shop::Shop;
use crate::tail::{Tail, header};

const ROLES: [&str; 5] = ["command-side", "relay", "sagas", "query-side", "payment-provider"];
/// The longest time without progress before a wait fails.
const STANDSTILL_MAX: Duration = Duration::from_secs(180);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// When the logs have not grown for this long, no event is in flight: one hop of a saga takes a fraction of it.
const IDLE_AFTER: Duration = Duration::from_secs(2);

pub struct BenchPlatform {
    /// The `tradewind up --separate`.
    pub up: Platform,
    pub shop: Shop,
    pub database: Database,
    pub topic_prefix: String,
    settled: Arc<Mutex<HashMap<Uuid, Settled>>>,
    _tail: Tail,
    roles_are_stopped: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Settled {
    pub at: Instant,
    pub confirmed: bool,
}

impl BenchPlatform {
    /// # Errors
    /// When the command side does not accept connections.
    pub async fn start(name: &str, connections: usize) -> anyhow::Result<Self> {
        let up = Platform::start(&format!("bench_{name}"), &[]).await;
        let shop = open_shop(&up, connections).await?;
        let database = Database { url: Secret::from(up.endpoint("database_url")) };
        let topic = up.topic(Context::Orders);
        let topic_prefix =
            topic.strip_suffix(Context::Orders.topic()).context("a prefixed topic")?.to_owned();
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
            if let Some(order_id) = events::order_of(&StreamId::from(key)) {
                locked(&seen).entry(order_id.0).or_insert(Settled { at, confirmed });
            }
        })?;
        Ok(Self { up, shop, database, topic_prefix, settled, _tail: tail, roles_are_stopped: false })
    }

    /// Waits until the read models have every event and no further event follows.
    ///
    /// # Errors
    /// When there is no progress for a long time.
    pub async fn wait_until_idle(&self) -> anyhow::Result<()> {
        let admin = self.database.admin().await?;
        let applied =
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM readmodel.checkpoints WHERE consumer = $1";
        let (mut last, mut since) = ((0.0, 0), Instant::now());
        loop {
            let events = self.events().await?;
            // The projections read all topics, so they are behind the relay and see what the sagas append.
            let seen: i64 = admin.query_one(applied, &[&CONSUMER]).await?.try_get(0)?;
            if (events, seen) != last {
                (last, since) = ((events, seen), Instant::now());
            }
            if since.elapsed() >= IDLE_AFTER && seen as f64 >= events {
                return Ok(());
            }
            ensure!(
                since.elapsed() < STANDSTILL_MAX,
                "{seen} of {events} events are in the read models, and no further one for {STANDSTILL_MAX:?}"
            );
            tokio::time::sleep(IDLE_AFTER / 10).await;
        }
    }

    /// Waits until the platform is idle, and stops all roles: what is measured next has the machine to itself.
    ///
    /// # Errors
    /// As [`Self::wait_until_idle`].
    pub async fn stop_roles(&mut self) -> anyhow::Result<()> {
        self.wait_until_idle().await?;
        self.up.stop().await;
        self.roles_are_stopped = true;
        Ok(())
    }

    /// Starts the roles if [`Self::stop_roles`] stopped them.
    ///
    /// # Errors
    /// When a role does not become ready.
    pub async fn start_roles(&mut self) -> anyhow::Result<()> {
        if self.roles_are_stopped {
            self.up.start_again();
            self.up.wait_until_ready().await;
            self.shop = open_shop(&self.up, self.shop.connections()).await?;
            self.roles_are_stopped = false;
        }
        Ok(())
    }

    /// Those of `orders` that are settled by now.
    pub fn settled(&self, orders: &[Uuid]) -> Vec<Settled> {
        let settled = locked(&self.settled);
        orders.iter().filter_map(|order| settled.get(order).copied()).collect()
    }

    /// Waits until all of `orders` are settled.
    ///
    /// # Errors
    /// When no order settles for a long time.
    pub async fn wait_until_settled(&self, orders: &[Uuid]) -> anyhow::Result<Vec<Settled>> {
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
                last_lines(&self.up.log())
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Places `count` orders, one at a time on each connection; returns their ids.
    ///
    /// # Errors
    /// When the server refuses one.
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

    /// Places `rate` orders a second for `span`; returns their ids and intended times.
    ///
    /// # Errors
    /// When the server refuses one.
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

    /// The number of events in all logs.
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
        processes(&self.up)
    }

    /// CPU seconds so far, by process.
    pub fn cpu(&self) -> BTreeMap<&'static str, f64> {
        self.processes().into_iter().map(|(name, pid)| (name, cpu_seconds(pid))).collect()
    }
}

/// The processes that take part in an order, by name.
pub fn processes(up: &Platform) -> BTreeMap<&'static str, u32> {
    let mut all: BTreeMap<_, _> = ROLES.map(|role| (role, up.pid(role))).into();
    for (name, variable) in [("postgres", "TRADEWIND_POSTGRES_PID"), ("kafka", "TRADEWIND_KAFKA_PID")] {
        let pid = std::env::var(variable).ok().and_then(|pid| pid.parse().ok());
        all.extend(pid.map(|pid| (name, pid)));
    }
    all
}

async fn open_shop(up: &Platform, connections: usize) -> anyhow::Result<Shop> {
    let address = up.endpoint("command_url").replace("http://", "");
    Shop::open(&address, connections, 201).await
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
