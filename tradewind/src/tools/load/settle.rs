//! The outcomes of the accepted orders: asks the query side for each, which responds when the order has settled. Orders
//! settle nearly in the order of their acceptance, so the oldest ones are watched, a limited number at a time, until
//! the deadline.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use tokio::sync::watch;
use uuid::Uuid;

use super::client::ApiClient;
use super::orders::AcceptedOrder;
use super::progress::Stage;

/// Orders watched at a time; the query side keeps one request open for each.
const WATCHED_MAX: usize = 64;
/// The longest wait of one request before the deadline is checked again.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two requests for one order.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The states that the query side counts as settled.
const SETTLED: [&str; 5] = ["confirmed", "rejected", "cancelled", "shipped", "delivered"];

#[derive(Debug, Default)]
pub struct Settled {
    /// Settled orders by state.
    pub outcomes: BTreeMap<String, usize>,
    /// From the POST until the query side showed the outcome.
    pub took: Vec<Duration>,
    /// Orders without an outcome at the deadline.
    pub unsettled: Vec<Uuid>,
}

/// Waits for the outcome of each order, until the deadline, which is set once all orders are sent.
pub async fn watch(
    client: &ApiClient,
    accepted: mpsc::Receiver<AcceptedOrder>,
    deadline: watch::Receiver<Option<Instant>>,
    bar: &Stage,
) -> Settled {
    let mut outcomes = accepted
        .map(|order| {
            let deadline = deadline.clone();
            async move {
                let outcome = outcome(client, order.id, &deadline).await;
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

/// The settled state of the order; none at the deadline.
async fn outcome(
    client: &ApiClient,
    id: Uuid,
    deadline: &watch::Receiver<Option<Instant>>,
) -> Option<String> {
    loop {
        let sent_at = Instant::now();
        let remaining = deadline.borrow().map(|deadline| deadline.saturating_duration_since(sent_at));
        let wait = remaining.map_or(WAIT_MAX, |remaining| remaining.min(WAIT_MAX));
        let path = format!("/v1/orders/{id}?wait=settled&timeout_ms={}", wait.as_millis());
        // Without a response, the query side is restarting or does not have the order yet.
        if let Ok(response) = client.get(&path).await
            && let Some(status) = response.body["status"].as_str()
            && SETTLED.contains(&status)
        {
            return Some(status.to_owned());
        }
        if remaining.is_some_and(|remaining| remaining.is_zero()) {
            return None;
        }
        tokio::time::sleep(POLL_INTERVAL.saturating_sub(sent_at.elapsed())).await;
    }
}
