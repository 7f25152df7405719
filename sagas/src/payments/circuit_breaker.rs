//! A circuit breaker in front of the payment provider, so that one that is down is not called by every payment that waits.
//!
//! Kept by hand: it is small, tested with a given clock, and must let exactly one call try (source: M. Nygard, Release It!,
//! "Circuit Breaker"). A call that it refuses was certainly not made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::ProviderCall;
use runtime::Check;

use super::provider::{PaymentProvider, ProviderError, Reply, ask};

/// Failed calls in a row after which the circuit opens.
const FAILURES_MAX: u32 = 10;
/// How long an open circuit refuses every call; then one call tries.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// A provider behind a circuit breaker. Clones share it.
#[derive(Clone)]
pub(super) struct CircuitBreaker {
    provider: Arc<dyn PaymentProvider>,
    circuit: Arc<Mutex<Circuit>>,
    check: Check,
}

#[derive(Default)]
struct Circuit {
    /// In a row.
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// Every call is made.
    #[default]
    Closed,
    /// No call is made until then.
    Open { until: Instant },
    /// One call tries; the others wait for its outcome, or until then.
    HalfOpen { until: Instant },
}

impl CircuitBreaker {
    pub(super) fn new(provider: Arc<dyn PaymentProvider>, check: Check) -> Self {
        check.ok();
        Self { provider, circuit: Arc::default(), check }
    }

    /// Makes the call, unless the circuit is open.
    pub(super) async fn call(&self, call: &ProviderCall) -> Reply {
        if !self.may_pass(Instant::now()) {
            metrics::counter!("tradewind_provider_calls_total", "call" => name(call), "outcome" => "not_sent")
                .increment(1);
            return Err(ProviderError::Unavailable { cause: "the circuit breaker is open".to_owned() });
        }
        let started = Instant::now();
        let reply = ask(self.provider.as_ref(), call).await;
        let outcome = outcome(&reply);
        metrics::counter!("tradewind_provider_calls_total", "call" => name(call), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("tradewind_provider_call_seconds", "call" => name(call))
            .record(started.elapsed());
        self.record(&reply, Instant::now());
        reply
    }

    fn may_pass(&self, now: Instant) -> bool {
        let mut circuit = self.lock();
        match circuit.state {
            State::Closed => true,
            State::Open { until } | State::HalfOpen { until } if now < until => false,
            State::Open { .. } | State::HalfOpen { .. } => {
                circuit.state = State::HalfOpen { until: now + OPEN_FOR };
                true
            }
        }
    }

    fn record(&self, reply: &Reply, now: Instant) {
        let mut circuit = self.lock();
        match reply {
            Err(error @ (ProviderError::Unavailable { .. } | ProviderError::NoAnswer { .. })) => {
                circuit.failures = circuit.failures.saturating_add(1);
                if circuit.failures >= FAILURES_MAX {
                    circuit.state = State::Open { until: now + OPEN_FOR };
                    self.check.failing(format!("{} calls in a row failed: {error}", circuit.failures));
                }
            }
            Ok(_) | Err(ProviderError::NotFound | ProviderError::Refused { .. }) => {
                *circuit = Circuit::default();
                self.check.ok();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
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

    struct Down;

    #[async_trait::async_trait]
    impl PaymentProvider for Down {
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

    fn circuit_breaker() -> (CircuitBreaker, Health) {
        let health = Health::new();
        (CircuitBreaker::new(Arc::new(Down), health.check("payment provider")), health)
    }

    #[test]
    fn the_circuit_opens_after_failed_calls_and_then_lets_one_at_a_time_try() {
        let (circuit, health) = circuit_breaker();
        let start = Instant::now();
        for _ in 0..FAILURES_MAX {
            assert!(circuit.may_pass(start));
            circuit.record(&Err(down()), start);
        }
        assert!(!circuit.may_pass(start), "the circuit is open");
        assert!(health.readiness().is_err(), "and readiness says so");
        assert!(circuit.may_pass(start + OPEN_FOR), "one may try");
        assert!(!circuit.may_pass(start + OPEN_FOR), "and no other at the same time");
        circuit.record(&Err(ProviderError::NotFound), start + OPEN_FOR);
        assert!(circuit.may_pass(start + OPEN_FOR), "any answer closes it again");
        assert_eq!(health.readiness(), Ok(()));
    }

    #[tokio::test]
    async fn a_call_that_the_circuit_breaker_refuses_is_not_sent() {
        let (circuit, _) = circuit_breaker();
        let call = ProviderCall::Void { order_id: OrderId(Uuid::nil()) };
        for _ in 0..FAILURES_MAX {
            assert_eq!(circuit.call(&call).await, Err(down()));
        }
        let refused = circuit.call(&call).await;
        assert_ne!(refused, Err(down()), "the provider was not called");
        assert!(matches!(refused, Err(ProviderError::Unavailable { .. })));
    }
}
