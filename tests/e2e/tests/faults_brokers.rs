//! A Kafka of three brokers, three copies of each record, two of which must be in sync; one broker dies under load.

use e2e::chaos::{Own, Scene};
use e2e::{eventually, kafka};
use events::Context;

const BROKERS: u16 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_three_brokers_dead_orders_settle_and_nothing_is_lost() {
    let env = vec![("TOPIC_REPLICATION", BROKERS.to_string())];
    let mut scene = Scene::start("brokers", Own { kafka_nodes: BROKERS, env, ..Own::default() }, 1).await;
    wait_until_led_by(&scene, &[1, 2, 3]).await;

    scene.kafka.as_mut().expect("it has its own Kafka").kill(2).await;
    wait_until_led_by(&scene, &[1, 3]).await;
    // What is appended from now on, with a broker dead: from the command to the read model.
    scene.recovered().await.expect("two of three brokers are enough");
    scene.recovered().await.expect("and they stay enough");

    scene.kafka.as_mut().expect("it has its own Kafka").start_again(2).await;
    scene.recovered().await.expect("everything is as before");
    scene.ends_well().await;
}

async fn wait_until_led_by(scene: &Scene, brokers: &[i32]) {
    eventually(&format!("the partitions of the orders are led by {brokers:?}"), || async {
        let (bootstrap, topic) =
            (scene.platform.kafka_brokers().to_owned(), scene.platform.topic(Context::Orders));
        let ask = move || kafka::leaders(&bootstrap, &topic);
        let leaders = tokio::task::spawn_blocking(ask).await.expect("asking does not panic")?;
        if leaders.iter().copied().eq(brokers.iter().copied()) { Ok(()) } else { Err(format!("{leaders:?}")) }
    })
    .await;
}
