//! The rights of the context's role: the database itself keeps the log append-only.

use crate::support::{CONTEXT, append_statement, connect, fresh_log, receipts, stock};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

#[tokio::test]
async fn the_role_can_write_events_only_through_the_function() {
    let log = fresh_log("grants").await;
    log.store().await.append(receipts(&[("A", 0)])).await.expect("the function is open to the role");
    let role = connect(&log.role_url).await;
    for forbidden in [
        "INSERT INTO events SELECT position + 1, stream, version + 1, event_id, type, schema_version, payload, metadata,
                recorded_at FROM events",
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "ALTER TABLE events DROP CONSTRAINT events_fit_the_broker",
        "DROP TABLE events",
        "INSERT INTO idempotency_keys SELECT * FROM idempotency_keys",
        "UPDATE idempotency_keys SET status = 200",
        "UPDATE checkpoints SET next_offset = 0",
        "DELETE FROM deadlines",
        "INSERT INTO deadlines VALUES ('a', 'b', now(), '{}')",
        "DELETE FROM parked_events",
        "UPDATE discarded_events SET because = 'x'",
        "DELETE FROM discarded_events",
        "UPDATE log_epoch SET epoch = 2",
        "INSERT INTO relay (holder, lease_epoch, lease_expires_at, cursor) VALUES ('a', 0, now(), 0)",
        "DELETE FROM relay",
        "CREATE TABLE mine (id integer)",
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ] {
        let refused = role.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused}");
    }
    assert_eq!(log.count("events").await, 1);
}

#[tokio::test]
async fn another_contexts_role_sees_nothing_and_appends_nothing() {
    let log = fresh_log("other_role").await;
    log.admin
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE tradewind_other_role LOGIN;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;",
        )
        .await
        .expect("the owner may create roles");
    let other_role = connect(&log.role_url.replace("tradewind_inventory", "tradewind_other_role")).await;
    for forbidden in [
        format!("SELECT * FROM {CONTEXT}.events"),
        append_statement(&stock("A"), 0, Uuid::now_v7()).replace("append(", &format!("{CONTEXT}.append(")),
    ] {
        let refused = other_role.batch_execute(&forbidden).await.expect_err(&forbidden);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
    }
}

#[tokio::test]
async fn a_temporary_table_cannot_replace_the_log() {
    let log = fresh_log("temporary").await;
    let role = connect(&log.role_url).await;
    role.batch_execute("CREATE TEMPORARY TABLE events (position bigint, stream text, version integer)")
        .await
        .expect("a role may create temporary tables");
    role.batch_execute("SET search_path TO pg_temp, inventory").await.expect("a role may set its path");
    role.batch_execute(&append_statement(&stock("A"), 0, Uuid::now_v7()))
        .await
        .expect("the function is open");
    assert_eq!(log.count("events").await, 1, "the event went to the log");
}

#[tokio::test]
async fn only_the_isolation_level_read_committed_is_accepted() {
    let log = fresh_log("isolation").await;
    let role = connect(&log.role_url).await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        role.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.expect("a transaction begins");
        let statement = append_statement(&stock("A"), 0, Uuid::now_v7());
        let refused = role.batch_execute(&statement).await.expect_err(level);
        assert_eq!(refused.code().map(SqlState::code), Some("TW001"), "{refused}");
        role.batch_execute("ROLLBACK").await.expect("a transaction ends");
    }
    role.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.expect("a transaction begins");
    role.batch_execute(&append_statement(&stock("A"), 0, Uuid::now_v7())).await.expect("this one is right");
    role.batch_execute("COMMIT").await.expect("a transaction ends");
    assert_eq!(log.count("events").await, 1);
}

#[tokio::test]
async fn the_table_itself_refuses_an_event_that_is_too_large_for_the_broker() {
    let log = fresh_log("table_limit").await;
    let too_large = "INSERT INTO events VALUES (1, 'stock-A', 1, gen_random_uuid(), 'T', 1,
                         to_json(repeat('x', 921600)), '{}', now())";
    let refused = log.admin.batch_execute(too_large).await.expect_err("the constraint binds the owner too");
    let constraint = refused.as_db_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("events_fit_the_broker"));
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let mut log = fresh_log("migrate_twice").await;
    log.store().await.append(receipts(&[("A", 0)])).await.expect("A is empty");
    event_store::migrate(&mut log.admin, CONTEXT).await.expect("nothing to do");
    assert_eq!(log.count("inventory.events").await, 1);
}
