//! Calls the provider, and notes what it answered.

use domain::payments::ProviderAnswer;
use domain::{Payment, PaymentCommand, ProviderCall};
use event_store::UnitOfWork;
use events::{Metadata, OrderId};
use fault::crash_point;
use futures::StreamExt;
use futures::stream;
use reactors::CommitError;

use super::circuit_breaker::CircuitBreaker;
use super::deadline_command::{DeadlineCommand, ask_again_at};
use super::expiry::execute_payment;
use super::provider::{ProviderError, answer};

/// Calls the provider, a limited number of calls at a time. Clones share the circuit breaker, not the limit.
#[derive(Clone)]
pub(super) struct ProviderClient {
    circuit_breaker: CircuitBreaker,
    calls_max: usize,
}

/// A call that is due, and what is known about it.
#[derive(Debug, Clone)]
pub(super) struct ProviderRequest {
    pub order_id: OrderId,
    pub call: ProviderCall,
    pub cause: Metadata,
    /// How many calls in a row have failed so far.
    pub failed_attempts: u32,
    /// Whether the provider refused the last call: then it was logged before.
    pub refused: bool,
}

/// A call with the provider's answer.
#[derive(Debug, Clone)]
pub(super) struct ProviderResponse {
    pub request: ProviderRequest,
    pub answer: Result<ProviderAnswer, ProviderError>,
}

impl ProviderClient {
    pub(super) fn new(circuit_breaker: CircuitBreaker, calls_max: usize) -> Self {
        Self { circuit_breaker, calls_max }
    }

    /// Makes all calls; the responses are in no order.
    pub(super) async fn call_all(&self, requests: Vec<ProviderRequest>) -> Vec<ProviderResponse> {
        let calls = requests.into_iter().map(|request| self.call(request));
        stream::iter(calls).buffer_unordered(self.calls_max).collect().await
    }

    pub(super) async fn call(&self, request: ProviderRequest) -> ProviderResponse {
        crash_point!("gateway::before_call");
        let answer = answer(&request.call, self.circuit_breaker.call(&request.call).await);
        crash_point!("gateway::told_before_append");
        let order_id = request.order_id;
        match &answer {
            Ok(_) | Err(ProviderError::NotFound) => {}
            Err(refusal @ ProviderError::Refused { .. }) if !request.refused => {
                tracing::error!(%order_id, call = ?request.call, %refusal, "the provider contradicts the payment: someone must look");
            }
            Err(error) => tracing::debug!(%order_id, %error, "provider call failed; it will be repeated"),
        }
        ProviderResponse { request, answer }
    }
}

/// Notes the provider's answer; after a failed call, the deadline that repeats it.
///
/// The answer counts only if its call is still due: the payment decides that.
pub(super) async fn note_response(
    work: &mut UnitOfWork,
    response: &ProviderResponse,
    actor: &str,
) -> Result<(), CommitError> {
    let ProviderRequest { order_id, cause, failed_attempts, .. } = &response.request;
    let refusal = match &response.answer {
        Err(refusal @ ProviderError::Refused { .. }) => Some(refusal.to_string()),
        _ => None,
    };
    let metadata = Metadata { actor: actor.to_owned(), ..cause.clone() };
    if let Ok(answer) = &response.answer {
        let command = PaymentCommand::RecordAnswer { order_id: *order_id, answer: answer.clone() };
        execute_payment(work, &command, &metadata).await?;
    }
    let stream = events::payments::stream(*order_id);
    let is_due = work.load::<Payment>(&stream).await?.next_provider_call().is_some();
    let is_answered = matches!(&response.answer, Ok(answer) if *answer != ProviderAnswer::NoAnswer);
    let deadline_id = DeadlineCommand::ask_provider_id(*order_id);
    // A row that exists never stays overdue: it is cleared, or set again.
    if is_due && (!is_answered || *failed_attempts > 0) {
        let attempts = if is_answered { 1 } else { failed_attempts.saturating_add(1) };
        let due_at = ask_again_at(work.database_now().await?, attempts, refusal.is_some());
        let command = DeadlineCommand::ask_provider(cause, attempts, refusal);
        work.set_deadline(&deadline_id, &stream, due_at, command.to_json());
    } else if !is_due && *failed_attempts > 0 {
        work.clear_deadline(&deadline_id);
    }
    Ok(())
}
