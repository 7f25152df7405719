//! `kill -9` of each role while orders flow: everything settles, nothing is lost, nothing happens twice.

use std::collections::HashMap;

use e2e::{Platform, first_occurrences_are_in_order, line};
use events::Context;
use futures::StreamExt;
use futures::stream;
use testkit::read_topic;
use uuid::Uuid;

const ROLES: [&str; 5] = ["command-side", "relay", "sagas", "query-side", "payment-provider"];
const ORDERS_PER_ROLE: usize = 40;
const PARALLEL: usize = 16;

#[tokio::test]
async fn every_role_may_be_killed_while_orders_flow_and_every_order_settles_exactly_once() {
    let platform = Platform::start("crash", &[]).await;
    let shop = platform.shop();
    let orders = ROLES.len() * ORDERS_PER_ROLE;
    // One piece for each order, less a tenth: some orders are rejected, and never two get the last piece.
    let pieces = orders - orders / 10;
    shop.receives_stock("VASE", pieces as i64).await;

    let vase = [line("VASE", 1, 700)];
    let mut placed = Vec::new();
    for role in ROLES {
        let ids: Vec<Uuid> = (0..ORDERS_PER_ROLE).map(|_| Uuid::now_v7()).collect();
        let flow = stream::iter(ids.clone())
            .map(|id| shop.places_though_roles_die(id, "kim", &vase))
            .buffer_unordered(PARALLEL)
            .collect::<Vec<()>>();
        tokio::join!(flow, platform.kill(role));
        placed.extend(ids);
    }

    let mut outcomes = HashMap::<String, usize>::new();
    for id in &placed {
        let order = shop.waits_for_outcome(*id).await;
        *outcomes.entry(order["status"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    let wanted = HashMap::from([("confirmed".to_owned(), pieces), ("rejected".to_owned(), orders - pieces)]);
    assert_eq!(outcomes, wanted);
    shop.sees_stock("VASE", pieces as i64, 0, pieces as i64, 0).await;

    let mut authorised = 0;
    for id in &placed {
        let held = shop.provider_payment(*id).await;
        authorised += usize::from(held.status.is_success() && held.body["state"] == "authorised");
    }
    assert_eq!(authorised, pieces, "the provider holds money for each confirmed order, once");
    for context in Context::ALL {
        first_occurrences_are_in_order(&read_topic(&platform.topic(context)).await);
    }
}
