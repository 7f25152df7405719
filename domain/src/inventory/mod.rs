//! What we allow with goods: the stock of one SKU, and the reservation of an order.

pub mod reservation;
pub mod stock_item;
