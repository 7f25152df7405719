//! A private command side, and what a test does with it: place, cancel, receive, dispatch.

use command_side::Config;
use event_store::{Append, EventStore, NewEvent, StoreOptions, StreamWrite};
use events::shipping::ShipmentPrepared;
use events::{Address, Context, Event, Metadata, OrderId, ShipmentEvent, SkuQuantity, StreamId};
use runtime::postgres::{connect, owner_url, pool};
use runtime::{Health, Secret};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::ask::{Ask, Reply};

const CONTEXTS: [Context; 3] = [Context::Orders, Context::Inventory, Context::Shipping];
/// A command side that stops when it is dropped.
pub struct Shop {
    pub base_url: String,
    pub database_url: String,
    http: reqwest::Client,
    _stop: DropGuard,
}

impl Shop {
    /// With an empty database.
    pub async fn open() -> Self {
        let database_url = testkit::contexts("command_side", &CONTEXTS).await.url;
        Self::at(database_url.clone(), database_url).await
    }

    /// Another process on the same database.
    pub async fn branch(&self) -> Self {
        Self::at(self.database_url.clone(), self.database_url.clone()).await
    }

    /// Reaches the database by `seen_as`; the test reaches it by `database_url`.
    pub async fn at(database_url: String, seen_as: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let config = Config {
            listen: address.to_string(),
            databases: runtime::ContextUrls::one(Secret::from(seen_as)),
            database_connections_max: 4,
        };
        let shutdown = CancellationToken::new();
        let running = command_side::run(config, listener, Health::new(), shutdown.clone());
        tokio::spawn(async move { running.await.expect("the command side starts") });
        let base_url = format!("http://{address}");
        Self { base_url, database_url, http: reqwest::Client::new(), _stop: shutdown.drop_guard() }
    }

    pub fn post(&self, path: &str) -> Ask {
        Ask::new(self.http.post(format!("{}{path}", self.base_url)))
    }

    pub async fn get(&self, path: &str) -> Reply {
        Ask::new(self.http.get(format!("{}{path}", self.base_url))).send().await
    }

    pub async fn place(&self, order: Value) -> Reply {
        self.post("/v1/orders").json(&order).send().await
    }

    /// Places a plain order; returns its id.
    pub async fn placed(&self) -> String {
        self.place(an_order()).await.is(201).text("order_id")
    }

    pub async fn cancel(&self, order_id: &str) -> Reply {
        self.post(&format!("/v1/orders/{order_id}/cancel"))
            .json(&json!({"reason": "changed my mind"}))
            .send()
            .await
    }

    pub async fn receive(&self, sku: &str, quantity: i64) -> Reply {
        self.post(&format!("/v1/stock/{sku}/receive")).json(&json!({"quantity": quantity})).send().await
    }

    pub async fn adjust(&self, sku: &str, delta: i64) -> Reply {
        let body = json!({"delta": delta, "reason": "counted"});
        self.post(&format!("/v1/stock/{sku}/adjust")).json(&body).send().await
    }

    pub async fn dispatch(&self, shipment_id: &str) -> Reply {
        let body = json!({"carrier": "Royal Mail", "tracking": "RM 123"});
        self.post(&format!("/v1/shipments/{shipment_id}/dispatch")).json(&body).send().await
    }

    pub async fn deliver(&self, shipment_id: &str) -> Reply {
        self.post(&format!("/v1/shipments/{shipment_id}/deliver")).send().await
    }

    /// Prepares a shipment as the sagas do, in another process; returns its id.
    pub async fn prepared_shipment(&self) -> String {
        let order_id = OrderId(Uuid::now_v7());
        let prepared = ShipmentPrepared {
            order_id,
            items: vec![SkuQuantity {
                sku: "TEACUP".parse().expect("a SKU"),
                quantity: 1.try_into().expect("a quantity"),
            }],
            shipping_address: Address::Text("1 High Street".to_owned()),
        };
        self.append_elsewhere(events::shipping::stream(order_id), ShipmentEvent::from(prepared)).await;
        order_id.to_string()
    }

    /// An event that another process appends to an empty stream.
    async fn append_elsewhere(&self, stream: StreamId, event: impl Into<Event>) {
        let metadata = Metadata {
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: "test".to_owned(),
            traceparent: None,
            idempotency_key: None,
        };
        let context = Context::of_stream(&stream).expect("the stream is one of ours");
        let write =
            StreamWrite { stream, expected_version: 0, events: vec![NewEvent::new(&event.into(), metadata)] };
        let append = Append { writes: vec![write], ..Append::default() };
        self.log(context).await.append(append).await.expect("the stream is empty");
    }

    /// The stream's events: (type, fields, metadata).
    pub async fn events(&self, stream: &str) -> Vec<(String, Value, Metadata)> {
        let stream = StreamId::from(stream.to_owned());
        let context = Context::of_stream(&stream).expect("the stream is one of ours");
        let raw = self.log(context).await.read_stream(&stream, 0, 1_000).await.expect("the log can be read");
        raw.into_iter()
            .map(|event| {
                let fields = serde_json::from_str(event.payload.get()).expect("a payload is JSON");
                (event.event_type, fields, event.metadata)
            })
            .collect()
    }

    /// The types alone.
    pub async fn event_types(&self, stream: &str) -> Vec<String> {
        self.events(stream).await.into_iter().map(|(event_type, ..)| event_type).collect()
    }

    /// The number of events in the context's log.
    pub async fn log_length(&self, context: Context) -> i64 {
        self.log(context).await.head().await.expect("the log can be read")
    }

    async fn log(&self, context: Context) -> EventStore {
        let url = owner_url(&Secret::from(self.database_url.clone()), context.name());
        let pool = pool(&url, 2).expect("the URL is right");
        EventStore::new(context, pool, StoreOptions::default()).await.expect("the database is there")
    }

    /// A session of the database's owner.
    pub async fn admin(&self) -> tokio_postgres::Client {
        connect(&Secret::from(self.database_url.clone())).await.expect("the database is there")
    }

    /// Waits until `/readyz` answers with this status and says this.
    pub async fn until_readiness(&self, status: u16, says: &str) {
        eventually(&format!("readiness to be {status} with {says:?}"), async || {
            let reply = self.get("/readyz").await;
            (reply.status == status && reply.text.contains(says)).then_some(())
        })
        .await;
    }
}

/// An order that is accepted.
pub fn an_order() -> Value {
    json!({
        "customer_id": "17850",
        "currency": "GBP",
        "lines": [
            {"sku": "TEACUP", "quantity": 6, "unit_price_minor": 255},
            {"sku": "LANTERN", "quantity": 2, "unit_price_minor": 339}
        ],
        "shipping_address": {"name": "A. Customer", "street": "1 High Street", "city": "London"}
    })
}
