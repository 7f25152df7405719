//! Processes that die, sleep, and come in pairs, under load. One platform; each fault has its own part.

use std::time::Duration;

use e2e::chaos::{Fault, Own, ROLES, Scene, Step};
use e2e::{Beside, eventually, signal};

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_are_killed_or_paused_or_doubled_under_load_break_no_promise() {
    let mut scene = Scene::start("processes", Own::default(), 1).await;
    a_client_that_hangs_up_gets_the_one_answer_when_it_asks_again(&scene).await;
    each_role_may_be_killed(&mut scene).await;
    each_role_may_be_paused_for_longer_than_its_session(&mut scene).await;
    a_relay_that_slept_past_its_lease_wakes_up_beside_its_successor_and_stops(&mut scene).await;
    a_second_process_of_a_consumer_takes_its_share_and_gives_it_back(&mut scene, "query-side").await;
    a_second_process_of_a_consumer_takes_its_share_and_gives_it_back(&mut scene, "sagas").await;
    scene.ends_well().await;
}

/// Whether the command was carried out or is absent, and that it is there once in the end, is for the verdict.
async fn a_client_that_hangs_up_gets_the_one_answer_when_it_asks_again(scene: &Scene) {
    for _ in 0..20 {
        assert!(scene.hang_up_and_ask_again().await, "nothing is wrong but that the client was away");
    }
}

async fn each_role_may_be_killed(scene: &mut Scene) {
    for role in ROLES {
        suffer(scene, Fault::Killed(role), 0).await;
    }
    scene.recovered().await.expect("everything is as before");
}

async fn each_role_may_be_paused_for_longer_than_its_session(scene: &mut Scene) {
    // The relay's lease lasts 5 s, a consumer's session 6 s.
    for role in ROLES {
        suffer(scene, Fault::Paused(role), 7_000).await;
    }
    scene.recovered().await.expect("everything is as before");
}

async fn a_relay_that_slept_past_its_lease_wakes_up_beside_its_successor_and_stops(scene: &mut Scene) {
    let lost_before = leases_lost(scene);
    let sleeper = scene.signal("relay", "STOP").await;
    let successor = scene.platform.one_more("relay");
    every_context_says(&successor, "lease acquired").await;
    every_context_says(&successor, "relaying").await;
    assert!(signal(sleeper, "CONT").await, "the sleeper is there");
    eventually("the sleeper finds out that its lease is gone", || async {
        if leases_lost(scene) > lost_before { Ok(()) } else { Err("it has not noticed".to_owned()) }
    })
    .await;
    // Both are awake; only one may relay. Then the successor goes, and the first takes over again.
    scene.recovered().await.expect("the successor relays");
    assert_eq!(successor.leave().await, 0);
    scene.recovered().await.expect("the first relays again");
}

fn leases_lost(scene: &Scene) -> usize {
    let says = ["another relay has the lease", "the lease expired"];
    scene.platform.log().lines().filter(|line| says.iter().any(|what| line.contains(what))).count()
}

async fn every_context_says(relay: &Beside, what: &str) {
    eventually(&format!("every context of the relay says {what:?}"), || async {
        let said = relay.log().lines().filter(|line| line.contains(what)).count();
        if said >= events::Context::ALL.len() { Ok(()) } else { Err(relay.log()) }
    })
    .await;
}

async fn a_second_process_of_a_consumer_takes_its_share_and_gives_it_back(scene: &mut Scene, role: &str) {
    let second = scene.platform.one_more(role);
    eventually(&format!("a share of the partitions for the second {role}"), || async {
        if second.log().contains("partitions assigned") { Ok(()) } else { Err(second.log()) }
    })
    .await;
    scene.recovered().await.expect("two of them keep up");
    // The first one dies: the second has all of it until `up` has started the first again.
    scene.signal(role, "KILL").await;
    scene.recovered().await.expect("one of them keeps up");
    assert_eq!(second.leave().await, 0);
    scene.recovered().await.expect("the first has all of it again");
}

async fn suffer(scene: &mut Scene, fault: Fault, hold_ms: u64) {
    let hold = Duration::from_millis(hold_ms);
    let step = Step { fault, hold, also_killed: None, calm: Duration::ZERO };
    scene.suffer(&step).await.expect("the fault can be done");
}
