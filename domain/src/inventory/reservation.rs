//! What we allow with the reservation of an order: all its lines or none.
//!
//! A decision here writes to several streams: those of the SKUs and the reservation's own, in one append.
//! A release may come before the reservation that it undoes; it then leaves a tombstone, and the reservation is
//! never made. Read next: [`crate::payments`].

use std::collections::BTreeMap;

use events::inventory::{
    ReleaseCause, ReservationCommitted, ReservationMade, ReservationRefused, ReservationReleased,
};
use events::{
    CustomerId, Event, Money, OrderId, Quantity, ReservationEvent, Shortage, Sku, SkuQuantity, StreamId,
};

use crate::{Aggregate, StockCommand, StockItem, StockRefusal, Write};

/// The reservation of one order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reservation {
    #[default]
    None,
    Made {
        items: Vec<SkuQuantity>,
    },
    Refused,
    Released,
    Committed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationCommand {
    /// `items`: one entry per SKU, as `domain/src/orders.rs`'s `per_sku` makes them.
    Reserve {
        order_id: OrderId,
        items: Vec<SkuQuantity>,
        customer_id: CustomerId,
        amount_due: Money,
    },
    Release {
        order_id: OrderId,
        cause: ReleaseCause,
    },
    Commit {
        order_id: OrderId,
    },
}

/// A step that the story cannot come to: the log contradicts itself. Park it for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReservationRefusal {
    #[error("the reservation of order {order_id} is {state}: it cannot be committed")]
    NotMade { order_id: OrderId, state: &'static str },
    #[error("the reservation of order {order_id} is committed: it cannot be released")]
    Committed { order_id: OrderId },
    #[error(transparent)]
    Stock(#[from] StockRefusal),
}

impl Reservation {
    /// The SKUs whose stock a decision on `command` reads and writes: load these first.
    pub fn skus_touched(&self, command: &ReservationCommand) -> Vec<Sku> {
        let items = match (self, command) {
            (Self::None, ReservationCommand::Reserve { items, .. }) => items,
            (
                Self::Made { items },
                ReservationCommand::Release { .. } | ReservationCommand::Commit { .. },
            ) => items,
            _ => return Vec::new(),
        };
        items.iter().map(|item| item.sku.clone()).collect()
    }

    /// What happens to every stream that takes part. An empty list: the command is already fulfilled, or undone.
    ///
    /// `stock` holds the item of every SKU of [`Self::skus_touched`]; a SKU that is absent has no stock.
    ///
    /// # Errors
    /// [`ReservationRefusal`]. A shortage is no error: it is the event [`ReservationRefused`].
    pub fn decide_with_stock(
        &self,
        command: &ReservationCommand,
        stock: &BTreeMap<Sku, StockItem>,
    ) -> Result<Vec<Write>, ReservationRefusal> {
        match (self, command) {
            (Self::None, ReservationCommand::Reserve { order_id, items, customer_id, amount_due }) => {
                let shortages = shortages(items, stock);
                if !shortages.is_empty() {
                    return Ok(vec![of(*order_id, ReservationRefused { order_id: *order_id, shortages })]);
                }
                let made = ReservationMade {
                    order_id: *order_id,
                    items: items.clone(),
                    customer_id: customer_id.clone(),
                    amount_due: *amount_due,
                };
                with_stock(items, stock, of(*order_id, made), |sku, quantity| StockCommand::Reserve {
                    sku,
                    order_id: *order_id,
                    quantity,
                })
            }
            (
                Self::Made { .. } | Self::Refused | Self::Released | Self::Committed,
                ReservationCommand::Reserve { .. },
            ) => Ok(Vec::new()),
            (Self::None, ReservationCommand::Release { order_id, cause }) => {
                Ok(vec![of(*order_id, released(*order_id, Vec::new(), cause))])
            }
            (Self::Made { items }, ReservationCommand::Release { order_id, cause }) => {
                let released = released(*order_id, items.clone(), cause);
                with_stock(items, stock, of(*order_id, released), |sku, quantity| StockCommand::Release {
                    sku,
                    order_id: *order_id,
                    quantity,
                })
            }
            (Self::Refused | Self::Released, ReservationCommand::Release { .. }) => Ok(Vec::new()),
            (Self::Committed, ReservationCommand::Release { order_id, .. }) => {
                Err(ReservationRefusal::Committed { order_id: *order_id })
            }
            (Self::Made { items }, ReservationCommand::Commit { order_id }) => {
                let committed = ReservationCommitted { order_id: *order_id, items: items.clone() };
                with_stock(items, stock, of(*order_id, committed), |sku, quantity| StockCommand::Ship {
                    sku,
                    order_id: *order_id,
                    quantity,
                })
            }
            (Self::Committed, ReservationCommand::Commit { .. }) => Ok(Vec::new()),
            (Self::None | Self::Refused | Self::Released, ReservationCommand::Commit { order_id }) => {
                Err(ReservationRefusal::NotMade { order_id: *order_id, state: self.state() })
            }
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::None => "not there",
            Self::Made { .. } => "made",
            Self::Refused => "refused",
            Self::Released => "released",
            Self::Committed => "committed",
        }
    }
}

impl Aggregate for Reservation {
    type Command = ReservationCommand;
    type Event = ReservationEvent;
    type Refusal = ReservationRefusal;

    /// Decides as if there were no stock at all: a reservation is short of everything. The platform calls
    /// [`Reservation::decide_with_stock`].
    fn decide(&self, command: &ReservationCommand) -> Result<Vec<ReservationEvent>, ReservationRefusal> {
        let writes = self.decide_with_stock(command, &BTreeMap::new())?;
        Ok(writes.into_iter().flat_map(|write| write.events).filter_map(Self::event_of).collect())
    }

    fn evolve(self, event: &ReservationEvent) -> Self {
        match event {
            ReservationEvent::ReservationMade(event) => Self::Made { items: event.items.clone() },
            ReservationEvent::ReservationRefused(_) => Self::Refused,
            ReservationEvent::ReservationReleased(_) => Self::Released,
            ReservationEvent::ReservationCommitted(_) => Self::Committed,
        }
    }

    fn event_of(event: Event) -> Option<ReservationEvent> {
        match event {
            Event::Reservation(event) => Some(event),
            Event::Order(_) | Event::Stock(_) | Event::Payment(_) | Event::Shipment(_) => None,
        }
    }
}

fn of(order_id: OrderId, event: impl Into<ReservationEvent>) -> Write {
    Write { stream: StreamId::reservation(order_id), events: vec![Event::Reservation(event.into())] }
}

fn released(order_id: OrderId, items: Vec<SkuQuantity>, cause: &ReleaseCause) -> ReservationReleased {
    ReservationReleased { order_id, items, cause: cause.clone() }
}

fn shortages(items: &[SkuQuantity], stock: &BTreeMap<Sku, StockItem>) -> Vec<Shortage> {
    items
        .iter()
        .filter_map(|item| {
            let available = stock.get(&item.sku).map_or(0, StockItem::available);
            let wanted = item.quantity.get();
            (wanted > available).then(|| Shortage { sku: item.sku.clone(), wanted, available })
        })
        .collect()
}

/// The reservation's own write first, then one write per SKU.
fn with_stock(
    items: &[SkuQuantity],
    stock: &BTreeMap<Sku, StockItem>,
    own: Write,
    command: impl Fn(Sku, Quantity) -> StockCommand,
) -> Result<Vec<Write>, ReservationRefusal> {
    let nothing = StockItem::default();
    let mut writes = vec![own];
    for item in items {
        let stock_item = stock.get(&item.sku).unwrap_or(&nothing);
        let events = stock_item.decide(&command(item.sku.clone(), item.quantity))?;
        writes.push(Write {
            stream: StreamId::stock(&item.sku),
            events: events.into_iter().map(Event::Stock).collect(),
        });
    }
    Ok(writes)
}
