//! Death at every crash point: each process that passes a named point dies there once while orders flow, is started again,
//! and everything settles exactly once.
//!
//! The points are those of `fault::CRASH_POINTS`; the test names none of them but the ones that need help to be reached.
//! Never: a point taken as passed because nothing went wrong. Who died, and where, is read from what it left behind.

use std::collections::BTreeMap;

use e2e::{Platform, Shop, eventually, first_occurrences_are_in_order, line};
use events::Context;
use fault::{CRASH_POINTS, Crash};
use futures::future::join_all;
use serde_json::{Value, json};
use testkit::read_topic;
use uuid::Uuid;

/// Orders of one round, each for one piece; the last of them meets an empty shelf.
const ORDERS: usize = 10;
const CONFIRMED: usize = ORDERS - 1;
const DISPATCHED: usize = 2;
/// Passed only when a process starts: it is made to.
const AT_START: [&str; 1] = ["relay::lease_taken"];
/// Not roles of the platform but commands that a person gives. That to reconcile needs a restore: see `restore.rs`.
const REPLAY: &str = "replay";
/// Of the points of a replay, those that a rollback alone passes. A rebuild has kept a table before.
const WHEN_ROLLING_BACK: [&str; 1] = ["replay::kept_caught_up"];
const RECONCILE: &str = "reconcile";

/// In each round one point of each role, until every role has died at all of its points.
fn rounds() -> Vec<Vec<Crash>> {
    let mut by_role = BTreeMap::<&str, Vec<Crash>>::new();
    for point in CRASH_POINTS {
        for role in point.roles.iter().filter(|role| ![REPLAY, RECONCILE].contains(role)) {
            by_role.entry(role).or_default().push(Crash::at(point.name, role));
        }
    }
    let longest = by_role.values().map(Vec::len).max().unwrap_or(0);
    let round = |nth: usize| by_role.values().filter_map(|points| points.get(nth).cloned()).collect();
    (0..longest).map(round).collect()
}

#[tokio::test]
async fn every_process_may_die_at_every_crash_point_and_every_order_settles_exactly_once() {
    let platform = Platform::start("crash-points", &[]).await;
    let shop = platform.shop();
    let mut settled = BTreeMap::new();
    for (nth, crashes) in rounds().iter().enumerate() {
        let orders = die_and_settle(&platform, &shop, &format!("VASE-{nth}"), crashes).await;
        settled.extend(orders);
    }
    for point in CRASH_POINTS.iter().filter(|point| point.roles.contains(&REPLAY)) {
        let rollback: &[&str] = if WHEN_ROLLING_BACK.contains(&point.name) { &["--rollback"] } else { &[] };
        let command = [&["replay", "orders"], rollback].concat();
        dies_while_replaying(&platform, &Crash::at(point.name, REPLAY), &command).await;
    }
    // What settled in an early round is still so after the last one.
    for (id, status) in settled {
        assert_eq!(shop.waits_for_outcome(id).await["status"], json!(status), "order {id}");
    }
    for context in Context::ALL {
        first_occurrences_are_in_order(&read_topic(&platform.topic(context)).await);
    }
    let (code, said) = platform.tradewind(&["replay", "--all", "--check"]).await;
    assert_eq!(code, 0, "a read model is not the fold of the log: {said}");
}

/// One round: the orders, and how each ended.
async fn die_and_settle(
    platform: &Platform,
    shop: &Shop,
    sku: &str,
    crashes: &[Crash],
) -> BTreeMap<Uuid, String> {
    let receipt = json!({"quantity": CONFIRMED});
    shop.post_until_answered(&format!("/v1/stock/{sku}/receive"), receipt).await.accepted();
    platform.faults().arm(crashes, &[]).expect("the control file can be written");
    for crash in crashes.iter().filter(|crash| AT_START.contains(&crash.point.as_str())) {
        platform.kill(&crash.role).await;
    }

    let ids: Vec<Uuid> = (0..ORDERS).map(|_| Uuid::now_v7()).collect();
    let lines = [line(sku, 1, 700)];
    join_all(ids.iter().map(|id| shop.places_though_roles_die(*id, "kim", &lines))).await;
    let mut statuses = BTreeMap::new();
    for id in ids {
        let order = shop.waits_for_outcome(id).await;
        statuses.insert(id, order["status"].as_str().unwrap_or("?").to_owned());
    }
    let confirmed: Vec<Uuid> =
        statuses.iter().filter(|(_, status)| *status == "confirmed").map(|(id, _)| *id).collect();
    let rejected = statuses.values().filter(|status| *status == "rejected").count();
    assert_eq!((confirmed.len(), rejected), (CONFIRMED, ORDERS - CONFIRMED), "{crashes:?}: {statuses:?}");
    let (sent, kept) = confirmed.split_at(DISPATCHED);
    for id in sent {
        dispatch(shop, *id).await;
        shop.sees_order(*id, "shipped").await;
        shop.sees_payment(*id, "captured").await;
        statuses.insert(*id, "shipped".to_owned());
    }

    for crash in crashes {
        died_and_came_back(platform, crash).await;
    }
    let (received, left) = (CONFIRMED as i64, kept.len() as i64);
    shop.sees_stock(sku, received, 0, left, DISPATCHED as i64).await;
    for (id, status) in &statuses {
        let wanted = match status.as_str() {
            "confirmed" => json!("authorised"),
            "shipped" => json!("captured"),
            _ => Value::Null,
        };
        let held = shop.provider_payment(*id).await.body["state"].clone();
        assert_eq!(held, wanted, "{crashes:?}: what the provider holds for the {status} order {id}");
    }
    statuses
}

/// Goes on until the shipment is there and somebody says that it is on its way.
async fn dispatch(shop: &Shop, id: Uuid) {
    let path = format!("/v1/shipments/{id}/dispatch");
    eventually("a shipment to dispatch", || async {
        let answer =
            shop.post_until_answered(&path, json!({"carrier": "Royal Mail", "tracking": "RM1"})).await;
        // 409: it was sent off before the command side died and could say so. The order tells.
        if answer.status.is_success() || answer.status == 409 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

async fn died_and_came_back(platform: &Platform, crash: &Crash) {
    let died = eventually(&format!("the death of {crash:?}"), || async {
        platform.faults().died_of(crash).ok_or_else(|| "nobody died there".to_owned())
    })
    .await;
    eventually(&format!("another process after {crash:?}"), || async {
        match platform.pid_if_running(&crash.role) {
            Some(pid) if pid != died => Ok(()),
            other => Err(format!("{other:?} runs, {died} died")),
        }
    })
    .await;
}

/// The rebuild or the rollback dies, the live tables serve on, and the next one goes through.
async fn dies_while_replaying(platform: &Platform, crash: &Crash, command: &[&str]) {
    platform.faults().arm(std::slice::from_ref(crash), &[]).expect("the control file can be written");
    let (code, said) = platform.tradewind(command).await;
    assert!(platform.faults().died_of(crash).is_some(), "nobody died at {crash:?}: {said}");
    assert_ne!(code, 0, "{said}");
    let (code, said) = platform.tradewind(&["replay", "orders", "--check"]).await;
    assert_eq!(code, 0, "after {crash:?} the live table is not the fold of the log: {said}");
    let (code, said) = platform.tradewind(command).await;
    assert_eq!(code, 0, "after {crash:?}: {said}");
    let (code, said) = platform.tradewind(&["replay", "orders", "--check"]).await;
    assert_eq!(code, 0, "after {crash:?} and {command:?} the live table is not the fold of the log: {said}");
}
