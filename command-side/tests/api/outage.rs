//! The responses to clients and orchestrators while Postgres is unreachable, and the metrics.

use std::sync::Arc;

use testkit::fresh_database;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::shop::{Shop, an_order};

/// A connection to Postgres that can be cut and restored.
struct Wire {
    address: String,
    open: Arc<watch::Sender<bool>>,
}

impl Wire {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let open = Arc::new(watch::Sender::new(true));
        let gate = open.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut gate, server) = (gate.subscribe(), server.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(&server).await.expect("Postgres runs");
                    tokio::select! {
                        _ = gate.wait_for(|open| !open) => {}
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    fn cut(&self) {
        self.open.send_replace(false);
    }

    fn mend(&self) {
        self.open.send_replace(true);
    }
}

#[tokio::test]
async fn while_postgres_is_unreachable_commands_get_a_503_and_afterwards_they_are_accepted() {
    let prepared = Shop::open().await;
    let (before_host, after) = prepared.database_url.split_once('@').expect("the URL names a user");
    let (server, database) = after.split_once('/').expect("the URL names a database");
    let wire = Wire::to(server.to_owned()).await;
    let through_the_wire = format!("{before_host}@{}/{database}", wire.address);
    let shop = Shop::at(prepared.database_url.clone(), through_the_wire).await;
    shop.until_readiness(200, "ready").await;
    shop.placed().await;

    wire.cut();
    let reply = shop.post("/v1/orders").key("k").json(&an_order()).send().await;
    let reply = reply.problem(503, "store_unavailable");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    for context in ["orders", "inventory", "shipping"] {
        shop.until_readiness(503, &format!("event store of {context}")).await;
    }
    shop.get("/livez").await.is(200);

    wire.mend();
    shop.until_readiness(200, "ready").await;
    shop.post("/v1/orders").key("k").json(&an_order()).send().await.is(201).replayed(false);
}

#[tokio::test]
async fn a_command_side_without_a_database_names_it() {
    let database_url = fresh_database("command_side").await.url;
    let url = database_url.replace("/command_side", "/no_such");
    let config = command_side::Config {
        listen: "127.0.0.1:0".to_owned(),
        databases: runtime::ContextUrls::one(runtime::Secret::from(url)),
        database_connections_max: 1,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let ended = command_side::run(config, listener, runtime::Health::new(), shutdown).await;
    let error = ended.expect_err("there is no such database").to_string();
    assert!(error.contains("orders"), "{error}");
}

#[tokio::test]
async fn commands_are_counted_by_name_outcome_and_code() {
    let shop = Shop::open().await;
    // Counting begins at the first request of the metrics.
    shop.get("/metrics").await.is(200);
    let order_id = shop.placed().await;
    shop.cancel(&order_id).await.is(202);
    shop.dispatch(&order_id).await.problem(404, "shipment_not_found");
    let metrics = shop.get("/metrics").await.is(200).text;
    for line in [
        "tradewind_commands_total{command=\"place_order\",outcome=\"accepted\",code=\"\"}",
        "tradewind_commands_total{command=\"dispatch_shipment\",outcome=\"refused\",code=\"shipment_not_found\"}",
        "tradewind_command_duration_seconds_bucket{command=\"cancel_order\",le=\"0.1\"}",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}
