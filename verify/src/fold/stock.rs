//! The table `stock`, and its invariant: received = available + reserved + shipped, none below 0.

use events::StockEvent;
use verify_log::{Cell, Row};

/// The pieces of one SKU. No sum of 64-bit numbers overflows 128 bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces {
    pub received: i128,
    pub adjusted: i128,
    pub available: i128,
    pub reserved: i128,
    pub shipped: i128,
}

impl Pieces {
    pub fn fold(&mut self, event: &StockEvent) {
        match event {
            StockEvent::SkuRegistered(_) => {}
            StockEvent::StockReceived(event) => {
                let pieces = i128::from(event.quantity.get());
                self.received += pieces;
                self.available += pieces;
            }
            StockEvent::StockAdjusted(event) => {
                let pieces = i128::from(event.delta);
                self.received += pieces;
                self.adjusted += pieces;
                self.available += pieces;
            }
            StockEvent::StockReserved(event) => self.reserve(event.quantity.get()),
            StockEvent::StockReleased(event) => self.reserve(-event.quantity.get()),
            StockEvent::StockShipped(event) => {
                let pieces = i128::from(event.quantity.get());
                self.reserved -= pieces;
                self.shipped += pieces;
            }
        }
    }

    fn reserve(&mut self, pieces: i64) {
        self.available -= i128::from(pieces);
        self.reserved += i128::from(pieces);
    }

    /// What breaks the invariant, if anything does.
    pub fn broken(&self) -> Option<String> {
        let Self { received, available, reserved, shipped, .. } = self;
        let holds = *received == available + reserved + shipped
            && [available, reserved, shipped].into_iter().all(|pieces| *pieces >= 0);
        (!holds).then(|| {
            format!("received {received}, available {available}, reserved {reserved}, shipped {shipped}")
        })
    }

    pub fn row(&self, sku: &str, version: i32, position: i64) -> Row {
        let number = |pieces: i128| Cell::from(i64::try_from(pieces).unwrap_or(i64::MAX));
        Row::new([
            ("sku", sku.into()),
            ("received", number(self.received)),
            ("adjusted", number(self.adjusted)),
            ("available", number(self.available)),
            ("reserved", number(self.reserved)),
            ("shipped", number(self.shipped)),
            ("version", version.into()),
            ("position", position.into()),
        ])
    }
}
