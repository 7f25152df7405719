//! How the payments context uses the payment provider and its deadlines.
//!
//! Which call to the provider is due follows from the payment's state alone ([`domain::Payment::next_provider_call`]). So
//! it does not matter which component makes it, how often, or after which crash: the gateway makes it because of an event,
//! the deadline worker because a wait has ended or a webhook came. A call is made outside of any transaction. Its answer
//! is appended afterwards, and counts only if the call is still due.
//!
//! Never: an outcome that is guessed. Read next: [`PaymentProvider`], then `gateway.rs`, then `deadlines.rs`.

mod circuit_breaker;
mod deadline_command;
mod deadlines;
mod expiry;
mod gateway;
mod http_provider;
mod provider;
mod provider_calls;
mod refused_calls;
mod webhooks;

use std::sync::Arc;

use event_store::EventStore;
use reactors::{DeadlineWorker, Reactors};
use runtime::Health;

use circuit_breaker::CircuitBreaker;
use deadlines::PaymentDeadlines;
pub(crate) use expiry::execute_payment;
pub use expiry::may_expire;
pub use gateway::provider_call_trigger;
pub(crate) use gateway::{GATEWAY, retry_gateway};
pub use http_provider::{HttpProvider, InvalidProviderUrl};
pub use provider::{PaymentProvider, ProviderError, ProviderPayment, ProviderState, Reply, answer};
use provider_calls::ProviderClient;
pub use webhooks::WebhookEndpoint;

/// Adds the gateway to the provider and the worker for the payments' deadlines.
pub(crate) fn add_to(
    reactors: &mut Reactors,
    store: &EventStore,
    provider: Arc<dyn PaymentProvider>,
    calls_max: usize,
    health: &Health,
) {
    let circuit_breaker = CircuitBreaker::new(provider, health.check("payment provider"));
    let client = ProviderClient::new(circuit_breaker, calls_max);
    reactors.add_gateway(gateway::new(store.clone(), Some(client.clone())));
    reactors.watch(refused_calls::watch(store.clone(), health.check("payments refused")));
    let worker = DeadlineWorker::new(store.clone(), PaymentDeadlines::new(store.clone(), client), calls_max);
    reactors.add_deadlines(worker, "payment");
}
