//! Puts parked records through the handler that parked them again: for `tradewind parked retry`.

use chrono::TimeDelta;
use event_bus::BusConfig;
use event_bus::parked::Retried;
use event_store::EventStore;
use events::Context;
pub use reactors::RetryError;

use crate::execute_reaction::{consumer_of, reactor_of};
use crate::payments::{GATEWAY, retry_gateway};
use crate::processes::sources_of;

/// The consumers whose parked records are in the context's schema.
pub fn consumers_of(context: Context) -> Vec<String> {
    let reactor = (!sources_of(context).is_empty()).then(|| consumer_of(context));
    let gateway = (context == Context::Payments).then(|| GATEWAY.to_owned());
    reactor.into_iter().chain(gateway).collect()
}

/// Tries the records that `consumer` has parked of `stream` again, in order, until none is left or one fails again. A dry
/// run tries all of them, each after what those before it would have done, and commits nothing. The payment provider is not called:
/// the gateway's records become deadlines, which the running sagas carry out.
///
/// # Errors
/// [`RetryError`]: it ended before its time. What was handled before is handled.
///
/// # Panics
/// When `store` is not the log of one of our contexts.
pub async fn retry_parked(
    store: &EventStore,
    bus: &BusConfig,
    (consumer, stream): (&str, &str),
    payment_deadline: TimeDelta,
    dry_run: bool,
) -> Result<Retried, RetryError> {
    if consumer == GATEWAY {
        return retry_gateway(store.clone(), bus, stream, dry_run).await;
    }
    let context = Context::try_from(store.context()).expect("a store of one of our contexts");
    let reactor = reactor_of(context, store.clone(), payment_deadline);
    reactor.retry_parked(bus, stream, dry_run).await
}
