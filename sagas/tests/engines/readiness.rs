//! What the readiness of the sagas says while something holds them up: it names the culprit, found from progress alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use domain::orders::OrderStatus;
use events::{CustomerId, Money, OrderId};
use sagas::payments::{PaymentProvider, ProviderError, ProviderPayment, ProviderState, Reply};
use testkit::eventually;
use tokio::sync::watch;

use crate::environment::{RunningSagas, TestEnvironment};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Unavailable,
    /// Calls are accepted and never answered.
    Silent,
    Available,
}

/// A provider whose mode the test sets.
struct ControlledProvider {
    mode: watch::Receiver<Mode>,
    /// A call waits for an answer, or did.
    kept_waiting: AtomicBool,
}

impl ControlledProvider {
    fn new(mode: Mode) -> (Arc<Self>, watch::Sender<Mode>) {
        let (set_mode, mode) = watch::channel(mode);
        (Arc::new(Self { mode, kept_waiting: AtomicBool::new(false) }), set_mode)
    }

    async fn reply(&self, state: ProviderState) -> Reply {
        let mut mode = self.mode.clone();
        if *mode.borrow() == Mode::Silent {
            self.kept_waiting.store(true, Ordering::SeqCst);
        }
        let mode = mode.wait_for(|mode| *mode != Mode::Silent).await.map(|mode| *mode);
        match mode.unwrap_or(Mode::Unavailable) {
            Mode::Available => {
                Ok(ProviderPayment { state, reference: Some("R1".to_owned()), decline_code: None })
            }
            Mode::Unavailable | Mode::Silent => {
                Err(ProviderError::Unavailable { cause: "unavailable".to_owned() })
            }
        }
    }
}

#[async_trait]
impl PaymentProvider for ControlledProvider {
    async fn authorise(&self, _: OrderId, _: &CustomerId, _: Money) -> Reply {
        self.reply(ProviderState::Authorised).await
    }

    async fn capture(&self, _: OrderId) -> Reply {
        self.reply(ProviderState::Captured).await
    }

    async fn void(&self, _: OrderId) -> Reply {
        self.reply(ProviderState::Voided).await
    }

    async fn refund(&self, _: OrderId) -> Reply {
        self.reply(ProviderState::Refunded).await
    }

    async fn status(&self, _: OrderId) -> Reply {
        self.reply(ProviderState::Authorised).await
    }
}

/// Once this part fails, and says so.
async fn fails(running: &RunningSagas, part: &str, why: &str) -> String {
    eventually(&format!("{part} {why}"), async || {
        let failing = running.health.readiness().err()?;
        let named = failing.into_iter().find(|failing| failing.check == part && failing.reason.contains(why));
        named.map(|failing| failing.reason)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_is_overdue_is_named_while_the_round_that_should_act_on_it_hangs() {
    let environment = TestEnvironment::start().await;
    let (provider, set_mode) = ControlledProvider::new(Mode::Unavailable);
    let running = environment.start_sagas_with(Arc::clone(&provider) as _);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    let row = format!("provider:{order_id}");
    eventually("it is to be asked again", async || {
        environment.deadlines().await.contains(&row).then_some(())
    })
    .await;
    set_mode.send(Mode::Silent).expect("the provider listens");
    eventually("the worker hangs", async || provider.kept_waiting.load(Ordering::SeqCst).then_some(())).await;
    environment
        .execute(&format!(
            "UPDATE payments.deadlines SET due_at = now() - interval '1 hour' WHERE id = '{row}'"
        ))
        .await;
    let reason = fails(&running, "payment deadline lag", "overdue").await;
    assert!(reason.contains(&row) && reason.contains(&format!("payment-{order_id}")), "{reason}");
    set_mode.send(Mode::Available).expect("the provider listens");
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    running.until_ready().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_checkpoint_stands_still_is_named_with_its_place() {
    let environment = TestEnvironment::start().await;
    let (provider, set_mode) = ControlledProvider::new(Mode::Silent);
    let running = environment.start_sagas_with(provider);
    environment.receive(&["TEA"], 1).await;
    let order_id = environment.place(&["TEA"], 500).await;
    let reason = fails(&running, "sagas.payment-gateway", "nothing was done for").await;
    assert!(reason.contains("payments.events/"), "{reason}");
    set_mode.send(Mode::Available).expect("the provider listens");
    environment.until_status(order_id, OrderStatus::Confirmed).await;
    running.until_ready().await;
    running.stop().await;
}
