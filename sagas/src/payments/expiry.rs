//! The deadline of a payment: it is set while the payment has no outcome, and only then.

use domain::payments::PaymentState;
use domain::{Decide, Payment, PaymentCommand};
use event_store::UnitOfWork;
use events::Metadata;
use reactors::CommitError;

use super::deadline_command::DeadlineCommand;

/// Whether the deadline `events::processes::order_fulfilment::EXPIRE` has to be set for the payment.
pub fn may_expire(payment: &Payment) -> bool {
    matches!(payment.state(), PaymentState::Requested | PaymentState::Unknown)
}

/// Decides on the command, and sets or clears the deadline that goes with the decision. Returns how many events came of it.
pub(crate) async fn execute_payment(
    work: &mut UnitOfWork,
    command: &PaymentCommand,
    metadata: &Metadata,
) -> Result<usize, CommitError> {
    let stream = Payment::own_stream(command);
    let could_expire = may_expire(work.load::<Payment>(&stream).await?);
    let decided = work.decide::<Payment>(&stream, command, metadata).await?;
    let decided = decided.map_err(|refusal| CommitError::Refused(refusal.to_string()))?;
    let payment = work.load::<Payment>(&stream).await?;
    match (could_expire, may_expire(payment), payment.request()) {
        (false, true, Some(request)) => {
            let (order_id, expires_at) = (request.order_id, request.expires_at);
            let command = DeadlineCommand::expire(metadata);
            work.set_deadline(&DeadlineCommand::expire_id(order_id), &stream, expires_at, command.to_json());
        }
        (true, false, Some(request)) => {
            let order_id = request.order_id;
            work.clear_deadline(&DeadlineCommand::expire_id(order_id));
        }
        (_, _, _) => {}
    }
    Ok(decided.events)
}
