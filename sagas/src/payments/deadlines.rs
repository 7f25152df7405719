//! Acts on the deadlines of the payments context that came due: gives a payment up, or asks the provider again.
//!
//! What comes of a deadline and the end of its row (cleared, or set anew) are one append, so two of these side by side
//! do no harm. Never: a clock but the database's to say what is due, or a row left behind unread.
//! Read next: `asking.rs`, `wake.rs`.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
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

    /// How many were due. One that fails stays due, and is named.
    async fn act_on_what_is_due(&self) -> Result<usize, Undone> {
        let due = self.store.due_deadlines(DUE_MAX).await?;
        let count = due.len();
        let overdue = due.first().map_or(TimeDelta::zero(), |oldest| Utc::now() - oldest.due_at);
        metrics::gauge!("tradewind_deadline_lag_seconds").set(overdue.num_seconds().max(0) as f64);
        let acting = due.into_iter().map(|row| self.act(row));
        let outcomes: Vec<_> = stream::iter(acting).buffer_unordered(self.desk.calls_max()).collect().await;
        outcomes.into_iter().collect::<Result<(), Undone>>()?;
        if overdue > OVERDUE_MAX {
            self.check.failing(format!("the oldest deadline is overdue for {} s", overdue.num_seconds()));
        } else {
            self.check.ok();
        }
        Ok(count)
    }

    async fn act(&self, row: Deadline) -> Result<(), Undone> {
        let unreadable = |cause: String| Undone::Unreadable { id: row.id.clone(), cause };
        let wake: Wake =
            serde_json::from_value(row.command.clone()).map_err(|cause| unreadable(cause.to_string()))?;
        let order_id =
            row.stream.order_id().ok_or_else(|| unreadable(format!("its stream is {}", row.stream)))?;
        crash_point!("deadlines::due_before_acted");
        let (kind, done) = match wake.what {
            What::ExpirePayment => ("expire", self.expire(&row, order_id, &wake.cause).await),
            What::AskProvider { in_vain } => {
                ("ask_provider", self.ask_again(&row, order_id, wake.cause, in_vain).await)
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
        in_vain: u32,
    ) -> Result<(), Undone> {
        self.store.evict(std::slice::from_ref(&row.stream));
        let payment = self.store.load::<Payment>(&row.stream).await?;
        let Some(call) = payment.state.next_provider_call() else {
            return self.clear_if_nothing_is_open(row).await;
        };
        let asked = self.desk.ask(Question { order_id, call, cause, in_vain }).await;
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

fn is_open(payment: &Payment) -> bool {
    payment.next_provider_call().is_some()
}
