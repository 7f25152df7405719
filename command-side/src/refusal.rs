//! Responses to an aggregate's refusals: one status and one stable code for each refusal. No match has a wildcard arm,
//! so a new refusal must get its code here before it compiles.

use axum::http::StatusCode;
use domain::{OrderRefusal, ShipmentRefusal, StockRefusal};
use runtime::Problem;

/// A refusal that a client can cause.
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
                says(StatusCode::NOT_FOUND, "order_not_found", "Order not found").with("order_id", order_id)
            }
            Self::AlreadyPlaced { order_id } => {
                says(StatusCode::CONFLICT, "order_already_exists", "Order already exists")
                    .with("order_id", order_id)
            }
            Self::LineCount { max, .. } => {
                let allowed = format!("1 to {max} lines");
                field("line_count", "Invalid number of lines", "lines".to_owned(), allowed)
            }
            Self::NegativePrice { line, .. } => {
                let at = format!("lines[{line}].unit_price_minor");
                field("negative_price", "Negative price", at, format!("0 to {}", i64::MAX))
            }
            Self::LineTotalTooLarge { line } => {
                field("line_total_too_large", "Line total too large", format!("lines[{line}]"), sums())
            }
            Self::TotalTooLarge => {
                field("total_too_large", "Order total too large", "lines".to_owned(), sums())
            }
            Self::TooManyPieces { .. } => {
                let allowed = format!("1 to {} pieces of one SKU", events::Quantity::MAX);
                field("too_many_pieces", "Too many pieces of one SKU", "lines".to_owned(), allowed)
            }
            Self::ShippingAddress { .. } => {
                let allowed = format!("1 to {} characters", events::Address::MAX_CHARS);
                let at = "shipping_address".to_owned();
                field("invalid_shipping_address", "Invalid shipping address", at, allowed)
            }
            Self::CannotBeCancelled { status, .. } => {
                says(StatusCode::CONFLICT, "order_cannot_be_cancelled", "Order cannot be cancelled")
                    .with("order_status", status.name())
            }
            Self::InvalidTransition { status, .. } => {
                says(StatusCode::CONFLICT, "invalid_order_transition", "Invalid order transition")
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
                says(StatusCode::NOT_FOUND, "unknown_sku", "Unknown SKU").with("sku", sku)
            }
            Self::NotEnough { sku, wanted, available } => {
                says(StatusCode::CONFLICT, "not_enough_stock", "Not enough stock")
                    .with("sku", sku)
                    .with("wanted", wanted)
                    .with("available", available)
            }
            Self::NotReserved { sku, wanted, reserved } => {
                says(StatusCode::CONFLICT, "not_enough_reserved", "Not enough reserved stock")
                    .with("sku", sku)
                    .with("wanted", wanted)
                    .with("reserved", reserved)
            }
            Self::TooMuch { sku, max, .. } => says(StatusCode::CONFLICT, "too_much_stock", "Too much stock")
                .with("sku", sku)
                .with("max", max),
            Self::NothingToAdjust => says(
                StatusCode::UNPROCESSABLE_ENTITY,
                "nothing_to_adjust",
                "Nothing to adjust",
            )
            .field("delta", "is 0", "a whole number other than 0"),
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
                says(StatusCode::NOT_FOUND, "shipment_not_found", "Shipment not found")
                    .with("shipment_id", shipment_id)
            }
            Self::WrongState { state, allowed, .. } => {
                says(StatusCode::CONFLICT, "shipment_wrong_state", "Wrong shipment state")
                    .with("shipment_state", state)
                    .with("allowed_state", allowed)
            }
        }
    }
}
