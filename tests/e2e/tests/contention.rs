//! Everybody at once: thousands for a few pieces, many under one key, a cancellation against a dispatch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Connection, Platform, Shop, WAIT_MAX, eventually, line};
use futures::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

const BUYERS: usize = 5_000;
const PIECES: i64 = 100;
/// What the test's process has open besides.
const OTHER_FILES: u64 = 500;
/// Until a buyer comes again that was not told when.
const SHORT_WHILE: Duration = Duration::from_millis(250);

#[tokio::test]
async fn five_thousand_buyers_of_a_hundred_pieces_all_at_once_over_three_command_sides_buy_a_hundred() {
    may_open(BUYERS as u64 + OTHER_FILES);
    let platform = Platform::start("contention", &[]).await;
    let (second, third) = tokio::join!(platform.another_command_side(), platform.another_command_side());
    let shop = platform.shop();
    let doors = [platform.endpoint("command_url"), second.url.clone(), third.url.clone()];
    shop.receives_stock("GOLD", PIECES).await;
    let all_are_connected = Arc::new(Barrier::new(BUYERS));
    let mut buying = JoinSet::new();
    for n in 0..BUYERS {
        let door = doors[n % doors.len()].clone();
        buying.spawn(buys(door, format!("buyer-{n}"), Arc::clone(&all_are_connected)));
    }
    let orders: HashSet<String> = buying.join_all().await.into_iter().collect();
    assert_eq!(orders.len(), BUYERS, "an order for each buyer, and one only");

    eventually("every order has an outcome", || async {
        let placed = shop.count_orders("placed").await;
        let rejected = shop.count_orders("rejected").await;
        let confirmed = shop.count_orders("confirmed").await;
        let counts = format!("{placed} placed, {confirmed} confirmed, {rejected} rejected");
        if placed == 0 && confirmed + rejected == BUYERS { Ok(()) } else { Err(counts) }
    })
    .await;
    assert_eq!(shop.count_orders("confirmed").await, PIECES as usize, "as many as there were pieces");
    shop.sees_stock("GOLD", PIECES, 0, PIECES, 0).await;
    let books = shop.provider_books().await;
    assert_eq!(books["counts"], json!({"authorised": PIECES}), "money is held for each piece, once");
    assert_eq!(books["currencies"]["GBP"]["held_minor"], PIECES * 700);
}

/// Connects, sends when all others are connected too, and comes again under the same key when it was sent away. Returns
/// the order.
async fn buys(door: String, key: String, all_are_connected: Arc<Barrier>) -> String {
    let mut order = Shop::order(Uuid::nil(), "kim", &[line("GOLD", 1, 700)]);
    order.as_object_mut().expect("an object").remove("order_id");
    let mut connection = Connection::open(&door).await;
    all_are_connected.wait().await;
    let set_off = Instant::now();
    loop {
        let asked = async {
            let mut connection = connection?;
            connection.post("/v1/orders", &[("Idempotency-Key", key.as_str())], &order).await?;
            connection.answer().await
        };
        let pause = match asked.await {
            Ok((answer, _)) if answer.status != 503 => {
                return answer.accepted()["order_id"].as_str().expect("an order id").to_owned();
            }
            last => {
                assert!(
                    set_off.elapsed() < WAIT_MAX,
                    "{key} is not served within {WAIT_MAX:?}; last: {last:?}"
                );
                last.ok().and_then(|(_, retry_after)| retry_after).unwrap_or(SHORT_WHILE)
            }
        };
        // As it was told.
        tokio::time::sleep(pause).await;
        connection = Connection::open(&door).await;
    }
}

/// Raises the limit of open files of the test's process.
fn may_open(files: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    assert!(hard >= files, "{files} open files are wanted, `ulimit -Hn` allows {hard}");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(files), hard).expect("up to the hard limit anybody may");
}

#[tokio::test]
async fn fifty_requests_under_one_key_over_two_command_sides_are_one_order_and_one_charge() {
    let platform = Platform::start("onekey", &[]).await;
    let second = platform.another_command_side().await;
    let doors = [platform.shop(), platform.shop().with_command_url(&second.url)];
    doors[0].receives_stock("GOLD", 50).await;
    let mut order = Shop::order(Uuid::nil(), "kim", &[line("GOLD", 1, 700)]);
    order.as_object_mut().expect("an object").remove("order_id");
    let posting =
        (0..50).map(|n| doors[n % doors.len()].post_under_key("basket-7", "/v1/orders", order.clone()));
    let answers: Vec<Value> = join_all(posting).await.into_iter().map(|answer| answer.accepted()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

    let order_id: Uuid = answers[0]["order_id"].as_str().and_then(|id| id.parse().ok()).expect("an order id");
    let shop = &doors[0];
    assert_eq!(shop.waits_for_outcome(order_id).await["status"], "confirmed");
    shop.sees_stock("GOLD", 50, 49, 1, 0).await;
    assert_eq!(shop.count_orders("confirmed").await, 1);
    assert_eq!(shop.provider_books().await["counts"], json!({"authorised": 1}));
}

#[tokio::test]
async fn a_cancellation_and_a_dispatch_at_once_leave_one_end_and_books_that_agree() {
    const ORDERS: usize = 30;
    let platform = Platform::start("against", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("GOLD", ORDERS as i64).await;
    let lines = [line("GOLD", 1, 700)];
    let orders = join_all((0..ORDERS).map(|_| shop.places_order("kim", &lines))).await;
    for id in &orders {
        assert_eq!(shop.waits_for_outcome(*id).await["status"], "confirmed");
        shop.shipment_is_prepared(*id).await;
    }
    join_all(orders.iter().map(|id| async { tokio::join!(shop.cancels(*id), shop.dispatches(*id)) })).await;

    let mut ends = HashMap::<String, i64>::new();
    for id in &orders {
        let end = eventually("shipped or cancelled", || async {
            let order = shop.get(&format!("/v1/orders/{id}")).await.body;
            let status = order["status"].as_str().unwrap_or("?").to_owned();
            if ["shipped", "cancelled"].contains(&status.as_str()) {
                Ok(status)
            } else {
                Err(order.to_string())
            }
        })
        .await;
        let money = if end == "shipped" { "captured" } else { "voided" };
        shop.sees_payment(*id, money).await;
        assert_eq!(shop.provider_payment(*id).await.body["state"], money);
        *ends.entry(end).or_default() += 1;
    }
    let shipped = ends.get("shipped").copied().unwrap_or_default();
    let cancelled = ends.get("cancelled").copied().unwrap_or_default();
    assert_eq!(shipped + cancelled, ORDERS as i64);
    shop.sees_stock("GOLD", ORDERS as i64, cancelled, 0, shipped).await;
}

#[tokio::test]
async fn webhooks_in_triplicate_late_and_out_of_order_change_nothing() {
    const ORDERS: usize = 20;
    const COPIES: usize = 3;
    let platform = Platform::start("webhooks", &[]).await;
    let shop = platform.shop();
    shop.receives_stock("GOLD", ORDERS as i64).await;
    let noisy = json!({"webhook_copies": COPIES, "webhook_delay_ms": 50, "webhook_disorder": true});
    let mut lossy = noisy.clone();
    lossy["fault"] = json!("time_out_after_acceptance");
    shop.provider_treats("kim", noisy).await;
    shop.provider_treats("tim", lossy).await;
    let lines = [line("GOLD", 1, 700)];
    let placing = (0..ORDERS).map(|n| shop.places_order(if n % 2 == 0 { "kim" } else { "tim" }, &lines));
    let orders = join_all(placing).await;
    for id in &orders {
        assert_eq!(shop.waits_for_outcome(*id).await["status"], "confirmed");
        shop.dispatches(*id).await.accepted();
        shop.sees_order(*id, "shipped").await;
        shop.sees_payment(*id, "captured").await;
    }
    assert_eq!(shop.provider_books().await["counts"], json!({"authorised": ORDERS, "captured": ORDERS}));
    shop.sees_stock("GOLD", ORDERS as i64, 0, 0, ORDERS as i64).await;
    let metrics = platform.endpoints()["ops_urls"]["sagas"].as_str().expect("a URL").to_owned();
    // Authorised and captured, three copies each. Not one is turned away, and none is about a payment that nobody knows.
    eventually("every copy of every webhook is taken", || async {
        let taken = webhooks_by_outcome(&shop.text_at(&format!("{metrics}/metrics")).await);
        for outcome in taken.keys() {
            assert!(["asking", "nothing_open"].contains(&outcome.as_str()), "{taken:?}");
        }
        if taken.values().sum::<usize>() >= ORDERS * 2 * COPIES { Ok(()) } else { Err(format!("{taken:?}")) }
    })
    .await;
}

/// Of `/metrics`, how many webhooks had which outcome.
fn webhooks_by_outcome(metrics: &str) -> HashMap<String, usize> {
    let counts = metrics.lines().filter_map(|line| {
        let (outcome, count) =
            line.strip_prefix("tradewind_webhooks_total{outcome=\"")?.split_once("\"} ")?;
        Some((outcome.to_owned(), count.trim().parse().ok()?))
    });
    counts.collect()
}
