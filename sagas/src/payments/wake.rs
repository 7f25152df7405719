//! What stands in the payments context's table of deadlines: what to do when the time comes, and for whom.
//!
//! Never: a deadline that only memory knows. Read next: `deadlines.rs`.

use chrono::{DateTime, TimeDelta, Utc};
use events::{Metadata, OrderId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::order_fulfilment::EXPIRE;

/// After the first call in vain; doubled with each further one.
const FIRST_PAUSE_MS: i64 = 500;
const PAUSE_MS_MAX: i64 = 30_000;
/// Whom the provider refused it refuses again, until a person has done something there.
const PAUSE_REFUSED_MS_MAX: i64 = 3_600_000;

/// The command of a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wake {
    #[serde(flatten)]
    pub what: What,
    /// What the wait began with; what comes of it carries this on.
    pub cause: Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum What {
    ExpirePayment,
    /// Ask what the payment says has to be asked by then.
    AskProvider {
        /// How many calls in a row have told nothing.
        in_vain: u32,
        /// What the provider said when it refused, for good as far as it knows: a person has to look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
}

impl Wake {
    pub(crate) fn expire(cause: &Metadata) -> Self {
        Self { what: What::ExpirePayment, cause: cause.clone() }
    }

    pub(crate) fn ask_provider(cause: &Metadata, in_vain: u32, refused: Option<String>) -> Self {
        Self { what: What::AskProvider { in_vain, refused }, cause: cause.clone() }
    }

    pub(crate) fn expire_id(order_id: OrderId) -> String {
        format!("{EXPIRE}:{order_id}")
    }

    pub(crate) fn ask_provider_id(order_id: OrderId) -> String {
        format!("provider:{order_id}")
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a wake has string keys and no failing serialiser")
    }
}

/// When to ask again: later each time, and not everybody at once.
pub(crate) fn ask_again_at(now: DateTime<Utc>, in_vain: u32, refused: bool) -> DateTime<Utc> {
    let pause_ms_max = if refused { PAUSE_REFUSED_MS_MAX } else { PAUSE_MS_MAX };
    let pause_ms = FIRST_PAUSE_MS.saturating_mul(1 << in_vain.saturating_sub(1).min(16)).min(pause_ms_max);
    now + TimeDelta::milliseconds(rand::random_range(pause_ms / 2..=pause_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause() -> Metadata {
        Metadata {
            correlation_id: uuid::Uuid::from_u128(7),
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: "saga:payments".into(),
            traceparent: None,
            idempotency_key: None,
        }
    }

    #[test]
    fn a_wake_is_read_back_as_it_was_written() {
        for wake in [
            Wake::expire(&cause()),
            Wake::ask_provider(&cause(), 3, None),
            Wake::ask_provider(&cause(), 3, Some("status 409".to_owned())),
        ] {
            let read: Wake = serde_json::from_value(wake.to_json()).expect("our own json");
            assert_eq!(read, wake);
        }
        assert_eq!(Wake::ask_provider(&cause(), 3, None).to_json()["do"], "ask_provider");
    }

    #[test]
    fn a_wake_that_was_written_before_refusals_were_noted_is_read() {
        let mut old = Wake::ask_provider(&cause(), 3, None).to_json();
        assert!(old.get("refused").is_none(), "{old}");
        old["in_vain"] = 4.into();
        let read: Wake = serde_json::from_value(old).expect("the form of before");
        assert_eq!(read.what, What::AskProvider { in_vain: 4, refused: None });
    }

    #[test]
    fn what_is_refused_for_good_is_asked_again_once_an_hour_at_most() {
        let now = DateTime::UNIX_EPOCH;
        let pause = ask_again_at(now, u32::MAX, true) - now;
        assert!((TimeDelta::minutes(30)..=TimeDelta::hours(1)).contains(&pause), "{pause}");
        assert!(ask_again_at(now, 1, true) - now <= TimeDelta::milliseconds(500), "it may have been a slip");
    }

    #[test]
    fn the_pause_grows_with_each_call_in_vain_up_to_its_limit() {
        let now = DateTime::UNIX_EPOCH;
        for (in_vain, most_ms) in [(1, 500), (2, 1_000), (6, 16_000), (7, 30_000), (u32::MAX, 30_000)] {
            let pause = ask_again_at(now, in_vain, false) - now;
            let range = TimeDelta::milliseconds(most_ms / 2)..=TimeDelta::milliseconds(most_ms);
            assert!(range.contains(&pause), "after {in_vain} in vain: {pause}");
        }
    }
}
