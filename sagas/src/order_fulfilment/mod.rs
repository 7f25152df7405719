//! The fulfilment of an order: what each context does about the events of the others.
//!
//! The table of steps, reactions, final events and deadlines is `events/src/processes/order_fulfilment.rs`; a test holds
//! the functions here to it, event by event. Never: a rule on an aggregate (those are in `domain`), I/O, a clock.
//! Read next: [`inventory`] (the other contexts have the same form), `sagas/tests/story/main.rs`.

pub mod inventory;
pub mod orders;
pub mod payments;
pub mod shipping;

use events::Context::{Inventory, Orders, Payments, Shipping};
use events::processes::order_fulfilment::TABLE;

use crate::Process;

pub const PROCESS: Process = Process {
    table: &TABLE,
    reactions: &[
        (Orders, orders::react),
        (Inventory, inventory::react),
        (Payments, payments::react),
        (Shipping, shipping::react),
    ],
};
