//! `answers`: one stored answer for each idempotency key, which agrees with the events that it points to.
//!
//! Old answers are pruned, the oldest first: an event that is older than the oldest answer may have none. Each context stores
//! its own answers, so one key may occur in several contexts.

use crate::Error;
use crate::read::log::Log;
use crate::report::{Line, Property, Report, Violation};
use event_log::ContextName;

pub static PROPERTY: Property = Property::new(
    "answers",
    "each stored answer to an idempotency key names the stream and version of the event that it points to, which carries the \
     key; no event carries a key whose answer points elsewhere",
);

/// # Errors
/// [`Error`] when a database fails.
pub async fn check(logs: Vec<Log>) -> Result<Report, Error> {
    let mut report = Report::default();
    for log in &logs {
        check_context(log, report.line(&PROPERTY)).await?;
    }
    Ok(report)
}

async fn check_context(log: &Log, line: &mut Line) -> Result<(), Error> {
    let (context, snapshot) = (log.context(), &log.snapshot);
    let counted = snapshot.query(&format!("SELECT count(*) FROM {context}.idempotency_keys"), &[]).await?;
    line.count("answers", counted.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()));
    for row in snapshot.query(&answers_that_do_not_agree(context), &[]).await? {
        let (key, what): (String, String) = (row.get(0), row.get(1));
        let violation = Violation::new(what).in_context(context).at("key", key);
        let (first, last): (i64, i64) = (row.get(2), row.get(3));
        let violation = violation.at("first_position", first).at("last_position", last);
        line.add_violation(violation.given(row.get::<_, String>(4)).wanted(row.get::<_, String>(5)));
    }
    for row in snapshot.query(&events_without_their_answer(context), &[]).await? {
        let (position, stream, version, key): (i64, String, i32, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let violation = Violation::new("an event with a key whose answer does not point to it");
        let violation = violation.in_context(context).at("position", position).at("stream", stream);
        let violation = violation.at("version", version).at("key", key);
        line.add_violation(violation.given(row.get::<_, String>(4)));
    }
    Ok(())
}

fn answers_that_do_not_agree(context: ContextName) -> String {
    format!(
        "SELECT k.key,
                CASE WHEN e.position IS NULL OR f.position IS NULL THEN 'an answer that points to events that do not exist'
                     WHEN e.metadata->>'idempotency_key' IS DISTINCT FROM k.key
                       OR f.metadata->>'idempotency_key' IS DISTINCT FROM k.key
                     THEN 'an answer that points to events of another key'
                     ELSE 'an answer that names another stream or version' END,
                k.first_position, k.last_position, k.body::text,
                coalesce(e.stream || ' version ' || e.version || ' key ' || coalesce(e.metadata->>'idempotency_key', 'none'), 'events')
           FROM {context}.idempotency_keys k
           LEFT JOIN {context}.events e ON e.position = k.last_position
           LEFT JOIN {context}.events f ON f.position = k.first_position
          WHERE k.last_position > 0
            AND (e.position IS NULL OR f.position IS NULL OR k.first_position > k.last_position
                 OR e.metadata->>'idempotency_key' IS DISTINCT FROM k.key
                 OR f.metadata->>'idempotency_key' IS DISTINCT FROM k.key
                 OR k.body->>'version' IS DISTINCT FROM e.version::text
                 OR NOT EXISTS (SELECT FROM json_each_text(k.body) field
                                 WHERE field.value = substr(e.stream, strpos(e.stream, '-') + 1)))
          ORDER BY k.last_position LIMIT 1000"
    )
}

fn events_without_their_answer(context: ContextName) -> String {
    format!(
        "SELECT e.position, e.stream, e.version, e.metadata->>'idempotency_key',
                coalesce((SELECT 'answered at ' || k.first_position || ' to ' || k.last_position
                            FROM {context}.idempotency_keys k WHERE k.key = e.metadata->>'idempotency_key'), 'no answer')
           FROM {context}.events e
          WHERE e.metadata->>'idempotency_key' IS NOT NULL
            AND e.recorded_at > (SELECT min(answered_at) FROM {context}.idempotency_keys)
            AND NOT EXISTS (SELECT FROM {context}.idempotency_keys k
                             WHERE k.key = e.metadata->>'idempotency_key'
                               AND e.position BETWEEN k.first_position AND k.last_position)
          ORDER BY e.position LIMIT 1000"
    )
}
