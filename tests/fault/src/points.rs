//! Every crash point by name: a place where one step is done and the next is not (sent and not answered, committed and
//! not reported, charged and not recorded).

/// A place in the code, and the processes that pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPoint {
    pub name: &'static str,
    /// The subcommands whose processes pass it. `tests/e2e/tests/crash_points.rs` kills each of them there, and
    /// `tests/e2e/tests/restore.rs` kills `tradewind reconcile`.
    pub roles: &'static [&'static str],
}

const COMMAND_SIDE: &str = "command-side";
const RELAY: &str = "relay";
const SAGAS: &str = "sagas";
const QUERY_SIDE: &str = "query-side";
const PROVIDER: &str = "payment-provider";
const REPLAY: &str = "replay";
const RECONCILE: &str = "reconcile";

const fn point(name: &'static str, roles: &'static [&'static str]) -> CrashPoint {
    CrashPoint { name, roles }
}

/// All of them. The test takes the points of each role in this order, one point of each role at a time.
pub const CRASH_POINTS: &[CrashPoint] = &[
    // The provider has moved money and dies before it responds, so the sagas ask again at a deadline. That is why these points and
    // those of the deadlines come first in their roles.
    point("provider::charged_before_answer", &[PROVIDER]),
    point("provider::captured_before_answer", &[PROVIDER]),
    point("deadlines::due_before_acted", &[SAGAS]),
    point("deadlines::asked_before_append", &[SAGAS]),
    point("gateway::before_call", &[SAGAS]),
    point("gateway::told_before_append", &[SAGAS]),
    point("appender::before_send", &[COMMAND_SIDE, SAGAS]),
    point("appender::committed_before_answer", &[COMMAND_SIDE, SAGAS]),
    point("command_side::appended_before_answer", &[COMMAND_SIDE]),
    point("relay::lease_taken", &[RELAY]),
    point("relay::read_before_publish", &[RELAY]),
    point("publisher::between_records", &[RELAY, RECONCILE]),
    point("relay::acknowledged_before_cursor", &[RELAY]),
    point("relay::cursor_moved", &[RELAY]),
    point("consumer::batch_taken", &[SAGAS, QUERY_SIDE]),
    point("consumer::committed_before_told", &[SAGAS, QUERY_SIDE]),
    point("reactor::decided_before_commit", &[SAGAS]),
    point("reactor::committed", &[SAGAS]),
    point("projector::applied_before_commit", &[QUERY_SIDE]),
    point("projector::committed", &[QUERY_SIDE]),
    point("replay::shadow_filled", &[REPLAY, RECONCILE]),
    point("replay::kept_caught_up", &[REPLAY]),
    point("replay::swap_before_commit", &[REPLAY, RECONCILE]),
    point("replay::swapped", &[REPLAY, RECONCILE]),
    // Of a step that is done for each context, topic or consumer, only the first is done at the crash.
    point("reconcile::marked", &[RECONCILE]),
    point("reconcile::topic_removed", &[RECONCILE]),
    point("reconcile::topics_made", &[RECONCILE]),
    point("reconcile::log_published", &[RECONCILE]),
    point("reconcile::checkpoints_set", &[RECONCILE]),
    point("reconcile::read_models_reset", &[RECONCILE]),
    point("reconcile::groups_forgotten", &[RECONCILE]),
    point("reconcile::read_models_rebuilt", &[RECONCILE]),
    point("reconcile::epoch_begun", &[RECONCILE]),
];
