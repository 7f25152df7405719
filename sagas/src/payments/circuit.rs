//! Keeps a provider that is down from being called by everybody who waits for it.
//!
//! After a number of calls in a row that told nothing, calls are refused here, unsent, and one at a time is let
//! through to see whether it is up again. Source of the pattern: M. Nygard, Release It!, "Circuit Breaker".
//! Never: an answer made up; a call refused here counts as certainly not made. Read next: `asking.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::ProviderCall;
use runtime::Check;

use super::provider::{PaymentProvider, ProviderError, Reply, ask};

/// Calls in a row that told nothing before the circuit opens.
const IN_VAIN_MAX: u32 = 10;
/// How long an open circuit lets nobody through; then one call tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A provider behind a circuit breaker. Clones share it.
#[derive(Clone)]
pub struct Circuit {
    provider: Arc<dyn PaymentProvider>,
    state: Arc<Mutex<State>>,
    check: Check,
}

#[derive(Default)]
struct State {
    in_vain: u32,
    /// Set while the circuit is open: until then no call is made, and then one.
    refusing_until: Option<Instant>,
}

impl Circuit {
    pub fn new(provider: Arc<dyn PaymentProvider>, check: Check) -> Self {
        check.ok();
        Self { provider, state: Arc::default(), check }
    }

    /// Makes the call, unless the provider is known to be down.
    pub async fn ask(&self, call: &ProviderCall) -> Reply {
        if !self.may_pass(Instant::now()) {
            metrics::counter!("tradewind_provider_calls_total", "call" => name(call), "outcome" => "not_sent")
                .increment(1);
            return Err(ProviderError::Unavailable { cause: "it was down a moment ago".to_owned() });
        }
        let started = Instant::now();
        let reply = ask(self.provider.as_ref(), call).await;
        let outcome = outcome(&reply);
        metrics::counter!("tradewind_provider_calls_total", "call" => name(call), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("tradewind_provider_call_seconds", "call" => name(call))
            .record(started.elapsed());
        self.learn(&reply, Instant::now());
        reply
    }

    fn may_pass(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.refusing_until {
            None => true,
            Some(until) if now < until => false,
            // This one tries; the others wait for what it finds.
            Some(_) => {
                state.refusing_until = Some(now + PAUSE);
                true
            }
        }
    }

    fn learn(&self, reply: &Reply, now: Instant) {
        let mut state = self.lock();
        match reply {
            Err(error @ (ProviderError::Unavailable { .. } | ProviderError::NoAnswer { .. })) => {
                state.in_vain = state.in_vain.saturating_add(1);
                if state.in_vain >= IN_VAIN_MAX {
                    state.refusing_until = Some(now + PAUSE);
                    self.check.failing(format!("{} calls in a row told nothing: {error}", state.in_vain));
                }
            }
            Ok(_) | Err(ProviderError::NotFound | ProviderError::Refused { .. }) => {
                *state = State::default();
                self.check.ok();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(call: &ProviderCall) -> &'static str {
    match call {
        ProviderCall::Authorise { .. } => "authorise",
        ProviderCall::Status { .. } => "status",
        ProviderCall::Capture { .. } => "capture",
        ProviderCall::Void { .. } => "void",
        ProviderCall::Refund { .. } => "refund",
    }
}

fn outcome(reply: &Reply) -> &'static str {
    match reply {
        Ok(_) => "answered",
        Err(ProviderError::Unavailable { .. }) => "unavailable",
        Err(ProviderError::NoAnswer { .. }) => "no_answer",
        Err(ProviderError::NotFound) => "not_found",
        Err(ProviderError::Refused { .. }) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use events::OrderId;
    use runtime::Health;
    use uuid::Uuid;

    use super::*;

    struct Nobody;

    #[async_trait::async_trait]
    impl PaymentProvider for Nobody {
        async fn authorise(&self, _: OrderId, _: &events::CustomerId, _: events::Money) -> Reply {
            Err(down())
        }
        async fn capture(&self, _: OrderId) -> Reply {
            Err(down())
        }
        async fn void(&self, _: OrderId) -> Reply {
            Err(down())
        }
        async fn refund(&self, _: OrderId) -> Reply {
            Err(down())
        }
        async fn status(&self, _: OrderId) -> Reply {
            Err(ProviderError::NotFound)
        }
    }

    fn down() -> ProviderError {
        ProviderError::Unavailable { cause: "connection refused".to_owned() }
    }

    fn circuit() -> (Circuit, Health) {
        let health = Health::new();
        (Circuit::new(Arc::new(Nobody), health.check("payment provider")), health)
    }

    #[test]
    fn the_circuit_opens_after_calls_in_vain_and_then_lets_one_at_a_time_try() {
        let (circuit, health) = circuit();
        let start = Instant::now();
        for _ in 0..IN_VAIN_MAX {
            assert!(circuit.may_pass(start));
            circuit.learn(&Err(down()), start);
        }
        assert!(!circuit.may_pass(start), "the circuit is open");
        assert!(health.readiness().is_err(), "and readiness says so");
        assert!(circuit.may_pass(start + PAUSE), "one may try");
        assert!(!circuit.may_pass(start + PAUSE), "and no other meanwhile");
        circuit.learn(&Err(ProviderError::NotFound), start + PAUSE);
        assert!(circuit.may_pass(start + PAUSE), "any answer closes it again");
        assert_eq!(health.readiness(), Ok(()));
    }

    #[tokio::test]
    async fn what_the_circuit_refuses_is_certainly_not_sent() {
        let (circuit, _) = circuit();
        let call = ProviderCall::Void { order_id: OrderId(Uuid::nil()) };
        for _ in 0..IN_VAIN_MAX {
            assert_eq!(circuit.ask(&call).await, Err(down()));
        }
        let refused = circuit.ask(&call).await;
        assert_ne!(refused, Err(down()), "the provider was not asked");
        assert!(matches!(refused, Err(ProviderError::Unavailable { .. })));
    }
}
