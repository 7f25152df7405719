//! The rules of Inventory: the stock of one SKU, and the reservation of an order.

pub mod reservation;
pub mod stock_item;
