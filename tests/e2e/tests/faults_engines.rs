//! Engines that die and come back, and one that does not answer, under load. Own engines; each fault has its own part.

use std::time::Duration;

use e2e::chaos::{Fault, Own, Scene, Step};
use e2e::eventually;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_die_or_do_not_answer_under_load_break_no_promise() {
    let postgres = std::env::temp_dir().join(testkit::unique("tradewind-engines-postgres"));
    let env = vec![("COMMAND_SIDE_DATABASE_CONNECTIONS", "2".to_owned())];
    let own = Own { postgres: Some(postgres.clone()), kafka_nodes: 1, env, ..Own::default() };
    let mut scene = Scene::start("engines", own, 1).await;
    postgres_may_be_killed_and_restarted(&mut scene).await;
    kafka_may_be_killed_and_restarted(&mut scene).await;
    without_a_free_connection_the_answer_is_503_with_retry_after_and_then_all_goes_on(&mut scene).await;
    scene.ends_well().await;
    let _ = std::fs::remove_dir_all(postgres);
}

async fn postgres_may_be_killed_and_restarted(scene: &mut Scene) {
    suffer(scene, Fault::PostgresKilled).await;
    scene.recovered().await.expect("everything is as before");
}

async fn kafka_may_be_killed_and_restarted(scene: &mut Scene) {
    suffer(scene, Fault::KafkaKilled).await;
    scene.recovered().await.expect("everything is as before");
}

async fn without_a_free_connection_the_answer_is_503_with_retry_after_and_then_all_goes_on(
    scene: &mut Scene,
) {
    let database = scene.database().await.expect("the database answers");
    database
        .batch_execute("BEGIN; LOCK TABLE orders.events IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("the owner may lock a table");
    // Whoever loads an order now holds a connection and waits; the pool has two.
    let url = format!("{}/v1/orders/{}/cancel", scene.platform.endpoint("command_url"), Uuid::now_v7());
    let body = serde_json::json!({"reason": "to see what is answered"});
    let http = reqwest::Client::new();
    eventually("a 503 that says when to come again", || async {
        let answer = http.post(&url).json(&body).send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let seconds = retry_after.and_then(|value| value.parse::<u32>().ok());
        let text = format!("{status} {retry_after:?}");
        let code = answer.json::<serde_json::Value>().await.unwrap_or_default()["code"].clone();
        if status == 503 && seconds.is_some() && code == "store_unavailable" {
            Ok(())
        } else {
            Err(format!("{text} {code}"))
        }
    })
    .await;
    database.batch_execute("COMMIT").await.expect("the lock can be given back");
    scene.recovered().await.expect("everything is as before");
    let (shop, path) = (scene.platform.shop(), format!("/v1/orders/{}/cancel", Uuid::now_v7()));
    assert_eq!(shop.post_until_answered(&path, body).await.refused(404), "order_not_found");
}

async fn suffer(scene: &mut Scene, fault: Fault) {
    let step = Step { fault, hold: Duration::from_secs(3), also_killed: None, calm: Duration::ZERO };
    scene.suffer(&step).await.expect("the fault can be done");
}
