//! The registry: the only list of the shop's contexts.

use event_log::StreamId;

use crate::{OrderEvent, OrderId, PaymentEvent, ReservationEvent, ShipmentEvent, StockEvent};

event_log::contexts! {
    Orders = "orders" { Order("order"): OrderEvent },
    Inventory = "inventory" { StockItem("stock"): StockEvent, Reservation("reservation"): ReservationEvent },
    Payments = "payments" { Payment("payment"): PaymentEvent },
    Shipping = "shipping" { Shipment("shipment"): ShipmentEvent },
}

/// The order that the stream belongs to; none for a stock item.
pub fn order_of(stream: &StreamId) -> Option<OrderId> {
    match stream.category() {
        "order" | "reservation" | "payment" | "shipment" => stream.key().parse().ok(),
        _ => None,
    }
}
