//! The state of the HTTP API, and the simulated delays and faults that come before each step of a payment.

use std::time::Duration;

use axum::response::Response;
use runtime::Problem;
use runtime::http::hang_up;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::behaviour::{Behaviour, DelayMs, Fault};
use crate::behaviour_store::BehaviourStore;
use crate::error_responses::{RETRY_AFTER, database};
use crate::ledger::Ledger;

#[derive(Clone)]
pub struct Acquirer {
    pub ledger: Ledger,
    pub behaviours: BehaviourStore,
    /// How long a call with a simulated time-out is held.
    pub time_out: Duration,
    /// Ends the delays.
    pub shutdown: CancellationToken,
}

impl Acquirer {
    /// The longest simulated delay of a call.
    pub fn longest_delay(&self) -> Duration {
        self.time_out + Duration::from_millis(DelayMs::MAX.into())
    }

    pub async fn simulate_for_payment(&self, payment_id: Uuid) -> Result<(), Problem> {
        let behaviour = self.behaviours.of_payment(payment_id).await.map_err(database)?;
        self.simulate(&behaviour).await
    }

    /// Applies the delay, or refuses the call. Comes before every step of a payment.
    pub async fn simulate(&self, behaviour: &Behaviour) -> Result<(), Problem> {
        if behaviour.fault == Fault::Unavailable {
            return Err(Problem::unavailable("unavailable", "Provider unavailable", RETRY_AFTER)
                .detail("the configured fault is `unavailable`; the call had no effect"));
        }
        self.delay(Duration::from_millis(behaviour.delay_ms.get().into())).await;
        Ok(())
    }

    /// Simulates a lost response: holds the call for longer than a client waits, then closes the connection.
    pub async fn hold_and_hang_up(&self) -> Response {
        self.delay(self.time_out).await;
        hang_up()
    }

    async fn delay(&self, duration: Duration) {
        if !duration.is_zero() {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(duration) => {}
            }
        }
    }
}
