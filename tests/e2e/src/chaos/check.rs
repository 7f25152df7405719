//! The verdict: the history against the logs, and the logs against each other and against the provider's own books.
//!
//! PURE: what it judges is given. Never: a check that is left out because something is missing; that is a violation.
//! Read next: `history.rs` (what clients were told), `logs.rs` (what is in the log).

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::history::{Operation, Outcome, What};
use super::logs::{Logged, Logs, streams};

/// What the provider's own ledger says of a payment.
#[derive(Debug, Clone, PartialEq)]
pub struct Booked {
    pub state: String,
    pub amount_minor: i64,
}

/// Positions are 1, 2, 3, … in every log, and so are the versions of every stream.
pub fn logs_are_contiguous(logs: &Logs) -> Vec<String> {
    let mut violations = Vec::new();
    for (context, events) in logs {
        let gap = (1..).zip(events).find(|(wanted, event)| event.position != *wanted);
        if let Some((wanted, event)) = gap {
            violations.push(format!("{context}: position {} where {wanted} was due", event.position));
        }
    }
    for (stream, events) in streams(logs) {
        if let Some((wanted, event)) = (1..).zip(events).find(|(wanted, event)| event.version != *wanted) {
            violations.push(format!("{stream}: version {} where {wanted} was due", event.version));
        }
    }
    violations
}

/// Every ok is in the log, once, with the right content in the right stream; every fail is not; every unknown is whole or
/// absent; and nothing is there that nobody asked for.
pub fn history_is_in_the_logs(operations: &HashMap<Uuid, Operation>, logs: &Logs) -> Vec<String> {
    let mut violations = Vec::new();
    if !operations.values().any(|operation| matches!(operation.outcome, Outcome::Ok(_))) {
        violations.push("no operation was ok: there is nothing to judge by".to_owned());
    }
    let by_stream = streams(logs);
    let mut caused = HashMap::<Uuid, Vec<&Logged>>::new();
    for event in logs.values().flatten().filter(|event| event.actor == "http") {
        caused.entry(event.correlation_id).or_default().push(event);
    }
    for (id, Operation { what, outcome }) in operations {
        let found = caused.remove(id).unwrap_or_default();
        let told = format!("op {id} ({} {}): {}", what.name(), what.path(), outcome.name());
        if !found.is_empty() && !is_whole(what, &found) {
            violations.push(format!("{told}, and the log has something else: {found:?}"));
        }
        match outcome {
            Outcome::Ok(_) if found.is_empty() && !was_true_already(what, &by_stream) => {
                violations.push(format!("{told}, and it is not in the log"));
            }
            Outcome::Fail(why) if !found.is_empty() => {
                violations.push(format!("{told} ({why}), and it is in the log: {found:?}"));
            }
            Outcome::Ok(_) | Outcome::Fail(_) | Outcome::Unknown(_) => {}
        }
    }
    for (id, events) in caused {
        violations.push(format!("nobody asked for {id}, and the log has {events:?}"));
    }
    violations
}

/// Exactly the event that the operation is for, in its stream, with its content.
fn is_whole(what: &What, found: &[&Logged]) -> bool {
    let (stream, event_type, content) = match what {
        What::Place { order_id, body } => {
            let content = ["customer_id", "currency", "lines", "shipping_address"];
            let content = content.iter().map(|field| (*field, body[*field].clone())).collect();
            (format!("order-{order_id}"), "OrderPlaced", content)
        }
        What::Cancel { order_id, reason } => {
            (format!("order-{order_id}"), "OrderCancellationRequested", vec![("reason", json!(reason))])
        }
        What::Receive { sku, quantity, reference } => {
            let content = vec![("quantity", json!(quantity)), ("reference", json!(reference))];
            (format!("stock-{sku}"), "StockReceived", content)
        }
        What::Dispatch { order_id, tracking } => {
            (format!("shipment-{order_id}"), "ShipmentDispatched", vec![("tracking", json!(tracking))])
        }
        What::Deliver { order_id } => (format!("shipment-{order_id}"), "ShipmentDelivered", Vec::new()),
    };
    // The first receipt of a SKU also makes it known.
    let own = |event: &&&Logged| event.event_type != "SkuRegistered";
    let mut own = found.iter().filter(own);
    let (Some(event), None) = (own.next(), own.next()) else { return false };
    let same = |(field, value): &(&str, Value)| event.payload[*field] == *value;
    found.iter().all(|event| event.stream == stream)
        && event.event_type == event_type
        && content.iter().all(same)
}

/// A cancellation of an order that is being cancelled already is accepted, and changes nothing.
fn was_true_already(what: &What, streams: &BTreeMap<&str, Vec<&Logged>>) -> bool {
    let What::Cancel { order_id, .. } = what else { return false };
    let stream = format!("order-{order_id}");
    let events = streams.get(stream.as_str()).map(Vec::as_slice).unwrap_or_default();
    events.iter().any(|event| event.event_type == "OrderCancellationRequested")
}

/// Where an order stands, by its own events.
fn status(events: &[&Logged]) -> &'static str {
    events.iter().fold("absent", |status, event| match event.event_type.as_str() {
        "OrderPlaced" => "placed",
        "OrderConfirmed" => "confirmed",
        "OrderCancellationRequested" => "cancelling",
        "OrderRejected" => "rejected",
        "OrderCancelled" => "cancelled",
        "OrderShipped" => "shipped",
        "OrderDelivered" => "delivered",
        // The shipment had left; what comes next says where the order is.
        _ => status,
    })
}

/// Every order has settled; its stock, its money in the provider's own books and its read model agree with how.
pub fn orders_agree_with_stock_and_money(
    logs: &Logs,
    booked: &HashMap<Uuid, Booked>,
    read_model: &HashMap<Uuid, String>,
) -> Vec<String> {
    let mut violations = Vec::new();
    let mut booked_for_nobody: HashSet<&Uuid> = booked.keys().collect();
    let by_stream = streams(logs);
    for (stream, events) in &by_stream {
        let Some(order_id) = stream.strip_prefix("order-").and_then(|id| id.parse::<Uuid>().ok()) else {
            continue;
        };
        booked_for_nobody.remove(&order_id);
        let status = status(events);
        let read = read_model.get(&order_id).map(String::as_str);
        if read != Some(status) {
            violations.push(format!("{stream} is {status}, and the read model says {read:?}"));
        }
        let total = events[0].payload["total_minor"].as_i64().unwrap_or_default();
        let money = booked.get(&order_id);
        if let Some(money) = money.filter(|money| money.amount_minor != 0 && money.amount_minor != total) {
            violations.push(format!("{stream} costs {total}, and the provider booked {money:?}"));
        }
        let held = money.map_or("nothing", |money| money.state.as_str());
        let right = match (status, total) {
            ("confirmed" | "shipped" | "delivered" | "rejected" | "cancelled", 0) => held == "nothing",
            // Some customers' money is taken at once.
            ("confirmed", _) => ["authorised", "captured"].contains(&held),
            ("shipped" | "delivered", _) => held == "captured",
            ("rejected" | "cancelled", _) => ["nothing", "declined", "voided", "refunded"].contains(&held),
            _ => {
                violations.push(format!("{stream} did not settle: it is {status}"));
                true
            }
        };
        if !right {
            violations.push(format!("{stream} is {status}, and the provider holds: {held}"));
        }
        violations.extend(reservation_agrees(order_id, status, &by_stream));
    }
    violations
        .extend(booked_for_nobody.iter().map(|id| format!("the provider has a payment for no order: {id}")));
    violations
}

/// A reservation is held by confirmed orders, used by those that left, and by nobody else.
fn reservation_agrees(
    order_id: Uuid,
    status: &str,
    streams: &BTreeMap<&str, Vec<&Logged>>,
) -> Option<String> {
    let stream = format!("reservation-{order_id}");
    let last = streams.get(stream.as_str()).and_then(|events| events.last());
    let last = last.map_or("nothing", |event| event.event_type.as_str());
    let right = match status {
        "confirmed" => last == "ReservationMade",
        "shipped" | "delivered" => last == "ReservationCommitted",
        "rejected" | "cancelled" => ["nothing", "ReservationRefused", "ReservationReleased"].contains(&last),
        _ => true,
    };
    (!right).then(|| format!("order-{order_id} is {status}, and its reservation ends in {last}"))
}

/// The pieces of one SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pieces {
    pub available: i64,
    pub reserved: i64,
    pub shipped: i64,
}

/// No number of any SKU is ever below 0, each reservation is whole, and the read model says what the log says.
pub fn stock_is_conserved(logs: &Logs, read_model: &HashMap<String, Pieces>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut stock = HashMap::<&str, Pieces>::new();
    let mut reserved = HashMap::<(String, String), i64>::new();
    let mut made = HashMap::<(String, String), i64>::new();
    for event in logs.get("inventory").into_iter().flatten() {
        let payload = &event.payload;
        if event.event_type == "ReservationMade" {
            for item in payload["items"].as_array().into_iter().flatten() {
                made.insert((text(&payload["order_id"]), text(&item["sku"])), number(&item["quantity"]));
            }
        }
        let Some(sku) = event.stream.strip_prefix("stock-") else { continue };
        let pieces = stock.entry(sku).or_default();
        let quantity = number(&payload["quantity"]);
        match event.event_type.as_str() {
            "StockReceived" => pieces.available += quantity,
            "StockAdjusted" => pieces.available += number(&payload["delta"]),
            "StockReserved" => {
                pieces.available -= quantity;
                pieces.reserved += quantity;
                *reserved.entry((text(&payload["order_id"]), sku.to_owned())).or_default() += quantity;
            }
            "StockReleased" => {
                pieces.reserved -= quantity;
                pieces.available += quantity;
            }
            "StockShipped" => {
                pieces.reserved -= quantity;
                pieces.shipped += quantity;
            }
            _ => {}
        }
        if pieces.available < 0 || pieces.reserved < 0 {
            violations.push(format!("{} at version {}: {pieces:?}", event.stream, event.version));
        }
    }
    if reserved != made {
        let first = made.iter().find(|(key, quantity)| reserved.get(*key) != Some(*quantity));
        violations
            .push(format!("reservations and reserved stock differ; first, if any is missing: {first:?}"));
    }
    for (sku, pieces) in stock {
        let read = read_model.get(sku);
        if read != Some(&pieces) {
            violations.push(format!("stock-{sku} is {pieces:?}, and the read model says {read:?}"));
        }
    }
    violations
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}
