//! What is read agrees: who has seen an order settled, and asks with the position of that answer, finds its stock, its
//! payment, its events, its process and its place in the list as the settled order says, whichever query side answers.
//!
//! `AGREEING_ORDERS=10000` places so many; by default it is fewer. Never: a pause between the answer and the questions.
//! Read next: `platform/projections/src/progress.rs`.

use std::sync::Arc;

use e2e::{Answer, Platform, Shop, line};
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

const ORDERS_BY_DEFAULT: usize = 240;
const CALLERS: usize = 8;
/// One in so many wants more than there is.
const SHORT_EVERY: usize = 10;
/// Longer than anything here takes: what is not there by then never comes.
const TIMEOUT_MS: u32 = 60_000;
/// What stands behind every confirmed order.
const BEHIND_A_CONFIRMATION: [&str; 5] =
    ["OrderPlaced", "ReservationMade", "PaymentRequested", "PaymentAuthorised", "OrderConfirmed"];

fn orders_to_place() -> usize {
    std::env::var("AGREEING_ORDERS").map_or(ORDERS_BY_DEFAULT, |count| count.parse().expect("a whole number"))
}

#[tokio::test]
async fn who_has_seen_an_order_settled_meets_no_contradiction_at_either_of_two_query_sides() {
    let orders = orders_to_place();
    let platform = Platform::start("agreement", &[]).await;
    let second = platform.another_query_side().await;
    let doors = Arc::new([platform.shop(), platform.shop().with_query_url(&second.url)]);
    let callers = (0..CALLERS).map(|caller| {
        let (doors, count) = (Arc::clone(&doors), orders.div_ceil(CALLERS));
        tokio::spawn(async move {
            let mut caller = Caller::new(&doors, caller, count as i64).await;
            for number in 0..count {
                caller.buys(number).await;
            }
            caller.contradictions
        })
    });
    let contradictions: Vec<String> = join_all(callers)
        .await
        .into_iter()
        .flat_map(|ended| ended.expect("a caller does not panic"))
        .collect();
    assert!(
        contradictions.is_empty(),
        "{} contradictions in {orders} orders, such as {:#?}",
        contradictions.len(),
        &contradictions[..contradictions.len().min(5)]
    );
}

/// Places one order after the other, all of one SKU that nobody else buys.
struct Caller<'a> {
    doors: &'a [Shop; 2],
    customer: String,
    sku: String,
    received: i64,
    confirmed: i64,
    contradictions: Vec<String>,
}

impl<'a> Caller<'a> {
    async fn new(doors: &'a [Shop; 2], number: usize, received: i64) -> Self {
        let (customer, sku) = (format!("caller-{number}"), format!("SKU-{number}"));
        doors[0].receives_stock(&sku, received).await;
        Self { doors, customer, sku, received, confirmed: 0, contradictions: Vec::new() }
    }

    async fn buys(&mut self, number: usize) {
        let is_short = number % SHORT_EVERY == SHORT_EVERY - 1;
        let quantity = if is_short { self.received + 1 } else { 1 };
        let order_id = Uuid::now_v7();
        let order = Shop::order(order_id, &self.customer, &[line(&self.sku, quantity, 700)]);
        let placed = self.doors[0].post("/v1/orders", order).await.accepted();
        let after = placed["position"].as_str().expect("a position").to_owned();
        let path = format!("/v1/orders/{order_id}?wait=settled&after={after}&timeout_ms={TIMEOUT_MS}");
        let settled = self.doors[number % 2].get(&path).await;
        let Some(position) = settled.position.clone() else {
            self.contradictions.push(format!("an answer without a position: {settled:?}"));
            return;
        };
        let wanted = if is_short { "rejected" } else { "confirmed" };
        self.holds(&settled, "the order", settled.body["status"] == wanted);
        self.confirmed += i64::from(!is_short);
        let [stock, payment, events, process, list] = self.asks(number, order_id, &position).await;

        let pieces = json!([self.received - self.confirmed, self.confirmed]);
        self.holds(&stock, "the stock", json!([stock.body["available"], stock.body["reserved"]]) == pieces);
        let types: Vec<&str> = each(&events.body["items"], "event_type").collect();
        let listed = list.body["items"].as_array().into_iter().flatten();
        let listed = listed.filter(|item| item["order_id"] == json!(order_id));
        let listed: Vec<&Value> = listed.map(|item| &item["status"]).collect();
        self.holds(&list, "the list", listed == [&json!(wanted)]);
        let steps: Vec<&str> = each(&process.body["done"], "event").collect();
        if is_short {
            self.holds(&payment, "the payment", payment.status == 404);
            self.holds(
                &events,
                "the events",
                types == ["OrderPlaced", "ReservationRefused", "OrderRejected"],
            );
            self.holds(&process, "the process", process.body["state"] == "done");
        } else {
            self.holds(&payment, "the payment", payment.body["state"] == "authorised");
            let all = |seen: &[&str]| BEHIND_A_CONFIRMATION.iter().all(|event| seen.contains(event));
            self.holds(&events, "the events", all(&types));
            self.holds(&process, "the process", all(&steps));
        }
    }

    /// At once, each of them at the other query side than the one before.
    async fn asks(&self, number: usize, order_id: Uuid, position: &str) -> [Answer; 5] {
        let paths = [
            format!("/v1/stock/{}?", self.sku),
            format!("/v1/payments/{order_id}?"),
            format!("/v1/orders/{order_id}/events?"),
            format!("/v1/orders/{order_id}/process?"),
            format!("/v1/orders?customer_id={}&limit=5&", self.customer),
        ];
        let asked = paths.iter().enumerate().map(|(index, path)| async move {
            let path = format!("{path}after={position}&timeout_ms={TIMEOUT_MS}");
            self.doors[(number + index + 1) % 2].get(&path).await
        });
        join_all(asked).await.try_into().expect("as many answers as questions")
    }

    fn holds(&mut self, answer: &Answer, what: &str, holds: bool) {
        if !holds {
            let text = format!("{what} of {} after {} confirmed: {answer:?}", self.customer, self.confirmed);
            self.contradictions.push(text);
        }
    }
}

fn each<'a>(items: &'a Value, member: &'a str) -> impl Iterator<Item = &'a str> {
    items.as_array().into_iter().flatten().filter_map(move |item| item[member].as_str())
}
