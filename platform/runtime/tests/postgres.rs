//! The Postgres helpers against a real server.

use std::time::Duration;

use runtime::postgres::{PostgresError, connect, owner_url, pool, prepare_owner};
use runtime::{Notifications, Secret};

#[tokio::test]
async fn an_owner_has_its_own_schema_on_the_path_and_no_rights_on_another() {
    let database = testkit::fresh_database("owner").await;
    let base = Secret::from(database.url);
    let admin = connect(&base).await.expect("the server runs");
    for owner in ["orders", "payments"] {
        prepare_owner(&admin, owner, None).await.expect("the admin may do this");
    }
    admin
        .batch_execute(
            "CREATE TABLE orders.mine (n int CONSTRAINT mine_pk PRIMARY KEY);
             CREATE TABLE payments.theirs (n int CONSTRAINT theirs_pk PRIMARY KEY);
             GRANT SELECT ON orders.mine TO tradewind_orders;",
        )
        .await
        .expect("the admin may do this");

    let owner =
        pool(&owner_url(&base, "orders"), 1).expect("a good url").get().await.expect("the role may log in");
    assert!(owner.query("SELECT n FROM mine", &[]).await.expect("the schema is on the path").is_empty());
    let refused = owner.query("SELECT n FROM payments.theirs", &[]).await.expect_err("another owner's");
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
    let refused = owner.execute("CREATE TABLE orders.more (n int)", &[]).await.expect_err("not granted");
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
}

#[tokio::test]
async fn owners_may_be_prepared_concurrently_and_repeatedly() {
    let databases =
        [testkit::fresh_database("owners").await.url, testkit::fresh_database("owners").await.url];
    let preparing = (0..8).map(|n| {
        let url = Secret::from(databases[n % 2].as_str());
        tokio::spawn(async move {
            let admin = connect(&url).await.expect("the server runs");
            let password = Secret::from("o'brien$$");
            prepare_owner(&admin, "shipping", Some(&password)).await
        })
    });
    for prepared in futures::future::join_all(preparing).await {
        prepared.expect("no panic").expect("a race is retried");
    }
}

#[tokio::test]
async fn the_statements_of_an_owner_are_never_compiled_even_if_the_plan_is_expensive() {
    let database = testkit::fresh_database("owner").await;
    let base = Secret::from(database.url);
    let admin = connect(&base).await.expect("the server runs");
    prepare_owner(&admin, "orders", None).await.expect("the admin may do this");
    let owner =
        pool(&owner_url(&base, "orders"), 1).expect("a good url").get().await.expect("the role may log in");
    // As the migrations set it for a context's role. The table has no index, so the plan must scan it.
    owner.batch_execute("SET enable_seqscan = off").await.expect("a setting of the session");
    let plan =
        owner.query("EXPLAIN (ANALYZE) SELECT * FROM pg_catalog.pg_shdepend", &[]).await.expect("a plan");
    let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
    assert!(plan[0].contains("Seq Scan"), "{plan:?}");
    assert!(!plan.iter().any(|line| line.starts_with("JIT")), "{plan:?}");
}

#[tokio::test]
async fn a_schema_name_that_needs_quoting_is_refused() {
    let database = testkit::fresh_database("owner").await;
    let admin = connect(&Secret::from(database.url)).await.expect("the server runs");
    for given in ["", "Orders", "1st", "a; DROP SCHEMA public", "a-b"] {
        let refused = prepare_owner(&admin, given, None).await;
        assert!(matches!(refused, Err(PostgresError::InvalidOwner { .. })), "{given}: {refused:?}");
    }
}

#[tokio::test]
async fn notifications_are_received_also_after_the_connection_was_lost() {
    let url = Secret::from(testkit::fresh_database("notifications").await.url);
    let admin = connect(&url).await.expect("the server runs");
    let notify = || admin.batch_execute("NOTIFY something_grew");
    let subscription = Notifications::listen(&url, "something_grew");
    assert_notified(&subscription, "the subscription").await;
    assert!(subscription.is_listening());
    notify().await.expect("any role may");
    assert_notified(&subscription, "the first one").await;

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN something_grew'";
    assert_eq!(admin.query(end, &[]).await.expect("the admin may end backends").len(), 1);
    assert_notified(&subscription, "the reconnect").await;
    notify().await.expect("any role may");
    assert_notified(&subscription, "the one after the reconnect").await;
}

async fn assert_notified(subscription: &Notifications, what: &str) {
    tokio::time::timeout(Duration::from_secs(60), subscription.notified())
        .await
        .unwrap_or_else(|_| panic!("no notification: {what}"));
}

#[tokio::test]
async fn an_exhausted_pool_times_out() {
    let database = testkit::fresh_database("pool").await;
    let pool = pool(&Secret::from(database.url), 1).expect("a good url");
    let _held = pool.get().await.expect("the server runs");
    let waited = pool.get().await;
    assert!(matches!(waited, Err(deadpool_postgres::PoolError::Timeout(_))), "{waited:?}");
}

#[tokio::test]
async fn a_connection_error_hides_the_password() {
    let url = Secret::from("postgres://tradewind:hunter2@127.0.0.1:1/shop");
    let error = connect(&url).await.expect_err("nothing listens on port 1");
    assert_eq!(error.to_string(), "no connection to postgres://tradewind:***@127.0.0.1:1/shop");
}
