//! Acts on the deadlines of the payments context that came due: gives a payment up, or asks the provider again.
//!
//! What comes of a deadline and the end of its row (cleared, or set anew) are one append, so two of these side by side
//! do no harm. Never: a clock but the database's to say what is due, or a row left behind unread.
//! Read next: `asking.rs`, `wake.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use domain::{Payment, PaymentCommand};
use event_store::{AppendError, Deadline, EventStore, MayBeConflict, StoreError, retry_conflicts};
use events::{Metadata, OrderId};
use fault::crash_point;
use futures::{StreamExt, stream};
use runtime::Check;
use tokio_util::sync::CancellationToken;

use super::asking::{Desk, Question, note};
use super::wake::{Wake, What};
use crate::carry_out::{Trouble, pay};
use crate::fate::CONFLICTS_MAX;

const ACTOR: &str = "deadline";
/// Rows taken at a time.
const DUE_MAX: usize = 256;
/// Between two looks: the shorter while there is something to do, doubled up to the longer while there is nothing.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A row that is overdue for longer than this means that we do not keep up.
const OVERDUE_MAX: TimeDelta = TimeDelta::seconds(30);
/// How many refused payments the readiness names, and how often it looks.
const NAMED_MAX: usize = 5;
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The worker. Any number of them may run.
pub struct DeadlineWorker {
    store: EventStore,
    desk: Desk,
    check: Check,
    unreadable: Unreadable,
}

/// Rows that nobody can act on, and why, by id: each stays due until a person has looked.
#[derive(Clone, Default)]
pub(crate) struct Unreadable(Arc<Mutex<BTreeMap<String, String>>>);

impl Unreadable {
    fn add(&self, id: String, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, why);
    }

    fn replace(&self, rows: BTreeMap<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error("the deadline {id} cannot be read: {cause}")]
    Unreadable { id: String, cause: String },
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Trouble(error.into())
    }
}

impl MayBeConflict for Undone {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Append(error) if error.is_conflict())
    }
}

impl DeadlineWorker {
    pub(crate) fn new(store: EventStore, desk: Desk, check: Check) -> Self {
        Self { store, desk, check, unreadable: Unreadable::default() }
    }

    /// For [`watch_overdue`].
    pub(crate) fn unreadable(&self) -> Unreadable {
        self.unreadable.clone()
    }

    /// Looks and acts until `shutdown`; what was begun is finished.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pause = PAUSE_MIN;
        while !shutdown.is_cancelled() {
            pause = match self.act_on_what_is_due().await {
                Ok(0) => (pause * 2).min(PAUSE_MAX),
                Ok(_) => PAUSE_MIN,
                Err(error) => {
                    self.check.failing(error.to_string());
                    PAUSE_MAX
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// How many were acted on. One that fails stays due, is named, and holds up none behind it.
    async fn act_on_what_is_due(&self) -> Result<usize, Undone> {
        let mut done = 0;
        let mut unreadable = BTreeMap::new();
        let mut after = None;
        loop {
            let due = self.store.due_deadlines(after.as_ref(), DUE_MAX).await?;
            let is_last = due.len() < DUE_MAX;
            after = due.last().cloned();
            let acting = due.into_iter().map(|row| async move { (row.id.clone(), self.act(row).await) });
            let mut acting = stream::iter(acting).buffer_unordered(self.desk.calls_max());
            let mut failed = None;
            while let Some((id, outcome)) = acting.next().await {
                match outcome {
                    Ok(()) => done += 1,
                    Err(error @ (Undone::Unreadable { .. } | Undone::Trouble(Trouble::Park(_)))) => {
                        self.unreadable.add(id.clone(), error.to_string());
                        unreadable.insert(id, error.to_string());
                    }
                    // About more than one row; those that were begun are finished.
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if is_last {
                break;
            }
        }
        metrics::gauge!("tradewind_deadlines_unreadable").set(unreadable.len() as f64);
        match unreadable.values().next() {
            None => self.check.ok(),
            Some(first) => {
                let count = unreadable.len();
                self.check.degraded(format!("{count} deadlines cannot be read; the first: {first}"));
            }
        }
        self.unreadable.replace(unreadable);
        Ok(done)
    }

    async fn act(&self, row: Deadline) -> Result<(), Undone> {
        let unreadable = |cause: String| Undone::Unreadable { id: row.id.clone(), cause };
        let wake: Wake =
            serde_json::from_value(row.command.clone()).map_err(|cause| unreadable(cause.to_string()))?;
        let order_id = events::order_of(&row.stream)
            .ok_or_else(|| unreadable(format!("its stream is {}", row.stream)))?;
        crash_point!("deadlines::due_before_acted");
        let (kind, done) = match wake.what {
            What::ExpirePayment => ("expire", self.expire(&row, order_id, &wake.cause).await),
            What::AskProvider { in_vain, refused } => {
                let asked_before = (in_vain, refused.is_some());
                ("ask_provider", self.ask_again(&row, order_id, wake.cause, asked_before).await)
            }
        };
        let outcome = if done.is_ok() { "done" } else { "failed" };
        metrics::counter!("tradewind_deadlines_total", "kind" => kind, "outcome" => outcome).increment(1);
        done.inspect_err(|error| tracing::warn!(deadline = row.id, %error, "a deadline stays due"))
    }

    async fn expire(&self, row: &Deadline, order_id: OrderId, cause: &Metadata) -> Result<(), Undone> {
        let metadata = Metadata { actor: ACTOR.to_owned(), ..cause.clone() };
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            pay(&mut work, &row.stream, &PaymentCommand::ExpirePayment { order_id }, &metadata).await?;
            work.clear_deadline(&row.id);
            work.commit().await?;
            Ok(())
        })
        .await
    }

    async fn ask_again(
        &self,
        row: &Deadline,
        order_id: OrderId,
        cause: Metadata,
        (in_vain, refused): (u32, bool),
    ) -> Result<(), Undone> {
        self.store.evict(std::slice::from_ref(&row.stream));
        let payment = self.store.load::<Payment>(&row.stream).await?;
        let Some(call) = payment.state.next_provider_call() else {
            return self.clear_if_nothing_is_open(row).await;
        };
        let asked = self.desk.ask(Question { order_id, call, cause, in_vain, refused }).await;
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            note(&mut work, &asked, ACTOR).await?;
            crash_point!("deadlines::asked_before_append");
            work.commit().await?;
            Ok(())
        })
        .await
    }

    /// A question that is asked meanwhile keeps the row.
    async fn clear_if_nothing_is_open(&self, row: &Deadline) -> Result<(), Undone> {
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            let open = is_open(work.load::<Payment>(&row.stream).await?);
            if !open {
                work.clear_deadline(&row.id);
                work.commit().await?;
            }
            Ok(())
        })
        .await
    }
}

/// Tells readiness and metrics how long the oldest deadline is overdue, as the table has it: also while a worker hangs.
/// Never returns.
pub(crate) async fn watch_overdue(store: EventStore, unreadable: Unreadable, check: Check) {
    loop {
        match store.oldest_due_deadline(&unreadable.ids()).await {
            Ok(oldest) => {
                let overdue = oldest.as_ref().map_or_else(TimeDelta::zero, |row| row.seen_at - row.due_at);
                let seconds = overdue.num_seconds();
                metrics::gauge!("tradewind_deadline_lag_seconds").set(seconds as f64);
                match oldest.filter(|_| overdue > OVERDUE_MAX) {
                    None => check.ok(),
                    Some(row) => {
                        let (id, stream) = (row.id, row.stream);
                        check.failing(format!(
                            "the deadline {id} of {stream} has been overdue for {seconds} s"
                        ));
                    }
                }
            }
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells readiness and metrics whose payments the provider refuses to capture, void or give back; never returns.
pub(crate) async fn watch_refused(store: EventStore, check: Check) {
    loop {
        match store.refused_for_good(NAMED_MAX).await {
            Ok((in_all, named)) => {
                metrics::gauge!("tradewind_payments_refused").set(in_all as f64);
                if in_all == 0 {
                    check.ok();
                } else {
                    let named: Vec<String> =
                        named.into_iter().map(|(stream, said)| format!("{stream}: {said}")).collect();
                    check.degraded(format!(
                        "the provider contradicts {in_all} payments, someone must look: {}",
                        named.join("; ")
                    ));
                }
            }
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_open(payment: &Payment) -> bool {
    payment.next_provider_call().is_some()
}
