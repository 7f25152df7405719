//! The clocks of all roles jump under load; the database's does not. By libfaketime, where it is installed.

use std::fs;
use std::path::PathBuf;

use e2e::chaos::{Own, Scene};
use e2e::eventually;

/// So many orders must have been accepted before the next jump.
const ORDERS_PER_JUMP: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_an_hour_either_way_decide_nothing() {
    let Some(library) = faketime() else {
        eprintln!(
            "SKIPPED clocks_that_jump_an_hour_either_way_decide_nothing: no libfaketime (apt-get install libfaketime)"
        );
        return;
    };
    let offset = std::env::temp_dir().join(testkit::unique("tradewind-clock"));
    fs::write(&offset, "+0").expect("the temporary folder can be written");
    let text = |path: &PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
    let env = vec![
        ("LD_PRELOAD", text(&library)),
        ("FAKETIME_TIMESTAMP_FILE", text(&offset)),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        // The steady clock of a machine does not jump.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let scene = Scene::start("clock", Own { env, ..Own::default() }, 1).await;
    for jump in ["+3600", "-3600", "+0"] {
        fs::write(&offset, jump).expect("the temporary folder can be written");
        let before = accepted(&scene);
        eventually(&format!("{ORDERS_PER_JUMP} orders after a jump to {jump} s"), || async {
            match accepted(&scene) - before {
                more if more >= ORDERS_PER_JUMP => Ok(()),
                more => Err(format!("{more} orders")),
            }
        })
        .await;
        scene.recovered().await.expect("what was accepted is carried out");
    }
    // A payment that was requested an hour ago by a clock that is behind is not overdue.
    let database = scene.database().await.expect("the database answers");
    let expired = "SELECT count(*) FROM payments.events WHERE type = 'PaymentExpired'";
    let expired: i64 = database.query_one(expired, &[]).await.expect("the log can be read").get(0);
    assert_eq!(expired, 0, "payments were given up by a clock that is wrong");
    scene.ends_well().await;
    let _ = fs::remove_file(offset);
}

fn accepted(scene: &Scene) -> usize {
    scene.history.counts().get("place ok").copied().unwrap_or_default()
}

/// Debian's package has it below the folder of the machine's architecture.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
