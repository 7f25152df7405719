//! What the sagas say of themselves while something holds them up: the culprit, by name, from progress alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use domain::orders::OrderStatus;
use events::{CustomerId, Money, OrderId};
use sagas::payments::{PaymentProvider, ProviderError, ProviderPayment, ProviderState, Reply};
use testkit::eventually;
use tokio::sync::watch;

use crate::stage::{Playing, Stage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Closed,
    /// Calls are taken, and nobody ever answers.
    Silent,
    Open,
}

/// A provider that does as it is told, for as long as it is told so.
struct Moody {
    told: watch::Receiver<Mood>,
    /// Somebody waits for an answer, or did.
    kept_waiting: AtomicBool,
}

impl Moody {
    fn new(mood: Mood) -> (Arc<Self>, watch::Sender<Mood>) {
        let (tell, told) = watch::channel(mood);
        (Arc::new(Self { told, kept_waiting: AtomicBool::new(false) }), tell)
    }

    async fn reply(&self, state: ProviderState) -> Reply {
        let mut told = self.told.clone();
        if *told.borrow() == Mood::Silent {
            self.kept_waiting.store(true, Ordering::SeqCst);
        }
        let mood = told.wait_for(|mood| *mood != Mood::Silent).await.map(|mood| *mood);
        match mood.unwrap_or(Mood::Closed) {
            Mood::Open => Ok(ProviderPayment { state, reference: Some("R1".to_owned()), decline_code: None }),
            Mood::Closed | Mood::Silent => Err(ProviderError::Unavailable { cause: "closed".to_owned() }),
        }
    }
}

#[async_trait]
impl PaymentProvider for Moody {
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
async fn fails(playing: &Playing, part: &str, why: &str) -> String {
    eventually(&format!("{part} {why}"), async || {
        let failing = playing.health.readiness().err()?;
        let named = failing.into_iter().find(|failing| failing.check == part && failing.reason.contains(why));
        named.map(|failing| failing.reason)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_is_overdue_is_named_while_the_round_that_should_act_on_it_hangs() {
    let stage = Stage::set().await;
    let (provider, tell) = Moody::new(Mood::Closed);
    let playing = stage.play_with(Arc::clone(&provider) as _);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    let row = format!("provider:{order_id}");
    eventually("it is to be asked again", async || stage.deadlines().await.contains(&row).then_some(()))
        .await;
    tell.send(Mood::Silent).expect("the provider listens");
    eventually("the worker hangs", async || provider.kept_waiting.load(Ordering::SeqCst).then_some(())).await;
    stage
        .execute(&format!(
            "UPDATE payments.deadlines SET due_at = now() - interval '1 hour' WHERE id = '{row}'"
        ))
        .await;
    let reason = fails(&playing, "payment deadline lag", "overdue").await;
    assert!(reason.contains(&row) && reason.contains(&format!("payment-{order_id}")), "{reason}");
    tell.send(Mood::Open).expect("the provider listens");
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    playing.until_ready().await;
    playing.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_checkpoint_stands_still_is_named_with_its_place() {
    let stage = Stage::set().await;
    let (provider, tell) = Moody::new(Mood::Silent);
    let playing = stage.play_with(provider);
    stage.receive(&["TEA"], 1).await;
    let order_id = stage.place(&["TEA"], 500).await;
    let reason = fails(&playing, "sagas.payment-gateway", "nothing was done for").await;
    assert!(reason.contains("payments.events/"), "{reason}");
    tell.send(Mood::Open).expect("the provider listens");
    stage.until_status(order_id, OrderStatus::Confirmed).await;
    playing.until_ready().await;
    playing.end().await;
}
