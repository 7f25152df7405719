//! How the payments context turns to the provider and to the clock.
//!
//! What the provider has to be asked follows from the payment's state alone
//! ([`domain::Payment::next_provider_call`]), so it does not matter who asks, how often, or after which crash: the
//! gateway asks because of an event, the deadline worker because a wait ran out, or because a webhook ended it. A call is made first, outside of any
//! transaction; what it told is appended afterwards, and counts only if the question is still open.
//!
//! Never: an outcome that is guessed. Read next: [`PaymentProvider`], then `gateway.rs`, then `deadlines.rs`.

mod asking;
mod circuit;
mod deadlines;
mod gateway;
mod http_provider;
mod provider;
mod wake;
mod webhooks;

pub use asking::Desk;
pub use circuit::Circuit;
pub use deadlines::DeadlineWorker;
pub(crate) use deadlines::{watch_overdue, watch_refused};
pub use gateway::Gateway;
pub use http_provider::{HttpProvider, InvalidProviderUrl};
pub use provider::{PaymentProvider, ProviderError, ProviderPayment, ProviderState, Reply, answer, ask};
pub(crate) use wake::Wake;
pub use webhooks::WebhookDoor;
