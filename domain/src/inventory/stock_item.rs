//! The rules of one SKU's stock.
//!
//! The invariant: received = available + reserved + shipped at every version, and no number is ever below 0.

use event_log::{Aggregate, SnapshotForm, State, StreamId, shape_of};
use events::inventory::{
    SkuRegistered, StockAdjusted, StockReceived, StockReleased, StockReserved, StockShipped,
};
use events::{OrderId, Quantity, Sku, StockEvent};
use serde::{Deserialize, Serialize};

/// The maximum of pieces received of one SKU over its whole history.
pub const STOCK_PIECES_MAX: i64 = 1_000_000_000_000_000;

/// The stock of one SKU, in pieces. Its history may be long, so it has snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockItem {
    registered: bool,
    /// Receipts plus adjustments.
    received: i64,
    available: i64,
    reserved: i64,
    shipped: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum StockCommand {
    RegisterSku {
        sku: Sku,
    },
    /// Also registers the SKU if it is new.
    ReceiveStock {
        sku: Sku,
        quantity: Quantity,
        reference: Option<String>,
    },
    /// Corrects a count; reserved and shipped pieces do not change.
    AdjustStock {
        sku: Sku,
        delta: i64,
        reason: String,
    },
    Reserve {
        sku: Sku,
        order_id: OrderId,
        quantity: Quantity,
    },
    Release {
        sku: Sku,
        order_id: OrderId,
        quantity: Quantity,
    },
    Ship {
        sku: Sku,
        order_id: OrderId,
        quantity: Quantity,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    #[error("{sku} is not known: receive or register it first")]
    UnknownSku { sku: Sku },
    #[error("{sku}: wanted {wanted}, available {available}")]
    NotEnough { sku: Sku, wanted: i64, available: i64 },
    #[error("{sku}: wanted {wanted} out of the reserved, reserved {reserved}")]
    NotReserved { sku: Sku, wanted: i64, reserved: i64 },
    #[error("{sku}: would make {received} pieces received, the maximum is {max}")]
    TooMuch { sku: Sku, received: i64, max: i64 },
    #[error("an adjustment must not be 0")]
    NothingToAdjust,
}

impl StockItem {
    pub fn received(&self) -> i64 {
        self.received
    }

    pub fn available(&self) -> i64 {
        self.available
    }

    pub fn reserved(&self) -> i64 {
        self.reserved
    }

    pub fn shipped(&self) -> i64 {
        self.shipped
    }

    fn check_room(&self, sku: &Sku, delta: i64) -> Result<(), StockRefusal> {
        let received = self.received.saturating_add(delta);
        if received > STOCK_PIECES_MAX {
            return Err(StockRefusal::TooMuch { sku: sku.clone(), received, max: STOCK_PIECES_MAX });
        }
        Ok(())
    }

    fn check_available(&self, sku: &Sku, wanted: i64) -> Result<(), StockRefusal> {
        if wanted > self.available {
            return Err(StockRefusal::NotEnough { sku: sku.clone(), wanted, available: self.available });
        }
        Ok(())
    }

    fn check_reserved(&self, sku: &Sku, wanted: i64) -> Result<(), StockRefusal> {
        if wanted > self.reserved {
            return Err(StockRefusal::NotReserved { sku: sku.clone(), wanted, reserved: self.reserved });
        }
        Ok(())
    }

    fn registration(&self, sku: &Sku) -> Option<StockEvent> {
        (!self.registered).then(|| SkuRegistered { sku: sku.clone() }.into())
    }
}

impl State for StockItem {
    type Event = StockEvent;

    const CATEGORY: &'static str = "stock";

    const SNAPSHOT: Option<SnapshotForm<Self>> = Some(SnapshotForm {
        shape: shape_of(include_str!("stock_item.rs"), events::inventory::SOURCES),
        write: |item| serde_json::to_string(item).expect("a stock item is plain data"),
        read: |text| serde_json::from_str(text).ok(),
    });

    fn evolve(self, event: &StockEvent) -> Self {
        match event {
            StockEvent::SkuRegistered(_) => Self { registered: true, ..self },
            StockEvent::StockReceived(event) => {
                let pieces = event.quantity.get();
                Self { received: self.received + pieces, available: self.available + pieces, ..self }
            }
            StockEvent::StockAdjusted(event) => Self {
                received: self.received + event.delta,
                available: self.available + event.delta,
                ..self
            },
            StockEvent::StockReserved(event) => {
                let pieces = event.quantity.get();
                Self { available: self.available - pieces, reserved: self.reserved + pieces, ..self }
            }
            StockEvent::StockReleased(event) => {
                let pieces = event.quantity.get();
                Self { available: self.available + pieces, reserved: self.reserved - pieces, ..self }
            }
            StockEvent::StockShipped(event) => {
                let pieces = event.quantity.get();
                Self { reserved: self.reserved - pieces, shipped: self.shipped + pieces, ..self }
            }
        }
    }
}

impl Aggregate for StockItem {
    type Command = StockCommand;
    type Refusal = StockRefusal;

    fn stream(command: &StockCommand) -> StreamId {
        let (StockCommand::RegisterSku { sku }
        | StockCommand::ReceiveStock { sku, .. }
        | StockCommand::AdjustStock { sku, .. }
        | StockCommand::Reserve { sku, .. }
        | StockCommand::Release { sku, .. }
        | StockCommand::Ship { sku, .. }) = command;
        events::inventory::stock_stream(sku)
    }

    fn decide(&self, command: &StockCommand) -> Result<Vec<StockEvent>, StockRefusal> {
        match command.clone() {
            StockCommand::RegisterSku { sku } => Ok(self.registration(&sku).into_iter().collect()),
            StockCommand::ReceiveStock { sku, quantity, reference } => {
                self.check_room(&sku, quantity.get())?;
                let registration = self.registration(&sku);
                let received = StockReceived { sku, quantity, reference }.into();
                Ok(registration.into_iter().chain([received]).collect())
            }
            StockCommand::AdjustStock { sku, delta, reason } => {
                if delta == 0 {
                    return Err(StockRefusal::NothingToAdjust);
                }
                if !self.registered {
                    return Err(StockRefusal::UnknownSku { sku });
                }
                self.check_room(&sku, delta)?;
                self.check_available(&sku, delta.checked_neg().unwrap_or(i64::MAX))?;
                Ok(vec![StockAdjusted { sku, delta, reason }.into()])
            }
            StockCommand::Reserve { sku, order_id, quantity } => {
                self.check_available(&sku, quantity.get())?;
                Ok(vec![StockReserved { sku, order_id, quantity }.into()])
            }
            StockCommand::Release { sku, order_id, quantity } => {
                self.check_reserved(&sku, quantity.get())?;
                Ok(vec![StockReleased { sku, order_id, quantity }.into()])
            }
            StockCommand::Ship { sku, order_id, quantity } => {
                self.check_reserved(&sku, quantity.get())?;
                Ok(vec![StockShipped { sku, order_id, quantity }.into()])
            }
        }
    }
}
