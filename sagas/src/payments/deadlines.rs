//! What the deadlines of the payments context do: expire a payment, or call the provider again.

use async_trait::async_trait;
use domain::{Payment, PaymentCommand};
use event_store::{Deadline, EventStore, retry_conflicts};
use events::{Metadata, OrderId};
use fault::crash_point;
use reactors::{CONFLICTS_MAX, CommitError, DeadlineActions};

use super::deadline_command::{Action, DeadlineCommand};
use super::expiry::execute_payment;
use super::provider_calls::{ProviderClient, ProviderRequest, note_response};

const ACTOR: &str = "deadline";

pub(super) struct PaymentDeadlines {
    store: EventStore,
    client: ProviderClient,
}

#[async_trait]
impl DeadlineActions for PaymentDeadlines {
    type Command = DeadlineCommand;

    fn name(&self, command: &DeadlineCommand) -> &'static str {
        match command.action {
            Action::ExpirePayment => "expire",
            Action::AskProvider { .. } => "ask_provider",
        }
    }

    async fn execute(&self, row: &Deadline, command: DeadlineCommand) -> Result<(), CommitError> {
        let order_id = events::order_of(&row.stream)
            .ok_or_else(|| CommitError::Refused(format!("{} is not the stream of a payment", row.stream)))?;
        match command.action {
            Action::ExpirePayment => self.expire(row, order_id, &command.cause).await,
            Action::AskProvider { failed_attempts, refused } => {
                self.call_again(row, order_id, command.cause, (failed_attempts, refused.is_some())).await
            }
        }
    }
}

impl PaymentDeadlines {
    pub(super) fn new(store: EventStore, client: ProviderClient) -> Self {
        Self { store, client }
    }

    async fn expire(&self, row: &Deadline, order_id: OrderId, cause: &Metadata) -> Result<(), CommitError> {
        let metadata = Metadata { actor: ACTOR.to_owned(), ..cause.clone() };
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            execute_payment(&mut work, &PaymentCommand::ExpirePayment { order_id }, &metadata).await?;
            work.clear_deadline(&row.id);
            work.commit().await?;
            Ok(())
        })
        .await
    }

    async fn call_again(
        &self,
        row: &Deadline,
        order_id: OrderId,
        cause: Metadata,
        (failed_attempts, refused): (u32, bool),
    ) -> Result<(), CommitError> {
        self.store.invalidate(std::slice::from_ref(&row.stream));
        let payment = self.store.load::<Payment>(&row.stream).await?;
        let Some(call) = payment.state.next_provider_call() else {
            return self.clear_if_no_call_is_due(row).await;
        };
        let request = ProviderRequest { order_id, call, cause, failed_attempts, refused };
        let response = self.client.call(request).await;
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            note_response(&mut work, &response, ACTOR).await?;
            crash_point!("deadlines::asked_before_append");
            work.commit().await?;
            Ok(())
        })
        .await
    }

    /// A call that has become due in the meantime keeps the row.
    async fn clear_if_no_call_is_due(&self, row: &Deadline) -> Result<(), CommitError> {
        retry_conflicts(CONFLICTS_MAX, async || {
            let mut work = self.store.unit_of_work();
            let is_due = work.load::<Payment>(&row.stream).await?.next_provider_call().is_some();
            if !is_due {
                work.clear_deadline(&row.id);
                work.commit().await?;
            }
            Ok(())
        })
        .await
    }
}
