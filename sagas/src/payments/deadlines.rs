//! Acts on the deadlines of the payments context that came due: gives a payment up, or asks the provider again.
//!
//! What comes of a deadline and the end of its row (cleared, or set anew) are one append, so two of these side by side
//! do no harm. Never: a clock but the database's to say what is due, or a row left behind unread.
//! Read next: `asking.rs`, `wake.rs`.

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

/// What became of everything that was due.
#[derive(Default)]
struct Round {
    done: usize,
    /// Of those acted on, the longest.
    overdue: TimeDelta,
    unreadable: u64,
    first_unreadable: Option<String>,
}

impl Round {
    /// # Errors
    /// What is about more than one row.
    fn note(&mut self, outcome: Result<TimeDelta, Undone>) -> Result<(), Undone> {
        match outcome {
            Ok(overdue) => {
                self.done += 1;
                self.overdue = self.overdue.max(overdue);
            }
            Err(unreadable @ (Undone::Unreadable { .. } | Undone::Trouble(Trouble::Park(_)))) => {
                self.unreadable += 1;
                self.first_unreadable.get_or_insert_with(|| unreadable.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl DeadlineWorker {
    pub(crate) fn new(store: EventStore, desk: Desk, check: Check) -> Self {
        Self { store, desk, check }
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
        let mut round = Round::default();
        let mut after = None;
        loop {
            let due = self.store.due_deadlines(after.as_ref(), DUE_MAX).await?;
            let is_last = due.len() < DUE_MAX;
            after = due.last().cloned();
            let acting = due.into_iter().map(|row| self.act(row));
            let outcomes: Vec<_> =
                stream::iter(acting).buffer_unordered(self.desk.calls_max()).collect().await;
            for outcome in outcomes {
                round.note(outcome)?;
            }
            if is_last {
                break;
            }
        }
        metrics::gauge!("tradewind_deadline_lag_seconds").set(round.overdue.num_seconds().max(0) as f64);
        metrics::gauge!("tradewind_deadlines_unreadable").set(round.unreadable as f64);
        if round.overdue > OVERDUE_MAX {
            let seconds = round.overdue.num_seconds();
            self.check.failing(format!("the oldest deadline was overdue for {seconds} s"));
        } else if let Some(first) = round.first_unreadable {
            self.check.degraded(format!("{} deadlines cannot be read; the first: {first}", round.unreadable));
        } else {
            self.check.ok();
        }
        Ok(round.done)
    }

    /// How long it was overdue when we came to it.
    async fn act(&self, row: Deadline) -> Result<TimeDelta, Undone> {
        let overdue = row.seen_at - row.due_at;
        let unreadable = |cause: String| Undone::Unreadable { id: row.id.clone(), cause };
        let wake: Wake =
            serde_json::from_value(row.command.clone()).map_err(|cause| unreadable(cause.to_string()))?;
        let order_id =
            row.stream.order_id().ok_or_else(|| unreadable(format!("its stream is {}", row.stream)))?;
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
        done.inspect_err(|error| tracing::warn!(deadline = row.id, %error, "a deadline stays due"))?;
        Ok(overdue)
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
