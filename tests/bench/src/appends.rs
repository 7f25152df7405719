//! The append load: one-event commands through the appender, which several benchmarks measure or compare with.

use std::time::Duration;

use event_store::EventStore;
use futures::future::{BoxFuture, FutureExt as _};

use crate::load_generator::{LoadResult, closed_loop};
use crate::orders::append_one;

/// One-event commands from `callers` concurrent callers.
///
/// # Errors
/// When an append fails.
pub async fn append_load(
    store: &EventStore,
    callers: usize,
    warm_up: Duration,
    span: Duration,
) -> anyhow::Result<LoadResult> {
    closed_loop(callers, warm_up, span, append_to(store)).await
}

/// A call that appends one event.
pub fn append_to(
    store: &EventStore,
) -> impl Fn(usize) -> BoxFuture<'static, anyhow::Result<()>> + Clone + use<> {
    let store = store.clone();
    move |_| {
        let store = store.clone();
        async move { Ok(store.append(append_one()).await.map(drop)?) }.boxed()
    }
}
