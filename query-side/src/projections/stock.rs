//! One row per SKU: what `GET /v1/stock` answers.
//!
//! The law of stock shows in every row: received = available + reserved + shipped.
//! Never: a number that is not the sum of the item's events. Read next: [`super::payments`].

use events::{Context, Envelope, Event, Position, StockEvent, Version};
use fault::mutant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::projection::{FedBy, Projection};

pub struct Stock;

/// The stock of one SKU, in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Stock)]
pub struct Row {
    pub sku: String,
    /// Receipts plus adjustments.
    pub received: i64,
    /// How much of `received` came from adjustments.
    pub adjusted: i64,
    pub available: i64,
    pub reserved: i64,
    pub shipped: i64,
    /// The version of the item's stream; also the `ETag`.
    pub version: Version,
    pub position: Position,
}

impl Projection for Stock {
    const NAME: &'static str = "stock";
    const TABLE: &'static str = "stock";
    const KEY: &'static str = "sku";
    const CONTEXTS: &'static [Context] = &[Context::Inventory];
    const FED_BY: FedBy = FedBy::OneStream;
    type Row = Row;

    fn key(event: &Envelope) -> Option<String> {
        match event.event {
            Event::StockItem(_) => Some(event.stream.key().to_owned()),
            Event::Order(_) | Event::Reservation(_) | Event::Payment(_) | Event::Shipment(_) => None,
        }
    }

    fn apply(row: Option<Row>, event: &Envelope) -> Option<Row> {
        let Event::StockItem(stock_event) = &event.event else { return row };
        let row = row.unwrap_or_else(|| Row { sku: event.stream.key().to_owned(), ..Row::default() });
        if row.version >= event.version && !mutant!("projector::version_not_checked") {
            return Some(row);
        }
        let row = evolve(row, stock_event);
        Some(Row { version: event.version, position: event.position, ..row })
    }
}

/// The sums stay within 64 bits: the inventory refuses more than `domain::inventory::stock_item::STOCK_PIECES_MAX` pieces.
fn evolve(row: Row, event: &StockEvent) -> Row {
    match event {
        StockEvent::SkuRegistered(_) => row,
        StockEvent::StockReceived(event) => {
            let pieces = event.quantity.get();
            Row { received: row.received + pieces, available: row.available + pieces, ..row }
        }
        StockEvent::StockAdjusted(event) => Row {
            received: row.received + event.delta,
            adjusted: row.adjusted + event.delta,
            available: row.available + event.delta,
            ..row
        },
        StockEvent::StockReserved(event) => {
            let pieces = event.quantity.get();
            Row { available: row.available - pieces, reserved: row.reserved + pieces, ..row }
        }
        StockEvent::StockReleased(event) => {
            let pieces = event.quantity.get();
            if mutant!("projector::release_in_the_wrong_column") {
                return Row { reserved: row.reserved - pieces, shipped: row.shipped + pieces, ..row };
            }
            Row { available: row.available + pieces, reserved: row.reserved - pieces, ..row }
        }
        StockEvent::StockShipped(event) => {
            let pieces = event.quantity.get();
            Row { reserved: row.reserved - pieces, shipped: row.shipped + pieces, ..row }
        }
    }
}
