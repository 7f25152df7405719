//! Postgres is restored to a backup that is older than what Kafka and the read models hold: everything that would act on
//! what no longer exists stops and says why, `tradewind reconcile` lists exactly that and puts it right, and all goes on.

use std::collections::BTreeSet;

use e2e::{Platform, Shop, eventually, line};
use events::Context;
use serde_json::Value;
use testkit::{copy_database, read_topic};
use uuid::Uuid;

const STOPPED: [&str; 3] = ["relay", "sagas", "query-side"];

/// What `reconcile` has to say of the records behind the heads of the logs.
async fn lost(platform: &Platform) -> BTreeSet<String> {
    let (code, status) = platform.tradewind(&["relay", "status"]).await;
    assert_eq!(code, 0, "{status}");
    let mut lost = BTreeSet::new();
    for context in Context::ALL {
        let row = status.lines().find(|row| row.starts_with(context.name())).expect("a row for each log");
        let head: i64 = row.split_whitespace().nth(1).and_then(|head| head.parse().ok()).expect("a head");
        for record in read_topic(&platform.topic(context)).await {
            // A halt is no event.
            let Ok(event) = serde_json::from_slice::<Value>(&record.value) else { continue };
            if event["position"].as_i64().expect("a position") > head {
                let kind = event["type"].as_str().expect("a type");
                let kind = kind.trim_start_matches(&format!("tradewind.{context}."));
                lost.insert(format!(
                    "lost {context}:{} {} {kind} {}",
                    event["position"],
                    event["subject"].as_str().expect("a subject"),
                    event["id"].as_str().expect("an id")
                ));
            }
        }
    }
    lost
}

async fn readiness(url: &str) -> Result<(u16, Value), String> {
    let answer = reqwest::get(format!("{url}/readyz")).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await.map_err(|error| error.to_string())?))
}

async fn settles(shop: &Shop, customer: &str) -> Uuid {
    let order_id = shop.places_order(customer, &[line("VASE", 1, 700)]).await;
    shop.sees_order(order_id, "confirmed").await;
    order_id
}

#[tokio::test]
async fn after_a_restore_everything_stops_and_says_why_and_reconcile_brings_it_to_the_restored_truth() {
    let mut platform = Platform::start("restore", &[]).await;
    let shop = platform.shop();
    let endpoints = platform.endpoints();
    shop.receives_stock("VASE", 10).await;
    let before = settles(&shop, "ada").await;
    let open = settles(&shop, "ben").await;
    platform.rest().await;
    let database = platform.database_url().to_owned();
    let (_, name) = database.rsplit_once('/').expect("a database url ends in /<database>");
    let backup = copy_database(&database, &format!("{name}_backup")).await;

    platform.rise();
    platform.wait_until_ready().await;
    let gone = settles(&shop, "cy").await;
    shop.dispatches(open).await;
    shop.sees_payment(open, "captured").await;
    shop.sees_stock("VASE", 10, 7, 2, 1).await;
    platform.rest().await;
    copy_database(&backup.url, name).await;

    platform.rise();
    for role in STOPPED {
        let url = endpoints["ops_urls"][role].as_str().expect("every role has one");
        eventually(&format!("{role} says why it stopped"), || async {
            let (status, told) = readiness(url).await?;
            let named = told["failing"].to_string().contains("tradewind reconcile");
            if status == 503 && named { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
    platform.rest().await;
    assert!(platform.log().contains("relaying stopped"), "the log says so too");

    let expected = lost(&platform).await;
    assert!(expected.iter().any(|line| line.contains(&gone.to_string())), "{expected:?}");
    for dry_run in ["first", "second, for the first has changed nothing"] {
        let (code, output) = platform.tradewind(&["reconcile", "--dry-run"]).await;
        assert_eq!(code, 0, "{dry_run}: {output}");
        let listed: BTreeSet<String> = output
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("lost "))
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, expected, "{dry_run}: {output}");
    }
    let (code, output) = platform.tradewind(&["reconcile"]).await;
    assert!(code != 0 && output.contains("--yes"), "nobody is asked who is not there: {output}");
    let (code, output) = platform.tradewind(&["reconcile", "--yes"]).await;
    assert_eq!(code, 0, "{output}");

    platform.rise();
    platform.wait_until_ready().await;
    assert_eq!(shop.get(&format!("/v1/orders/{gone}")).await.status.as_u16(), 404);
    assert_eq!(shop.sees_order(before, "confirmed").await["customer_id"], "ada");
    shop.sees_stock("VASE", 10, 8, 2, 0).await;
    let after = settles(&shop, "dot").await;
    for order_id in [open, after] {
        shop.dispatches(order_id).await;
        shop.delivers(order_id).await;
        shop.sees_order(order_id, "delivered").await;
        shop.sees_payment(order_id, "captured").await;
    }
    shop.sees_stock("VASE", 10, 7, 1, 2).await;
    let (code, output) = platform.tradewind(&["replay", "--all", "--check"]).await;
    assert_eq!(code, 0, "{output}");
    let (code, output) = platform.tradewind(&["verify"]).await;
    assert_eq!(code, 0, "{output}");
    let (code, output) = platform.tradewind(&["reconcile"]).await;
    assert!(code == 0 && output.contains("nothing to reconcile"), "{output}");
}
