//! What customers, the warehouse and the carrier do in a [`TestEnvironment`]: it appends to the logs as the command side does.

use domain::{Aggregate, Order, OrderCommand, Shipment, ShipmentCommand, StockCommand, StockItem};
use events::orders::OrderLine;
use events::{Address, Context, Metadata, OrderId, Sku, StreamId};
use testkit::eventually;
use uuid::Uuid;

use crate::environment::TestEnvironment;

impl TestEnvironment {
    async fn give<A: Aggregate>(&self, context: Context, stream: &StreamId, command: &A::Command) {
        let done = event_store::retry_conflicts(20, async || {
            let mut work = self.store(context).unit_of_work();
            let decided = work.decide::<A>(stream, command, &metadata()).await?;
            decided.unwrap_or_else(|refusal| panic!("{stream}: {refusal}"));
            work.commit().await
        });
        done.await.expect("the command is carried out");
    }

    /// Pieces of each of the SKUs, in one append.
    pub async fn receive(&self, skus: &[&str], pieces: i64) {
        let mut work = self.store(Context::Inventory).unit_of_work();
        for name in skus {
            let sku: Sku = name.parse().expect("a SKU");
            let quantity = pieces.try_into().expect("1 or more pieces");
            let stream = events::inventory::stock_stream(&sku);
            let command = StockCommand::ReceiveStock { sku, quantity, reference: None };
            let decided =
                work.decide::<StockItem>(&stream, &command, &metadata()).await.expect("a readable log");
            decided.expect("room for the pieces");
        }
        work.commit().await.expect("the stock is received");
    }

    /// An order of one piece of each of the SKUs.
    pub async fn place(&self, skus: &[&str], unit_price_minor: i64) -> OrderId {
        let order_id = OrderId(Uuid::now_v7());
        let line = |name: &&str| OrderLine {
            sku: name.parse().expect("a SKU"),
            quantity: 1.try_into().expect("1 or more pieces"),
            unit_price_minor,
        };
        let command = OrderCommand::PlaceOrder {
            order_id,
            customer_id: "ada".parse().expect("a customer"),
            currency: "GBP".parse().expect("a currency"),
            lines: skus.iter().map(line).collect(),
            shipping_address: Address::Text("12 Dock Street".into()),
            placed_at: chrono::Utc::now(),
        };
        self.give::<Order>(Context::Orders, &events::orders::stream(order_id), &command).await;
        order_id
    }

    pub async fn cancel(&self, order_id: OrderId) {
        let command = OrderCommand::CancelOrder { order_id, reason: "changed my mind".into() };
        self.give::<Order>(Context::Orders, &events::orders::stream(order_id), &command).await;
    }

    pub async fn dispatch_and_deliver(&self, order_id: OrderId) {
        let stream = events::shipping::stream(order_id);
        eventually("the shipment is prepared", async || {
            (self.fresh::<Shipment>(Context::Shipping, &stream).await == Shipment::Prepared).then_some(())
        })
        .await;
        let dispatch = ShipmentCommand::DispatchShipment {
            shipment_id: order_id,
            carrier: "DHL".into(),
            tracking: "1".into(),
        };
        self.give::<Shipment>(Context::Shipping, &stream, &dispatch).await;
        let deliver = ShipmentCommand::DeliverShipment { shipment_id: order_id };
        self.give::<Shipment>(Context::Shipping, &stream, &deliver).await;
    }
}

fn metadata() -> Metadata {
    Metadata {
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        depends_on: events::Positions::default(),
        actor: "test".into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        idempotency_key: None,
    }
}
