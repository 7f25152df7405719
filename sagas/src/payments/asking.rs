//! Where the provider is asked, and where it is noted what it told.
//!
//! Never: a remote call with a unit of work open. Read next: `gateway.rs`.

use domain::payments::ProviderAnswer;
use domain::{Payment, PaymentCommand, ProviderCall};
use event_store::UnitOfWork;
use events::{Metadata, OrderId, StreamId};
use fault::crash_point;
use futures::StreamExt;
use futures::stream;

use super::circuit::Circuit;
use super::provider::{ProviderError, answer};
use super::wake::{Wake, ask_again_at};
use crate::carry_out::{Trouble, pay};

/// Asks the provider, a limited number of calls at a time. Clones share the circuit, not the limit.
#[derive(Clone)]
pub struct Desk {
    circuit: Circuit,
    calls_max: usize,
}

/// A question that is open, and what is known about it.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub order_id: OrderId,
    pub call: ProviderCall,
    pub cause: Metadata,
    /// How many calls in a row have told nothing so far.
    pub in_vain: u32,
    /// Whether the provider refused the last time: then a person knows already.
    pub refused: bool,
}

/// A question with what the provider told.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub question: Question,
    pub answer: Result<ProviderAnswer, ProviderError>,
}

impl Desk {
    pub fn new(circuit: Circuit, calls_max: usize) -> Self {
        Self { circuit, calls_max }
    }

    pub(super) fn calls_max(&self) -> usize {
        self.calls_max
    }

    /// Asks all of them, in no order.
    pub(super) async fn ask_all(&self, questions: Vec<Question>) -> Vec<Asked> {
        let asking = questions.into_iter().map(|question| self.ask(question));
        stream::iter(asking).buffer_unordered(self.calls_max).collect().await
    }

    pub(super) async fn ask(&self, question: Question) -> Asked {
        crash_point!("gateway::before_call");
        let answer = answer(&question.call, self.circuit.ask(&question.call).await);
        crash_point!("gateway::told_before_append");
        match &answer {
            Ok(_) | Err(ProviderError::NotFound) => {}
            Err(refused @ ProviderError::Refused { .. }) if !question.refused => {
                tracing::error!(order_id = %question.order_id, call = ?question.call, %refused, "the provider contradicts the payment: someone must look");
            }
            Err(error) => {
                tracing::debug!(order_id = %question.order_id, %error, "to be asked again");
            }
        }
        Asked { question, answer }
    }
}

/// Notes what the provider told, and when it is to be asked again if that was nothing.
///
/// The answer counts only if its question is still open; the payment sees to that.
pub(super) async fn note(work: &mut UnitOfWork, asked: &Asked, actor: &str) -> Result<(), Trouble> {
    let Question { order_id, cause, in_vain, .. } = &asked.question;
    let refused = match &asked.answer {
        Err(refused @ ProviderError::Refused { .. }) => Some(refused.to_string()),
        _ => None,
    };
    let stream = events::payments::stream(*order_id);
    let metadata = Metadata { actor: actor.to_owned(), ..cause.clone() };
    if let Ok(answer) = &asked.answer {
        let command = PaymentCommand::RecordAnswer { order_id: *order_id, answer: answer.clone() };
        pay(work, &stream, &command, &metadata).await?;
    }
    let open = work.load::<Payment>(&stream).await?.next_provider_call().is_some();
    let heard = matches!(&asked.answer, Ok(answer) if *answer != ProviderAnswer::NoAnswer);
    // A row that stands is never left behind overdue: it is cleared, or set anew.
    if open && (!heard || *in_vain > 0) {
        let in_vain = if heard { 1 } else { in_vain.saturating_add(1) };
        let due_at = ask_again_at(work.database_now().await?, in_vain, refused.is_some());
        let wake = Wake::ask_provider(cause, in_vain, refused);
        work.set_deadline(&Wake::ask_provider_id(*order_id), &stream, due_at, wake.to_json());
    } else if !open && *in_vain > 0 {
        work.clear_deadline(&Wake::ask_provider_id(*order_id));
    }
    Ok(())
}
