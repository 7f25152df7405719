//! Calls the provider because of an event of the payments context.
//!
//! Never: two calls about one payment side by side. A batch makes one call for each payment; what the provider did not answer
//! becomes a deadline, so that a provider that is down holds up nothing.

use async_trait::async_trait;
use domain::Payment;
use event_bus::BusConfig;
use event_bus::parked::Retried;
use event_store::{EventStore, UnitOfWork};
use events::{Envelope, Event, Metadata, OrderId, PaymentEvent};
use reactors::{CommitError, Gateway, OutsideCalls, RetryError};

use super::deadline_command::DeadlineCommand;
use super::provider_calls::{ProviderClient, ProviderRequest, ProviderResponse, note_response};

/// Names the checkpoints of the gateway.
pub(crate) const GATEWAY: &str = "sagas.payment-gateway";
const ACTOR: &str = "payments-gateway";

/// The order about whose payment a call is due because of this event; which call it is, the payment says
/// ([`Payment::next_provider_call`]).
pub fn provider_call_trigger(event: &Envelope) -> Option<OrderId> {
    match &event.event {
        Event::Payment(PaymentEvent::PaymentRequested(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentUnknown(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentCaptureRequested(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentVoidRequested(event)) => Some(event.order_id),
        Event::Payment(PaymentEvent::PaymentRefundRequested(event)) => Some(event.order_id),
        _ => None,
    }
}

/// The gateway, with a client to make the calls with. Without a client it can only retry what is parked.
pub(super) fn new(store: EventStore, client: Option<ProviderClient>) -> Gateway<ProviderCalls> {
    Gateway::new(store, GATEWAY, ACTOR, ProviderCalls { client })
}

/// Has the calls of the payment's parked records made by the running sagas.
pub(crate) async fn retry_gateway(
    store: EventStore,
    bus: &BusConfig,
    stream: &str,
    dry_run: bool,
) -> Result<Retried, RetryError> {
    new(store, None).retry_parked(bus, stream, dry_run).await
}

/// The calls that the events of the payments context demand.
pub(super) struct ProviderCalls {
    client: Option<ProviderClient>,
}

#[async_trait]
impl OutsideCalls for ProviderCalls {
    type Event = Event;
    type State = Payment;
    type Request = ProviderRequest;
    type Response = ProviderResponse;

    fn is_trigger(&self, event: &Envelope) -> bool {
        provider_call_trigger(event).is_some()
    }

    fn request(&self, trigger: &Envelope, payment: &Payment, cause: Metadata) -> Option<ProviderRequest> {
        let order_id = provider_call_trigger(trigger)?;
        let call = payment.next_provider_call()?;
        Some(ProviderRequest { order_id, call, cause, failed_attempts: 0, refused: false })
    }

    async fn call(&self, requests: Vec<ProviderRequest>) -> Vec<ProviderResponse> {
        let client = self.client.as_ref().expect("a gateway that reads has a client");
        client.call_all(requests).await
    }

    async fn note(&self, work: &mut UnitOfWork, response: &ProviderResponse) -> Result<(), CommitError> {
        note_response(work, response, ACTOR).await
    }

    async fn call_later(
        &self,
        work: &mut UnitOfWork,
        trigger: &Envelope,
        cause: Metadata,
    ) -> Result<(), CommitError> {
        if let Some(order_id) = provider_call_trigger(trigger) {
            let command = DeadlineCommand::ask_provider(&cause, 1, None);
            let (id, now) = (DeadlineCommand::ask_provider_id(order_id), work.database_now().await?);
            work.set_deadline(&id, &trigger.stream, now, command.to_json());
        }
        Ok(())
    }
}
