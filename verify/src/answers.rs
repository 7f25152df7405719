//! One answer for each idempotency key, and it tells of the events that it points to.
//!
//! Old answers are forgotten, the oldest first: an event older than the oldest answer may have none.
//! Never: a key of one context held against another's; each context answers for itself. Read next: `lib.rs`.

use events::Context;

use crate::Error;
use crate::database::Snapshot;
use crate::report::{Offence, Property, Report};

/// `logs`: in the order of [`Context::ALL`].
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn hold_answers(logs: Vec<Snapshot>) -> Result<Report, Error> {
    let mut report = Report::default();
    for (context, log) in Context::ALL.into_iter().zip(&logs) {
        hold_context(log, context, &mut report).await?;
    }
    Ok(report)
}

async fn hold_context(log: &Snapshot, context: Context, report: &mut Report) -> Result<(), Error> {
    let line = report.line(Property::Answers);
    let counted = log.query(&format!("SELECT count(*) FROM {context}.idempotency_keys"), &[]).await?;
    line.count("answers", counted.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()));
    for row in log.query(&answers_that_do_not_agree(context), &[]).await? {
        let (key, what): (String, String) = (row.get(0), row.get(1));
        let offence = Offence::new(what).in_context(context).at("key", key);
        let (first, last): (i64, i64) = (row.get(2), row.get(3));
        let offence = offence.at("first_position", first).at("last_position", last);
        line.offend(offence.given(row.get::<_, String>(4)).wanted(row.get::<_, String>(5)));
    }
    for row in log.query(&events_without_their_answer(context), &[]).await? {
        let (position, stream, version, key): (i64, String, i32, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let offence =
            Offence::new("an event under a key whose answer does not tell of it").in_context(context);
        let offence = offence.at("position", position).at("stream", stream).at("version", version);
        line.offend(offence.at("key", key).given(row.get::<_, String>(4)));
    }
    Ok(())
}

fn answers_that_do_not_agree(context: Context) -> String {
    format!(
        "SELECT k.key,
                CASE WHEN e.position IS NULL OR f.position IS NULL THEN 'an answer that points to events that are not there'
                     WHEN e.metadata->>'idempotency_key' IS DISTINCT FROM k.key
                       OR f.metadata->>'idempotency_key' IS DISTINCT FROM k.key
                     THEN 'an answer that points to events of another key'
                     ELSE 'an answer that tells of another stream or version' END,
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
                 OR NOT EXISTS (SELECT FROM json_each_text(k.body) told
                                 WHERE told.value = substr(e.stream, strpos(e.stream, '-') + 1)))
          ORDER BY k.last_position LIMIT 1000"
    )
}

fn events_without_their_answer(context: Context) -> String {
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
