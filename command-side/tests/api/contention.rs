//! Many requests at once, and clients that disconnect before their response.

use futures::future::join_all;
use serde_json::json;
use testkit::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::shop::{Shop, an_order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_receipts_of_one_sku_in_two_processes_all_count() {
    let here = Shop::open().await;
    let there = here.branch().await;
    let receive = async |n: i64| {
        let shop = if n % 2 == 0 { &here } else { &there };
        shop.receive("TEACUP", n).await.is(200).body["version"].as_i64().expect("a version")
    };
    let mut versions = join_all((1..=60).map(receive)).await;
    versions.sort_unstable();
    assert_eq!(versions, (2..=61).collect::<Vec<i64>>());
    let received = here
        .events("stock-TEACUP")
        .await
        .into_iter()
        .filter_map(|(_, fields, _)| fields["quantity"].as_i64());
    assert_eq!(received.sum::<i64>(), (1..=60).sum::<i64>());
}

#[tokio::test]
async fn parallel_removals_never_take_more_than_there_is() {
    let shop = Shop::open().await;
    shop.receive("TEACUP", 10).await.is(200);
    let replies = join_all((0..30).map(async |_| shop.adjust("TEACUP", -1).await)).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((done.len(), refused.len()), (10, 20));
    for reply in refused {
        reply.problem(409, "not_enough_stock");
    }
}

#[tokio::test]
async fn a_command_is_executed_although_its_client_disconnected() {
    let shop = Shop::open().await;
    shop.placed().await;
    let mut admin = shop.admin().await;
    let blocker = admin.transaction().await.expect("the admin may begin");
    blocker.batch_execute("LOCK TABLE orders.events IN EXCLUSIVE MODE").await.expect("the admin may lock");

    let order_id = Uuid::now_v7().to_string();
    let mut order = an_order();
    order["order_id"] = json!(order_id);
    let body = order.to_string();
    let address = shop.base_url.strip_prefix("http://").expect("plain HTTP");
    let mut client = TcpStream::connect(address).await.expect("the command side listens");
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(format!("{head}{body}").as_bytes()).await.expect("the request is sent");
    let watcher = shop.admin().await;
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'orders.events'::regclass";
    eventually("the append to wait", async || watcher.query_opt(waiting, &[]).await.expect("a query")).await;
    drop(client);

    blocker.commit().await.expect("the admin may commit");
    let stream = format!("order-{order_id}");
    eventually("the order", async || Some(shop.event_types(&stream).await).filter(|types| types.len() == 1))
        .await;
}
