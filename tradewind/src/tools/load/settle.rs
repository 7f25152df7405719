//! What became of the accepted orders: the query side is asked for each, and answers when it has settled.
//!
//! Orders settle nearly in the order in which they were accepted, so a window of them is watched: the oldest.
//! Never: a wait beyond the deadline. Read next: `summary.rs`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use tokio::sync::watch;
use uuid::Uuid;

use super::door::Door;
use super::orders::AcceptedOrder;
use super::progress::Stage;

/// Orders watched at a time; each is a request that the query side keeps open.
const WATCHED_MAX: usize = 64;
/// How long one request may wait before the deadline is looked at again.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// An order is not asked for more often than this.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// `settled` as the query side means it: the customer has the answer.
const SETTLED: [&str; 5] = ["confirmed", "rejected", "cancelled", "shipped", "delivered"];

#[derive(Debug, Default)]
pub struct Settled {
    /// Orders by outcome.
    pub outcomes: BTreeMap<String, usize>,
    /// From the POST until the outcome was seen.
    pub took: Vec<Duration>,
    /// Orders without an outcome at the deadline.
    pub unsettled: Vec<Uuid>,
}

/// Waits for the outcome of each order, until the deadline that is told once all are sent.
pub async fn watch(
    door: &Door,
    accepted: mpsc::Receiver<AcceptedOrder>,
    deadline: watch::Receiver<Option<Instant>>,
    bar: &Stage,
) -> Settled {
    let mut outcomes = accepted
        .map(|order| {
            let deadline = deadline.clone();
            async move {
                let outcome = outcome(door, order.id, &deadline).await;
                (order.id, outcome, order.sent_at.elapsed())
            }
        })
        .buffer_unordered(WATCHED_MAX);
    let mut settled = Settled::default();
    while let Some((id, outcome, took)) = outcomes.next().await {
        match outcome {
            Some(status) => {
                bar.step();
                *settled.outcomes.entry(status).or_default() += 1;
                settled.took.push(took);
            }
            None => settled.unsettled.push(id),
        }
    }
    settled
}

/// None at the deadline.
async fn outcome(door: &Door, id: Uuid, deadline: &watch::Receiver<Option<Instant>>) -> Option<String> {
    loop {
        let asked_at = Instant::now();
        let remaining = deadline.borrow().map(|deadline| deadline.saturating_duration_since(asked_at));
        let wait = remaining.map_or(WAIT_MAX, |remaining| remaining.min(WAIT_MAX));
        let path = format!("/v1/orders/{id}?wait=settled&timeout_ms={}", wait.as_millis());
        // A query side that does not answer is being restarted, or does not know the order yet.
        if let Ok(answer) = door.get(&path).await
            && let Some(status) = answer.body["status"].as_str()
            && SETTLED.contains(&status)
        {
            return Some(status.to_owned());
        }
        if remaining.is_some_and(|remaining| remaining.is_zero()) {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY.saturating_sub(asked_at.elapsed())).await;
    }
}
