//! The events of Shipping: what can happen to the shipment of an order. The rules are in `domain/src/shipping.rs`.

use serde::{Deserialize, Serialize};

use event_log::{StreamId, event_enum};

use crate::value::{Address, OrderId, SkuQuantity};

event_enum! {
    /// The events of the stream `shipment-<order uuid>`.
    pub enum ShipmentEvent {
        ShipmentPrepared = 1,
        ShipmentDispatched = 1,
        ShipmentDelivered = 1,
        ShipmentCancelled = 1,
    }
}

/// The stream of the order's shipment.
pub fn stream(id: OrderId) -> StreamId {
    StreamId::new("shipment", id)
}

/// The warehouse may pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentPrepared {
    pub order_id: OrderId,
    pub items: Vec<SkuQuantity>,
    pub shipping_address: Address,
}

/// The goods were dispatched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentDispatched {
    pub order_id: OrderId,
    pub carrier: String,
    pub tracking: String,
}

/// The goods arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentDelivered {
    pub order_id: OrderId,
}

/// The shipment was cancelled and will not be dispatched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentCancelled {
    pub order_id: OrderId,
}
