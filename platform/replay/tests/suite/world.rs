//! A database of a test's own, with logs that orders are written to and read models that follow them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use deadpool_postgres::{Pool, Transaction};
use event_store::{Append, EventStore, NewEvent, StoreOptions, StreamWrite};
use events::inventory::ReservationMade;
use events::orders::{OrderCancellationRequested, OrderConfirmed, OrderLine, OrderPlaced};
use events::payments::{PaymentAuthorised, PaymentRequested};
use events::shipping::ShipmentPrepared;
use events::{
    Address, Context, Currency, CustomerId, Envelope, Event, Metadata, Money, OrderEvent, OrderId,
    PaymentEvent, ReservationEvent, ShipmentEvent, SkuQuantity, StreamId, TOPIC_PARTITIONS, partition_of,
};
use query_side::{CONSUMER, READ_MODEL, projections};
use replay::{Error, Options, Rebuilt, ReplayReport, RolledBack};
use runtime::{ContextUrls, Secret, postgres};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// More than any test's log holds.
const EVERYTHING: usize = 1_000_000;
/// The most that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub url: Secret,
    pub admin: Pool,
    /// As the projections are: with the rights of their role.
    pub live: Pool,
    pub stores: HashMap<Context, EventStore>,
}

pub async fn world() -> World {
    let owners = [READ_MODEL, "every context"];
    let database = testkit::migrated_database("replay", &owners, async |admin| {
        postgres::prepare_owner(admin, READ_MODEL, None).await.expect("the owner is prepared");
        query_side::migrate(admin).await.expect("the migrations run");
        testkit::migrate_contexts(admin, &Context::ALL).await;
    });
    let url = Secret::from(database.await.url);
    let mut stores = HashMap::new();
    for context in Context::ALL {
        let pool = postgres::pool(&postgres::owner_url(&url, context.name()), 2).expect("a good url");
        let store = EventStore::new(context, pool, StoreOptions::default()).await.expect("a store");
        stores.insert(context, store);
    }
    let live = postgres::pool(&postgres::owner_url(&url, READ_MODEL), 4).expect("a good url");
    World { admin: postgres::pool(&url, 4).expect("a good url"), url, live, stores }
}

pub fn order_id(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

impl World {
    /// Writes the story of an order up to its shipment's preparation, in all four logs.
    pub async fn order(&self, number: u128) {
        let id = order_id(number);
        let currency: Currency = "EUR".parse().expect("a currency");
        let customer_id: CustomerId = "alice".parse().expect("a customer");
        let total = Money::new(700, currency).expect("not below 0");
        let items = vec![SkuQuantity {
            sku: "TEAPOT".parse().expect("a SKU"),
            quantity: 1.try_into().expect("one piece"),
        }];
        let lines =
            vec![OrderLine { sku: items[0].sku.clone(), quantity: items[0].quantity, unit_price_minor: 700 }];
        let shipping_address = Address::Text("1 High Street".to_owned());
        let placed_at = Utc::now();
        let placed = OrderPlaced {
            order_id: id,
            customer_id: customer_id.clone(),
            currency,
            lines,
            total_minor: 700,
            shipping_address: shipping_address.clone(),
            placed_at,
        };
        let confirmed = OrderConfirmed {
            order_id: id,
            customer_id: customer_id.clone(),
            total,
            items: items.clone(),
            shipping_address: shipping_address.clone(),
            placed_at,
        };
        let made = ReservationMade {
            order_id: id,
            items: items.clone(),
            customer_id: customer_id.clone(),
            amount_due: total,
        };
        let requested = PaymentRequested { order_id: id, customer_id, amount: total, expires_at: placed_at };
        let authorised = PaymentAuthorised { order_id: id, provider_reference: "ref".to_owned() };
        let prepared = ShipmentPrepared { order_id: id, items, shipping_address };
        self.append(events::orders::stream(id), 0, [OrderEvent::from(placed), confirmed.into()]).await;
        self.append(events::inventory::reservation_stream(id), 0, [ReservationEvent::from(made)]).await;
        self.append(events::payments::stream(id), 0, [PaymentEvent::from(requested), authorised.into()])
            .await;
        self.append(events::shipping::stream(id), 0, [ShipmentEvent::from(prepared)]).await;
    }

    /// The third event of an order's stream.
    pub async fn wish_to_cancel(&self, number: u128) {
        let order_id = order_id(number);
        let reason = "changed my mind".to_owned();
        let wish = OrderCancellationRequested { order_id, reason, was_confirmed: true };
        self.append(events::orders::stream(order_id), 2, [OrderEvent::from(wish)]).await;
    }

    async fn append<E: Into<Event>, const N: usize>(
        &self,
        stream: StreamId,
        expected_version: i32,
        events: [E; N],
    ) {
        let context = Context::of_stream(&stream).expect("a stream of ours");
        let metadata = Metadata {
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            depends_on: events::Positions::default(),
            actor: "test".to_owned(),
            traceparent: None,
            idempotency_key: None,
        };
        let events = events
            .into_iter()
            .map(|event| NewEvent::new(&Into::<Event>::into(event), metadata.clone()))
            .collect();
        let append =
            Append { writes: vec![StreamWrite { stream, expected_version, events }], ..Append::default() };
        self.stores[&context].append(append).await.expect("the events are appended");
    }

    /// Every projection applies whatever lies in the logs.
    pub async fn live_catches_up(&self) {
        self.live_catches_up_in(|_| true).await;
    }

    /// The same for some partitions alone, as when the others' process is away.
    pub async fn live_catches_up_in(&self, partitions: impl Fn(i32) -> bool) {
        let mut client = self.live.get().await.expect("a connection");
        let transaction = client.transaction().await.expect("a transaction");
        self.project_within(&transaction, &partitions).await;
        transaction.commit().await.expect("the commit");
    }

    /// One batch of all projections, as far as its commit. A projection waits for whoever repairs what it has parked.
    pub async fn project_within(&self, transaction: &Transaction<'_>, partitions: &impl Fn(i32) -> bool) {
        let mut applied = checkpoints(transaction).await;
        let mut events: Vec<Envelope> = Vec::new();
        for context in Context::ALL {
            for raw in self.stores[&context].scan(0, EVERYTHING).await.expect("the log is read") {
                let partition = partition_of(raw.stream.as_str(), TOPIC_PARTITIONS);
                let last_position = applied.entry((context.topic(), partition)).or_default();
                if partitions(partition) && raw.position > *last_position {
                    *last_position = raw.position;
                    events.push(raw.decode(context).expect("an event of this build"));
                }
            }
        }
        for ((topic, partition), last_position) in &applied {
            move_checkpoint(transaction, topic, *partition, *last_position).await;
        }
        for projector in projections().projectors {
            let parked = parked(transaction, projector.name()).await;
            let hears = |event: &&Envelope| {
                projector.contexts().contains(&event.context) && !parked.contains(event.stream.as_str())
            };
            let events: Vec<&Envelope> = events.iter().filter(hears).collect();
            projector.apply(transaction, &events).await.expect("the events are applied");
        }
    }

    pub fn options(&self) -> Options {
        Options {
            check: false,
            rollback: false,
            databases: ContextUrls::one(self.url.clone()),
            topic_prefix: String::new(),
        }
    }

    /// The projections with these names, or all.
    pub async fn run(
        &self,
        projections: &[&str],
        options: Options,
        shutdown: CancellationToken,
    ) -> Result<Vec<ReplayReport>, Error> {
        let names: Vec<String> = projections.iter().map(ToString::to_string).collect();
        replay::run(&query_side::projections(), &names, options, shutdown).await
    }

    pub async fn replay(&self, projections: &[&str]) -> Vec<Rebuilt> {
        rebuilt(self.run(projections, self.options(), CancellationToken::new()).await)
    }

    pub async fn check(&self, projections: &[&str]) -> Vec<Rebuilt> {
        let options = Options { check: true, ..self.options() };
        rebuilt(self.run(projections, options, CancellationToken::new()).await)
    }

    pub async fn roll_back(&self, projections: &[&str]) -> Result<Vec<RolledBack>, Error> {
        let options = Options { rollback: true, ..self.options() };
        let reports = self.run(projections, options, CancellationToken::new()).await?;
        let rolled_back = |report| match report {
            ReplayReport::RolledBack(rolled_back) => rolled_back,
            ReplayReport::Rebuilt(rebuilt) => panic!("{rebuilt}"),
        };
        Ok(reports.into_iter().map(rolled_back).collect())
    }

    /// Parks the event of an order's stream at `position`, for the projection of the orders.
    pub async fn park(&self, stream: &StreamId, position: i64) {
        let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS);
        self.execute(&format!(
            "INSERT INTO readmodel.parked_events
                 (consumer, topic, partition, record_offset, stream, position, key, payload, reason)
             VALUES ('query-side.orders', 'orders.events', {partition}, {position}, '{stream}', {position}, '', '', 'planted')"
        ))
        .await;
    }

    /// A person gives up what [`Self::park`] parked.
    pub async fn discard(&self, stream: &StreamId, position: i64) {
        let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS);
        self.execute(&format!(
            "SELECT readmodel.discard_parked('query-side.orders', 'orders.events', {partition}, {position}, 'a person', 'no use')"
        ))
        .await;
    }

    /// A person has what [`Self::park`] parked applied after all.
    pub async fn retry(&self, stream: &StreamId, position: i64) {
        let mut client = self.live.get().await.expect("a connection");
        let transaction = client.transaction().await.expect("a transaction");
        let partition = partition_of(stream.as_str(), TOPIC_PARTITIONS);
        let unpark = "SELECT unpark('query-side.orders', 'orders.events', $1, $2)";
        transaction.execute(unpark, &[&partition, &position]).await.expect("the event is parked");
        let event = self.stores[&Context::Orders].scan(position - 1, 1).await.expect("the log").remove(0);
        let event = event.decode(Context::Orders).expect("an event of this build");
        let orders = projections().named("orders").expect("a projection");
        orders.apply(&transaction, &[&event]).await.expect("the event is applied");
        transaction.commit().await.expect("the commit");
    }

    /// Until somebody waits for a lock on the table.
    pub async fn somebody_waits_for(&self, table: &str) {
        let waiting =
            format!("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        let admin = self.admin.get().await.expect("a connection");
        let waits = async {
            while !admin.query_one(&waiting, &[]).await.expect("the locks").get::<_, bool>(0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.expect("somebody waits for the table");
    }

    pub async fn execute(&self, sql: &str) {
        let client = self.admin.get().await.expect("a connection");
        client.batch_execute(sql).await.expect(sql);
    }

    pub async fn text(&self, sql: &str) -> String {
        let client = self.admin.get().await.expect("a connection");
        client.query_one(sql, &[]).await.expect(sql).get(0)
    }
}

fn rebuilt(reports: Result<Vec<ReplayReport>, Error>) -> Vec<Rebuilt> {
    let rebuilt = |report| match report {
        ReplayReport::Rebuilt(rebuilt) => rebuilt,
        ReplayReport::RolledBack(rolled_back) => panic!("{rolled_back}"),
    };
    reports.expect("the replay runs").into_iter().map(rebuilt).collect()
}

async fn checkpoints(transaction: &Transaction<'_>) -> HashMap<(&'static str, i32), i64> {
    let select = "SELECT topic, partition, last_position FROM checkpoints WHERE consumer = $1 FOR UPDATE";
    let rows = transaction.query(select, &[&CONSUMER]).await.expect("the checkpoints");
    let known = |topic: &str| Context::from_topic(topic).expect("a topic of ours").topic();
    rows.iter().map(|row| ((known(row.get(0)), row.get(1)), row.get(2))).collect()
}

async fn move_checkpoint(transaction: &Transaction<'_>, topic: &str, partition: i32, last_position: i64) {
    let upsert = "INSERT INTO checkpoints VALUES ($1, $2, $3, $4, $4)
                  ON CONFLICT (consumer, topic, partition) DO UPDATE SET next_offset = $4, last_position = $4";
    transaction
        .execute(upsert, &[&CONSUMER, &topic, &partition, &last_position])
        .await
        .expect("the checkpoint");
}

/// The streams that the projection has parked.
async fn parked(transaction: &Transaction<'_>, projection: &str) -> HashSet<String> {
    let select = "SELECT stream FROM parked_events WHERE consumer = $1";
    let rows = transaction
        .query(select, &[&projections().parked_consumer(projection)])
        .await
        .expect("the parked events");
    rows.iter().map(|row| row.get(0)).collect()
}

/// A world that others may share.
pub async fn shared_world() -> Arc<World> {
    Arc::new(world().await)
}
