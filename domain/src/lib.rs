//! The decisions of Tradewind: one file per aggregate.
//!
//! PURE: no async, clock, randomness or I/O. Time and ids arrive in the command. `decide` may refuse; `evolve` accepts
//! history and never refuses. Read next: [`order`], then `domain/tests/order.rs` (the rules in sentences).

mod aggregate;
pub mod order;
pub mod payment;
pub mod reservation;
pub mod shipment;
pub mod stock_item;

pub use aggregate::{Aggregate, SnapshotForm, Write, shape_of};
pub use order::{Order, OrderCommand, OrderRefusal};
pub use payment::{Payment, PaymentCommand, PaymentRefusal, ProviderCall};
pub use reservation::{Reservation, ReservationCommand};
pub use shipment::{Shipment, ShipmentCommand, ShipmentRefusal};
pub use stock_item::{StockCommand, StockItem, StockRefusal};
