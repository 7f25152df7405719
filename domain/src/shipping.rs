//! The rules of an order's shipment.
//!
//! Cancellation and dispatch meet on this stream: the one that is appended first wins.

use event_log::{Aggregate, State, StreamId};
use events::shipping::{ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentPrepared};
use events::{Address, ShipmentEvent, ShipmentId, SkuQuantity};

/// The shipment of one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Shipment {
    #[default]
    Absent,
    Prepared,
    Dispatched,
    Delivered,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum ShipmentCommand {
    PrepareShipment {
        shipment_id: ShipmentId,
        items: Vec<SkuQuantity>,
        shipping_address: Address,
    },
    DispatchShipment {
        shipment_id: ShipmentId,
        carrier: String,
        tracking: String,
    },
    DeliverShipment {
        shipment_id: ShipmentId,
    },
    /// Has no effect after the dispatch.
    CancelShipment {
        shipment_id: ShipmentId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShipmentRefusal {
    #[error("shipment {shipment_id} does not exist (an order is prepared for shipping once it is confirmed)")]
    NotFound { shipment_id: ShipmentId },
    #[error("shipment {shipment_id} is {state}; allowed in {allowed}")]
    WrongState { shipment_id: ShipmentId, state: &'static str, allowed: &'static str },
}

impl Shipment {
    pub fn state(self) -> &'static str {
        self.into()
    }

    fn wrong_state(self, shipment_id: ShipmentId, allowed: &'static str) -> ShipmentRefusal {
        match self {
            Self::Absent => ShipmentRefusal::NotFound { shipment_id },
            Self::Prepared | Self::Dispatched | Self::Delivered | Self::Cancelled => {
                ShipmentRefusal::WrongState { shipment_id, state: self.state(), allowed }
            }
        }
    }
}

impl State for Shipment {
    type Event = ShipmentEvent;

    const CATEGORY: &'static str = "shipment";

    fn evolve(self, event: &ShipmentEvent) -> Self {
        match event {
            ShipmentEvent::ShipmentPrepared(_) => Self::Prepared,
            ShipmentEvent::ShipmentDispatched(_) => Self::Dispatched,
            ShipmentEvent::ShipmentDelivered(_) => Self::Delivered,
            ShipmentEvent::ShipmentCancelled(_) => Self::Cancelled,
        }
    }
}

impl Aggregate for Shipment {
    type Command = ShipmentCommand;
    type Refusal = ShipmentRefusal;

    fn stream(command: &ShipmentCommand) -> StreamId {
        let (ShipmentCommand::PrepareShipment { shipment_id, .. }
        | ShipmentCommand::DispatchShipment { shipment_id, .. }
        | ShipmentCommand::DeliverShipment { shipment_id }
        | ShipmentCommand::CancelShipment { shipment_id }) = command;
        events::shipping::stream(*shipment_id)
    }

    fn decide(&self, command: &ShipmentCommand) -> Result<Vec<ShipmentEvent>, ShipmentRefusal> {
        match (self, command.clone()) {
            (Self::Absent, ShipmentCommand::PrepareShipment { shipment_id, items, shipping_address }) => {
                Ok(vec![ShipmentPrepared { order_id: shipment_id, items, shipping_address }.into()])
            }
            (
                Self::Prepared | Self::Dispatched | Self::Delivered | Self::Cancelled,
                ShipmentCommand::PrepareShipment { .. },
            ) => Ok(Vec::new()),
            (Self::Prepared, ShipmentCommand::DispatchShipment { shipment_id, carrier, tracking }) => {
                Ok(vec![ShipmentDispatched { order_id: shipment_id, carrier, tracking }.into()])
            }
            (state, ShipmentCommand::DispatchShipment { shipment_id, .. }) => {
                Err(state.wrong_state(shipment_id, "prepared"))
            }
            (Self::Dispatched, ShipmentCommand::DeliverShipment { shipment_id }) => {
                Ok(vec![ShipmentDelivered { order_id: shipment_id }.into()])
            }
            (state, ShipmentCommand::DeliverShipment { shipment_id }) => {
                Err(state.wrong_state(shipment_id, "dispatched"))
            }
            (Self::Prepared, ShipmentCommand::CancelShipment { shipment_id }) => {
                Ok(vec![ShipmentCancelled { order_id: shipment_id }.into()])
            }
            (
                Self::Dispatched | Self::Delivered | Self::Cancelled,
                ShipmentCommand::CancelShipment { .. },
            ) => Ok(Vec::new()),
            (state @ Self::Absent, ShipmentCommand::CancelShipment { shipment_id }) => {
                Err(state.wrong_state(shipment_id, "prepared"))
            }
        }
    }
}
