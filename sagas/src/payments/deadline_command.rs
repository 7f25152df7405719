//! The commands of the payments context's deadlines, as the table `deadlines` holds them: what to do when the time comes, and
//! what it was caused by.

use chrono::{DateTime, TimeDelta, Utc};
use events::{Metadata, OrderId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use events::processes::order_fulfilment::EXPIRE;

/// After the first failed call; doubled with each further one.
const FIRST_PAUSE_MS: i64 = 500;
const PAUSE_MS_MAX: i64 = 30_000;
/// A call that the provider refused fails again until a person has acted there.
const PAUSE_REFUSED_MS_MAX: i64 = 3_600_000;

/// The command of a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeadlineCommand {
    #[serde(flatten)]
    pub action: Action,
    /// The metadata of the event that the wait began with; what comes of the command carries it on.
    pub cause: Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Action {
    ExpirePayment,
    /// Make the call to the provider that the payment's state demands then.
    AskProvider {
        /// How many calls in a row have failed.
        #[serde(alias = "in_vain")] // rows written before the rename
        failed_attempts: u32,
        /// What the provider said when it refused the call for good: a person has to look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
}

impl DeadlineCommand {
    pub(super) fn expire(cause: &Metadata) -> Self {
        Self { action: Action::ExpirePayment, cause: cause.clone() }
    }

    pub(super) fn ask_provider(cause: &Metadata, failed_attempts: u32, refused: Option<String>) -> Self {
        Self { action: Action::AskProvider { failed_attempts, refused }, cause: cause.clone() }
    }

    pub(super) fn expire_id(order_id: OrderId) -> String {
        format!("{EXPIRE}:{order_id}")
    }

    pub(super) fn ask_provider_id(order_id: OrderId) -> String {
        format!("provider:{order_id}")
    }

    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a command has string keys and no failing serialiser")
    }
}

/// When a failed call is repeated: later each time, with jitter. The number of attempts is in the row and the pause ends in another
/// process, so a library that sleeps between attempts does not fit.
pub(super) fn ask_again_at(now: DateTime<Utc>, failed_attempts: u32, refused: bool) -> DateTime<Utc> {
    let pause_ms_max = if refused { PAUSE_REFUSED_MS_MAX } else { PAUSE_MS_MAX };
    let pause_ms =
        FIRST_PAUSE_MS.saturating_mul(1 << failed_attempts.saturating_sub(1).min(16)).min(pause_ms_max);
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
    fn a_command_is_read_back_as_it_was_written() {
        for command in [
            DeadlineCommand::expire(&cause()),
            DeadlineCommand::ask_provider(&cause(), 3, None),
            DeadlineCommand::ask_provider(&cause(), 3, Some("status 409".to_owned())),
        ] {
            let read: DeadlineCommand = serde_json::from_value(command.to_json()).expect("our own json");
            assert_eq!(read, command);
        }
        assert_eq!(DeadlineCommand::ask_provider(&cause(), 3, None).to_json()["do"], "ask_provider");
    }

    #[test]
    fn a_command_that_was_written_before_refusals_were_noted_or_attempts_renamed_is_read() {
        let mut old = DeadlineCommand::ask_provider(&cause(), 3, None).to_json();
        assert!(old.get("refused").is_none(), "{old}");
        let old_form = old.as_object_mut().expect("an object");
        old_form.remove("failed_attempts").expect("the name of today");
        old_form.insert("in_vain".to_owned(), 4.into());
        let read: DeadlineCommand = serde_json::from_value(old).expect("the form of before");
        assert_eq!(read.action, Action::AskProvider { failed_attempts: 4, refused: None });
    }

    #[test]
    fn a_call_that_is_refused_for_good_is_repeated_once_an_hour_at_most() {
        let now = DateTime::UNIX_EPOCH;
        let pause = ask_again_at(now, u32::MAX, true) - now;
        assert!((TimeDelta::minutes(30)..=TimeDelta::hours(1)).contains(&pause), "{pause}");
        assert!(
            ask_again_at(now, 1, true) - now <= TimeDelta::milliseconds(500),
            "it may have been a passing error"
        );
    }

    #[test]
    fn the_pause_grows_with_each_failed_call_up_to_its_limit() {
        let now = DateTime::UNIX_EPOCH;
        for (attempts, most_ms) in [(1, 500), (2, 1_000), (6, 16_000), (7, 30_000), (u32::MAX, 30_000)] {
            let pause = ask_again_at(now, attempts, false) - now;
            let range = TimeDelta::milliseconds(most_ms / 2)..=TimeDelta::milliseconds(most_ms);
            assert!(range.contains(&pause), "after {attempts} failed attempts: {pause}");
        }
    }
}
