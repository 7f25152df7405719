//! Commands and events of stock, all of the SKU "cup".

use domain::inventory::stock_item::STOCK_PIECES_MAX;
use domain::{StockCommand, StockRefusal};
use events::StockEvent;
use events::inventory::{
    SkuRegistered, StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped,
};

use super::{ID, pieces, sku};

pub fn receive(count: i64) -> StockCommand {
    StockCommand::ReceiveStock { sku: sku("cup"), quantity: pieces(count), reference: None }
}

pub fn adjust(delta: i64) -> StockCommand {
    StockCommand::AdjustStock { sku: sku("cup"), delta, reason: "counted".to_owned() }
}

pub fn reserve(count: i64) -> StockCommand {
    StockCommand::Reserve { sku: sku("cup"), order_id: ID, quantity: pieces(count) }
}

pub fn release(count: i64) -> StockCommand {
    StockCommand::Release { sku: sku("cup"), order_id: ID, quantity: pieces(count) }
}

pub fn ship(count: i64) -> StockCommand {
    StockCommand::Ship { sku: sku("cup"), order_id: ID, quantity: pieces(count) }
}

pub fn registered() -> StockEvent {
    SkuRegistered { sku: sku("cup") }.into()
}

pub fn received(count: i64) -> StockEvent {
    StockReceived { sku: sku("cup"), quantity: pieces(count), reference: None }.into()
}

pub fn adjusted(delta: i64) -> StockEvent {
    StockAdjusted { sku: sku("cup"), delta, reason: "counted".to_owned() }.into()
}

pub fn reserved(count: i64) -> StockEvent {
    StockReserved { sku: sku("cup"), order_id: ID, quantity: pieces(count) }.into()
}

pub fn released(count: i64) -> StockEvent {
    StockReleased { sku: sku("cup"), order_id: ID, quantity: pieces(count) }.into()
}

pub fn shipped(count: i64) -> StockEvent {
    StockShipped { sku: sku("cup"), order_id: ID, quantity: pieces(count) }.into()
}

pub fn not_enough(wanted: i64, available: i64) -> StockRefusal {
    StockRefusal::NotEnough { sku: sku("cup"), wanted, available }
}

pub fn not_reserved(wanted: i64, reserved: i64) -> StockRefusal {
    StockRefusal::NotReserved { sku: sku("cup"), wanted, reserved }
}

pub fn too_much(received: i64) -> StockRefusal {
    StockRefusal::TooMuch { sku: sku("cup"), received, max: STOCK_PIECES_MAX }
}
