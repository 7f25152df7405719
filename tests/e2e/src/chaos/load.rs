//! The load: some clients that place orders of every kind, cancel, dispatch, deliver and receive stock, until told.
//!
//! Never: an operation that is not in the history. Read next: `client.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::client::{Client, Manner};
use super::history::{History, Outcome, What};
use super::rng::Rng;
use crate::{Shop, line};

/// Clients of a chaos run: as many as keep two cores busy.
pub const CHAOS_CLIENTS: u64 = 6;
/// Clients in a test of one fault: other tests run beside it.
pub const CLIENTS: u64 = 3;
const HOT_SKUS: usize = 3;
const WIDE_SKUS: usize = 40;
const HOT_STOCK: i64 = 400;
const WIDE_STOCK: i64 = 150;
/// Between two operations of a client.
const PAUSE_MS: (i64, i64) = (20, 120);
/// An order that nothing was done with yet is taken up when this many younger ones wait.
const WAITING_MIN: usize = 6;

/// Customers whose payments the provider treats in its own way; everybody else is approved.
pub const DECLINED: &str = "declined";
pub const SLOW: &str = "slow";
pub const LOST_ANSWER: &str = "lost-answer";
pub const CAPTURED_AT_ONCE: &str = "captured-at-once";
/// Each webhook about their payments comes three times, late, and the second before the first.
pub const NOISY: &str = "noisy";

/// What the provider is told. `fault` is for everybody who has no rule.
pub fn behaviour(fault: &str) -> Value {
    json!({
        "default": {"fault": fault},
        "rules": [
            {"customer_id": DECLINED, "outcome": "decline", "decline_code": "card_declined"},
            {"customer_id": SLOW, "delay_ms": 700},
            // A webhook is all that tells of their payments before the provider is asked: twice, in any order.
            {
                "customer_id": LOST_ANSWER, "fault": "time_out_after_acceptance",
                "webhook_copies": 2, "webhook_disorder": true,
            },
            // Far too late: the payment is long done, and perhaps given back.
            {"customer_id": CAPTURED_AT_ONCE, "capture_at_once": true, "webhook_delay_ms": 3_000},
            {"customer_id": NOISY, "webhook_copies": 3, "webhook_delay_ms": 200, "webhook_disorder": true},
        ],
    })
}

pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Fills the shelves, then starts so many clients.
    pub async fn start(command_url: &str, history: &Arc<History>, seed: u64, clients_count: u64) -> Self {
        let clerk = Client::new("clerk".to_owned(), command_url.to_owned(), Arc::clone(history));
        for sku in all_skus() {
            let quantity = if sku.starts_with("HOT") { HOT_STOCK } else { WIDE_STOCK };
            clerk.perform(receipt(sku, quantity), Manner::Keyed).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..clients_count {
            let client = Client::new(format!("client-{number}"), command_url.to_owned(), Arc::clone(history));
            let shopper = Shopper { client, rng: Rng::split(seed, number), waiting: VecDeque::new() };
            clients.spawn(shopper.run(Arc::clone(&stop)));
        }
        Self { stop, clients }
    }

    /// Returns when every operation under way has ended.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

/// An order whose client sends it and hangs up at once, and then asks again with its key. Whether it was told.
pub async fn hang_up_and_ask_again(command_url: &str, history: &Arc<History>) -> bool {
    let client = Client::new("absent".to_owned(), command_url.to_owned(), Arc::clone(history));
    let order_id = Uuid::now_v7();
    let body = Shop::order(order_id, "anybody", &[line(&hot(0), 1, 100)]);
    let manner = Manner::HangsUp { after: Duration::ZERO };
    matches!(client.perform(What::Place { order_id, body }, manner).await, Outcome::Ok(_))
}

fn all_skus() -> impl Iterator<Item = String> {
    (0..HOT_SKUS).map(hot).chain((0..WIDE_SKUS).map(wide))
}

fn hot(number: usize) -> String {
    format!("HOT-{number}")
}

fn wide(number: usize) -> String {
    format!("WIDE-{number}")
}

fn receipt(sku: String, quantity: i64) -> What {
    What::Receive { sku, quantity, reference: format!("delivery note {}", Uuid::now_v7()) }
}

struct Shopper {
    client: Client,
    rng: Rng,
    /// Own orders that nothing was done with since they were placed or dispatched.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy)]
struct Waiting {
    order_id: Uuid,
    dispatched: bool,
    /// How often it was taken up in vain.
    in_vain: u32,
}

impl Shopper {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            match self.rng.below(100) {
                0..4 => {
                    let sku = if self.rng.percent(50) { self.hot() } else { self.wide() };
                    let quantity = self.rng.between(20, 80);
                    let manner = self.manner();
                    self.client.perform(receipt(sku, quantity), manner).await;
                }
                4..50 if self.waiting.len() > WAITING_MIN => self.take_up().await,
                _ => self.place().await,
            }
            tokio::time::sleep(self.rng.millis(PAUSE_MS.0, PAUSE_MS.1)).await;
        }
    }

    async fn place(&mut self) {
        let order_id = Uuid::now_v7();
        let body = self.order(order_id);
        let manner = self.manner();
        let outcome = self.client.perform(What::Place { order_id, body }, manner).await;
        if !matches!(outcome, Outcome::Fail(_)) {
            self.waiting.push_back(Waiting { order_id, dispatched: false, in_vain: 0 });
        }
    }

    /// Goes on with the oldest order.
    async fn take_up(&mut self) {
        let Some(mut order) = self.waiting.pop_front() else { return };
        let order_id = order.order_id;
        let what = if order.dispatched {
            What::Deliver { order_id }
        } else if self.rng.percent(30) {
            What::Cancel { order_id, reason: format!("changed my mind {}", Uuid::now_v7()) }
        } else {
            What::Dispatch { order_id, tracking: format!("T-{}", Uuid::now_v7()) }
        };
        let manner = self.manner();
        let outcome = self.client.perform(what.clone(), manner).await;
        match (&what, outcome) {
            (What::Dispatch { .. }, Outcome::Ok(_)) => {
                order.dispatched = true;
                self.waiting.push_back(order);
            }
            // Not prepared yet, or nobody there: later.
            (_, Outcome::Fail(_)) if order.in_vain < 3 => {
                order.in_vain += 1;
                self.waiting.push_back(order);
            }
            _ => {}
        }
    }

    fn order(&mut self, order_id: Uuid) -> Value {
        let customer = match self.rng.below(100) {
            0..6 => DECLINED,
            6..9 => SLOW,
            9..11 => LOST_ANSWER,
            11..14 => CAPTURED_AT_ONCE,
            14..22 => NOISY,
            _ => "anybody",
        };
        let gift = self.rng.percent(6);
        let skus: Vec<String> = match self.rng.below(100) {
            0..55 => vec![self.hot()],
            55..65 => {
                let (from, many) = (self.rng.below(WIDE_SKUS), self.rng.between(10, 20));
                (0..many.unsigned_abs()).map(|n| wide((from + n as usize) % WIDE_SKUS)).collect()
            }
            _ => (0..=self.rng.below(3)).map(|_| self.wide()).collect(),
        };
        let mut lines = Vec::new();
        for sku in skus {
            let price = if gift { 0 } else { self.rng.between(100, 5_000) };
            lines.push(line(&sku, self.rng.between(1, 3), price));
        }
        let mut body = Shop::order(order_id, customer, &lines);
        // What no order may be: nothing of it may reach the log.
        match self.rng.below(100) {
            0 => body["lines"] = json!([]),
            1 => body["lines"][0]["quantity"] = json!(0),
            2 => body["currency"] = json!("shells"),
            3 => body["lines"][0]["unit_price_minor"] = json!(-1),
            _ => {}
        }
        body
    }

    fn manner(&mut self) -> Manner {
        match self.rng.below(100) {
            0..40 => Manner::Once,
            40..85 => Manner::Keyed,
            85..95 => Manner::Twice,
            _ => Manner::HangsUp { after: Duration::from_millis(self.rng.between(0, 12).unsigned_abs()) },
        }
    }

    fn hot(&mut self) -> String {
        hot(self.rng.below(HOT_SKUS))
    }

    fn wide(&mut self) -> String {
        wide(self.rng.below(WIDE_SKUS))
    }
}
