//! Reports the payments whose capture, void or refund the provider refuses for good: someone must look.

use std::time::Duration;

use event_store::EventStore;
use runtime::Check;

/// How many payments readiness names.
const NAMED_MAX: usize = 5;
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Reports them to readiness and metrics; never returns.
pub(super) async fn watch(store: EventStore, check: Check) {
    loop {
        match store.refused_for_good(NAMED_MAX).await {
            Ok((count, named)) => {
                metrics::gauge!("tradewind_payments_refused").set(count as f64);
                if count == 0 {
                    check.ok();
                } else {
                    let named: Vec<String> =
                        named.into_iter().map(|(stream, refusal)| format!("{stream}: {refusal}")).collect();
                    check.degraded(format!(
                        "the provider contradicts {count} payments, someone must look: {}",
                        named.join("; ")
                    ));
                }
            }
            Err(error) => check.failing(error.to_string()),
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
