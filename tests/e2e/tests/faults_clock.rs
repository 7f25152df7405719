//! The database's clock is wrong, and jumps forwards and back under load. By libfaketime, where it is installed.
//!
//! It is PostgreSQL that is given another time: librdkafka's timed waits see the true clock and the false one at once when
//! a role is, and spin or sleep for an hour. All its processes read the offset from one file at each look at the clock, so
//! a jump is at once and everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::chaos::{Own, Scene};
use e2e::{eventually, skipped};
use events::Context;

const HOUR: i64 = 3_600;
/// So many are placed between two jumps.
const ORDERS_MIN: usize = 40;
/// So many payments are open when the clock jumps over their deadlines; a few may be cancelled before they fall due.
const OPEN_MIN: i64 = 10;
/// `tradewind sagas`' own.
const DEADLINE_SECONDS: i64 = 900;
/// Between the time that a batch is given and the time at which its append is recorded; far less than the hour.
const UNDER_WAY_SECONDS_MAX: i64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_clock_is_an_hour_ahead_and_jumps_forwards_and_back_under_load() {
    let Some(library) = faketime() else {
        skipped(
            "the_databases_clock_is_an_hour_ahead_and_jumps_forwards_and_back_under_load",
            "no libfaketime (apt-get install libfaketime)",
        );
        return;
    };
    let folder = std::env::temp_dir().join(testkit::unique("tradewind-clock-postgres"));
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let clock = Clock { file: folder.join("clock") };
    clock.is_ahead_by(HOUR);
    let own =
        Own { postgres: Some(folder.join("postgres")), postgres_env: clock.env(&library), ..Own::default() };
    let scene = Scene::start("clock", own, 1).await;

    roles_whose_clocks_are_an_hour_behind_decide_by_the_databases(&scene).await;
    // Back: what was due in a moment is due in an hour. Forwards: everything that is open is over.
    for hours in [0, 1, 0, 1] {
        clock.jumps(&scene, hours * HOUR).await;
        some_orders_later(&scene).await;
        scene.recovered().await.expect("what was accepted is carried out");
        each_lease_is_held_for_a_term_at_most(&scene).await;
    }
    a_lease_of_before_a_jump_back_keeps_nobody_out(&scene, &clock).await;
    payments_are_given_up_when_the_databases_clock_jumps_over_their_deadline(&scene, &clock).await;
    assert!(given_up_before_their_deadline(&scene).await.is_empty());
    scene.ends_well().await;
    let _ = fs::remove_dir_all(folder);
}

async fn roles_whose_clocks_are_an_hour_behind_decide_by_the_databases(scene: &Scene) {
    assert!(ahead(scene).await > HOUR - UNDER_WAY_SECONDS_MAX, "its clock is ahead");
    some_orders_later(scene).await;
    scene.recovered().await.expect("what was accepted is carried out");
    let database = scene.database().await.expect("the database answers");
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
}

/// The relay sleeps while the clock goes back, and dies: by its row, its leases last for another hour.
async fn a_lease_of_before_a_jump_back_keeps_nobody_out(scene: &Scene, clock: &Clock) {
    let asleep = scene.signal("relay", "STOP").await;
    clock.jumps(scene, 0).await;
    assert!(e2e::signal(asleep, "KILL").await, "it is there");
    some_orders_later(scene).await;
    scene.recovered().await.expect("the next relay takes the leases over");
    each_lease_is_held_for_a_term_at_most(scene).await;
}

/// That their orders are rejected then, and no money is held for them, is for the verdict.
async fn payments_are_given_up_when_the_databases_clock_jumps_over_their_deadline(
    scene: &Scene,
    clock: &Clock,
) {
    scene.tell_provider("unavailable").await;
    let database = scene.database().await.expect("the database answers");
    let head = "SELECT max(position) FROM payments.events";
    let head: i64 = database.query_one(head, &[]).await.expect("the log can be read").get(0);
    // What is asked for from here on gets no answer.
    let since = async |event_type: &str| -> Result<i64, String> {
        let count = "SELECT count(*) FROM payments.events e WHERE type = $2 AND stream IN
                     (SELECT stream FROM payments.events WHERE position > $1 AND type = 'PaymentRequested')";
        let row =
            database.query_one(count, &[&head, &event_type]).await.map_err(|error| error.to_string())?;
        Ok(row.get(0))
    };
    eventually("some payments are open", || async {
        match since("PaymentRequested").await? {
            open if open >= OPEN_MIN => Ok(()),
            open => Err(format!("{open} are")),
        }
    })
    .await;
    clock.jumps(scene, 2 * HOUR).await;
    eventually("they are given up", || async {
        if since("PaymentExpired").await? > 0 { Ok(()) } else { Err("none is".to_owned()) }
    })
    .await;
    scene.tell_provider("none").await;
    scene.recovered().await.expect("what was accepted is carried out");
}

async fn some_orders_later(scene: &Scene) {
    let placed = || scene.history.counts().get("place ok").copied().unwrap_or_default();
    let before = placed();
    eventually(&format!("{ORDERS_MIN} more orders"), || async {
        match placed() - before {
            orders if orders >= ORDERS_MIN => Ok(()),
            orders => Err(format!("{orders} orders")),
        }
    })
    .await;
}

/// There is one holder for each context by the table's shape; that it has a lease which ends is for the clock.
async fn each_lease_is_held_for_a_term_at_most(scene: &Scene) {
    for context in Context::ALL {
        eventually(&format!("one relay holds the lease of {context}, for a minute at most"), || async {
            let select = format!(
                "SELECT holder, extract(epoch FROM lease_expires_at - clock_timestamp())::bigint FROM {context}.relay"
            );
            let row = scene.database().await?.query_one(&select, &[]).await.map_err(|error| error.to_string())?;
            let (holder, seconds): (String, i64) = (row.get(0), row.get(1));
            if (0..=60).contains(&seconds) { Ok(()) } else { Err(format!("{holder}, for {seconds} s")) }
        })
        .await;
    }
}

/// By the database's own clock, which recorded both.
async fn given_up_before_their_deadline(scene: &Scene) -> Vec<String> {
    let select = "SELECT e.stream FROM payments.events e JOIN payments.events r USING (stream)
                  WHERE e.type = 'PaymentExpired' AND r.type = 'PaymentRequested'
                    AND e.recorded_at < (r.payload->>'expires_at')::timestamptz";
    let database = scene.database().await.expect("the database answers");
    database.query(select, &[]).await.expect("the log can be read").iter().map(|row| row.get(0)).collect()
}

/// How far the database's clock is ahead of ours, in seconds.
async fn ahead(scene: &Scene) -> i64 {
    let database = scene.database().await.expect("the database answers");
    let theirs = "SELECT extract(epoch FROM clock_timestamp())::bigint";
    let theirs: i64 = database.query_one(theirs, &[]).await.expect("it knows a time").get(0);
    let ours = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs();
    theirs - i64::try_from(ours).expect("a time fits")
}

/// The clock of a PostgreSQL.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn env(&self, library: &Path) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        vec![
            ("LD_PRELOAD", path(library)),
            ("FAKETIME_TIMESTAMP_FILE", path(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn is_ahead_by(&self, seconds: i64) {
        let aside = self.file.with_extension("new");
        fs::write(&aside, format!("+{seconds}\n")).expect("our own folder can be written");
        fs::rename(aside, &self.file).expect("our own folder can be written");
    }

    async fn jumps(&self, scene: &Scene, seconds: i64) {
        scene.history.note("the database's clock jumps", &format!("to {seconds} s ahead"));
        self.is_ahead_by(seconds);
        let now = ahead(scene).await;
        assert!((seconds - now).abs() < UNDER_WAY_SECONDS_MAX, "it has jumped: {now}");
    }
}

/// The one for programs without threads, as PostgreSQL is. Debian's package has it below the folder of the machine's
/// architecture.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}
