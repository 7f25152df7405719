//! The database's clock and those of the roles are an hour apart. By libfaketime, where it is installed.
//!
//! It is PostgreSQL that is given another time: librdkafka's timed waits see the true clock and the false one at once when
//! a role is, and spin or sleep for an hour.

use std::fs;
use std::path::PathBuf;

use e2e::chaos::{Own, Scene};
use e2e::eventually;

const ORDERS_MIN: usize = 60;
/// `tradewind sagas`' own.
const DEADLINE_SECONDS: i64 = 900;
/// Between the time that a batch is given and the time at which its append is recorded; far less than the hour.
const UNDER_WAY_SECONDS_MAX: i64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn roles_whose_clocks_are_an_hour_behind_the_databases_decide_by_the_databases() {
    let Some(library) = faketime() else {
        eprintln!(
            "SKIPPED roles_whose_clocks_are_an_hour_behind_the_databases_decide_by_the_databases: \
             no libfaketime (apt-get install libfaketime)"
        );
        return;
    };
    let folder = std::env::temp_dir().join(testkit::unique("tradewind-clock-postgres"));
    let postgres_env = vec![
        ("LD_PRELOAD", library.to_str().expect("a path in UTF-8").to_owned()),
        ("FAKETIME", "+3600".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let own = Own { postgres: Some(folder.clone()), postgres_env, ..Own::default() };
    let scene = Scene::start("clock", own, 1).await;
    let database = scene.database().await.expect("the database answers");
    let ahead = "SELECT extract(epoch FROM clock_timestamp())::bigint";
    let ahead: i64 = database.query_one(ahead, &[]).await.expect("it knows a time").get(0);
    let ours = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs();
    assert!(ahead - i64::try_from(ours).expect("a time fits") > 3_000, "its clock is ahead");

    eventually(&format!("{ORDERS_MIN} orders"), || async {
        match scene.history.counts().get("place ok").copied().unwrap_or_default() {
            orders if orders >= ORDERS_MIN => Ok(()),
            orders => Err(format!("{orders} orders")),
        }
    })
    .await;
    scene.recovered().await.expect("what was accepted is carried out");
    let deadlines = "SELECT extract(epoch FROM (payload->>'expires_at')::timestamptz - recorded_at)::bigint
                     FROM payments.events WHERE type = 'PaymentRequested'";
    let deadlines = database.query(deadlines, &[]).await.expect("the log can be read");
    assert!(!deadlines.is_empty(), "payments were requested");
    for row in deadlines {
        let seconds: i64 = row.get(0);
        let right = DEADLINE_SECONDS - UNDER_WAY_SECONDS_MAX..=DEADLINE_SECONDS + UNDER_WAY_SECONDS_MAX;
        assert!(right.contains(&seconds), "a payment has {seconds} s");
    }
    // Counted by a clock an hour behind, every deadline would have been over when it was set.
    let expired = "SELECT count(*) FROM payments.events WHERE type = 'PaymentExpired'";
    let expired: i64 = database.query_one(expired, &[]).await.expect("the log can be read").get(0);
    assert_eq!(expired, 0, "payments were given up by a clock that is wrong");
    scene.ends_well().await;
    let _ = fs::remove_dir_all(folder);
}

/// Debian's package has it below the folder of the machine's architecture.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
