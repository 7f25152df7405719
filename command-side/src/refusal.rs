//! What a client hears when an aggregate refuses: one status and one stable code for each refusal, exhaustively.
//!
//! Never: a wildcard arm (a new refusal must be given its code here before it compiles).
//! Read next: `domain/src/orders.rs` (where the refusals are made).

use axum::http::StatusCode;
use domain::{OrderRefusal, ShipmentRefusal, StockRefusal};
use runtime::Problem;

/// A refusal that a client can hear.
pub trait Refusal: std::error::Error {
    fn problem(&self) -> Problem;
}

impl Refusal for OrderRefusal {
    fn problem(&self) -> Problem {
        let says = |status, code: &'static str, title: &'static str| {
            Problem::new(status, code, title).detail(self.to_string())
        };
        let field = |code, title, field: String, allowed: String| {
            says(StatusCode::UNPROCESSABLE_ENTITY, code, title).field(field, self.to_string(), allowed)
        };
        let sums = || format!("sums up to {} minor units", i64::MAX);
        match self {
            Self::NotFound { order_id } => {
                says(StatusCode::NOT_FOUND, "order_not_found", "There is no such order")
                    .with("order_id", order_id)
            }
            Self::AlreadyPlaced { order_id } => {
                says(StatusCode::CONFLICT, "order_already_exists", "An order with this id exists already")
                    .with("order_id", order_id)
            }
            Self::LineCount { max, .. } => {
                let allowed = format!("1 to {max} lines");
                field("line_count", "The order has too few or too many lines", "lines".to_owned(), allowed)
            }
            Self::NegativePrice { line, .. } => {
                let at = format!("lines[{line}].unit_price_minor");
                field("negative_price", "A price is below 0", at, format!("0 to {}", i64::MAX))
            }
            Self::LineTotalTooLarge { line } => {
                field("line_total_too_large", "A line's total is too large", format!("lines[{line}]"), sums())
            }
            Self::TotalTooLarge => {
                field("total_too_large", "The order's total is too large", "lines".to_owned(), sums())
            }
            Self::TooManyPieces { .. } => {
                let allowed = format!("1 to {} pieces of one SKU", events::Quantity::MAX);
                field("too_many_pieces", "Too many pieces of one SKU", "lines".to_owned(), allowed)
            }
            Self::ShippingAddress { .. } => {
                let allowed = format!("1 to {} characters", events::Address::MAX_CHARS);
                let at = "shipping_address".to_owned();
                field("invalid_shipping_address", "The shipping address cannot be used", at, allowed)
            }
            Self::CannotBeCancelled { status, .. } => says(
                StatusCode::CONFLICT,
                "order_cannot_be_cancelled",
                "The order cannot be cancelled any more",
            )
            .with("order_status", status.name()),
            Self::OutOfStory { status, .. } => {
                says(StatusCode::CONFLICT, "order_out_of_story", "The order cannot take this step")
                    .with("order_status", status.name())
            }
        }
    }
}

impl Refusal for StockRefusal {
    fn problem(&self) -> Problem {
        let says = |status, code: &'static str, title: &'static str| {
            Problem::new(status, code, title).detail(self.to_string())
        };
        match self {
            Self::UnknownSku { sku } => {
                says(StatusCode::NOT_FOUND, "unknown_sku", "There is no such SKU").with("sku", sku)
            }
            Self::NotEnough { sku, wanted, available } => {
                says(StatusCode::CONFLICT, "not_enough_stock", "There is not enough stock")
                    .with("sku", sku)
                    .with("wanted", wanted)
                    .with("available", available)
            }
            Self::NotReserved { sku, wanted, reserved } => {
                says(StatusCode::CONFLICT, "not_enough_reserved", "There is not enough reserved stock")
                    .with("sku", sku)
                    .with("wanted", wanted)
                    .with("reserved", reserved)
            }
            Self::TooMuch { sku, max, .. } => {
                says(StatusCode::CONFLICT, "too_much_stock", "There would be too much stock to count")
                    .with("sku", sku)
                    .with("max", max)
            }
            Self::NothingToAdjust => {
                says(StatusCode::UNPROCESSABLE_ENTITY, "nothing_to_adjust", "The adjustment changes nothing")
                    .field("delta", "is 0", "a whole number other than 0")
            }
        }
    }
}

impl Refusal for ShipmentRefusal {
    fn problem(&self) -> Problem {
        let says = |status, code: &'static str, title: &'static str| {
            Problem::new(status, code, title).detail(self.to_string())
        };
        match self {
            Self::NotFound { shipment_id } => {
                says(StatusCode::NOT_FOUND, "shipment_not_found", "There is no such shipment (yet)")
                    .with("shipment_id", shipment_id)
            }
            Self::WrongState { state, allowed, .. } => says(
                StatusCode::CONFLICT,
                "shipment_wrong_state",
                "The shipment is not in a state to do this",
            )
            .with("shipment_state", state)
            .with("allowed_state", allowed),
        }
    }
}
