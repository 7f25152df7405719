//! How the acquirer treats a payment, as configured for its customer. The same payment always gets the same decision, so
//! that a run can be repeated.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::value::{Bounded, DeclineCode};

pub type DelayMs = Bounded<60_000>;
pub type Percent = Bounded<100>;
pub type Copies = Bounded<10>;

/// As flags of the process: the default until `PUT /v1/behaviour` replaces it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Outcome of an authorisation
    #[arg(long, env = "PAYMENT_PROVIDER_OUTCOME", value_enum, default_value_t)]
    pub outcome: Outcome,

    /// Reason given for a decline
    #[arg(long, env = "PAYMENT_PROVIDER_DECLINE_CODE", default_value_t = default_decline_code())]
    #[schema(value_type = String, pattern = "^[a-z0-9_]{1,64}$")]
    pub decline_code: DeclineCode,

    /// Delay of every call, in milliseconds
    #[arg(long, env = "PAYMENT_PROVIDER_DELAY_MS", default_value_t)]
    #[schema(value_type = u32, maximum = 60_000)]
    pub delay_ms: DelayMs,

    /// Simulated fault
    #[arg(long, env = "PAYMENT_PROVIDER_FAULT", value_enum, default_value_t)]
    pub fault: Fault,

    /// Capture the money with the authorisation instead of holding it
    #[arg(
        long, env = "PAYMENT_PROVIDER_CAPTURE_AT_ONCE", action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true"
    )]
    pub capture_at_once: bool,

    /// Percentage of otherwise approved payments that are declined, chosen by a hash of the payment id
    #[arg(long, env = "PAYMENT_PROVIDER_DECLINE_RATE_PERCENT", default_value_t)]
    #[schema(value_type = u32, maximum = 100)]
    pub decline_rate_percent: Percent,

    /// How many times each webhook is sent; 0: not at all
    #[arg(long, env = "PAYMENT_PROVIDER_WEBHOOK_COPIES", default_value_t = WEBHOOK_COPIES_DEFAULT)]
    #[schema(value_type = u32, maximum = 10)]
    pub webhook_copies: Copies,

    /// Delay of webhooks, in milliseconds
    #[arg(long, env = "PAYMENT_PROVIDER_WEBHOOK_DELAY_MS", default_value_t)]
    #[schema(value_type = u32, maximum = 60_000)]
    pub webhook_delay_ms: DelayMs,

    /// Send every other webhook of a payment after the one that follows it
    #[arg(
        long, env = "PAYMENT_PROVIDER_WEBHOOK_DISORDER", action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true"
    )]
    pub webhook_disorder: bool,
}

pub const WEBHOOK_COPIES_DEFAULT: Copies = Copies::new(1);

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    Serialize,
    Deserialize,
    ToSchema,
    IntoStaticStr,
    EnumString,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    #[default]
    Approve,
    Decline,
}

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    Serialize,
    Deserialize,
    ToSchema,
    IntoStaticStr,
    EnumString,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    #[default]
    None,
    /// An authorisation is not processed, and the connection is closed without a response.
    TimeOutBeforeAcceptance,
    /// An authorisation is processed, and the connection is closed without a response.
    TimeOutAfterAcceptance,
    /// Every call about a payment is answered 503 and has no effect.
    Unavailable,
}

/// The decision on an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Hold,
    Capture,
    Decline(DeclineCode),
}

impl Behaviour {
    /// Applies the rules in this order: the outcome, the decline rate, the immediate capture.
    pub fn decide(&self, payment_id: Uuid) -> Decision {
        let is_declined_by_rate = percentile(payment_id) < self.decline_rate_percent.get();
        match self.outcome {
            Outcome::Decline => Decision::Decline(self.decline_code.clone()),
            Outcome::Approve if is_declined_by_rate => Decision::Decline(self.decline_code.clone()),
            Outcome::Approve if self.capture_at_once => Decision::Capture,
            Outcome::Approve => Decision::Hold,
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            outcome: Outcome::default(),
            decline_code: default_decline_code(),
            delay_ms: DelayMs::default(),
            fault: Fault::default(),
            capture_at_once: false,
            decline_rate_percent: Percent::default(),
            webhook_copies: WEBHOOK_COPIES_DEFAULT,
            webhook_delay_ms: DelayMs::default(),
            webhook_disorder: false,
        }
    }
}

fn default_decline_code() -> DeclineCode {
    "card_declined".parse().expect("the default is a decline code")
}

/// 0 to 99, the same for a payment in every process and version: the upper half of FNV-1a, which is well mixed.
/// Source: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn percentile(payment_id: Uuid) -> u32 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = payment_id
        .as_bytes()
        .iter()
        .fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    u32::try_from((hash >> 32) % 100).expect("a remainder of 100 is small")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Behaviour, Decision, Outcome, Percent};

    #[test]
    fn a_payment_always_gets_the_same_decision() {
        let behaviour = Behaviour { decline_rate_percent: Percent::new(50), ..Behaviour::default() };
        for n in 0..100 {
            let id = Uuid::from_u128(n);
            assert_eq!(behaviour.decide(id), behaviour.decide(id));
        }
    }

    #[test]
    fn the_decline_rate_is_kept_over_many_payments() {
        for percent in [0, 10, 50, 100] {
            let behaviour = Behaviour { decline_rate_percent: Percent::new(percent), ..Behaviour::default() };
            let declined =
                (0..10_000).filter(|n| behaviour.decide(Uuid::from_u128(*n)) != Decision::Hold).count();
            let expected = percent as usize * 100;
            assert!(declined.abs_diff(expected) <= 200, "{percent} %: {declined} of 10000");
        }
    }

    #[test]
    fn a_decline_takes_precedence_over_an_immediate_capture() {
        let declining =
            Behaviour { outcome: Outcome::Decline, capture_at_once: true, ..Behaviour::default() };
        assert_eq!(declining.decide(Uuid::nil()), Decision::Decline(declining.decline_code.clone()));
        let capturing = Behaviour { capture_at_once: true, ..Behaviour::default() };
        assert_eq!(capturing.decide(Uuid::nil()), Decision::Capture);
    }
}
