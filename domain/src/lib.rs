//! The decisions of the shop: one file per context.
//!
//! PURE: no async, clock, randomness or I/O. Time and ids arrive in the command. Never: an `evolve` that refuses; only
//! `decide` may refuse. Read next: [`orders`], then `domain/tests/orders.rs` (the rules in sentences).

pub mod inventory;
pub mod orders;
pub mod payments;
pub mod shipping;

pub use event_log::{Aggregate, Decide, State};
pub use inventory::reservation::{Reservation, ReservationCommand};
pub use inventory::stock_item::{StockCommand, StockItem, StockRefusal};
pub use orders::{Order, OrderCommand, OrderRefusal};
pub use payments::{Payment, PaymentCommand, PaymentRefusal, ProviderCall};
pub use shipping::{Shipment, ShipmentCommand, ShipmentRefusal};

event_log::aggregates! {
    Order: OrderCommand,
    StockItem: StockCommand,
    Reservation: ReservationCommand,
    Payment: PaymentCommand,
    Shipment: ShipmentCommand,
}
