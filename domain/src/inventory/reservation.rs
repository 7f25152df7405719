//! The rules of an order's reservation: all its lines are reserved, or none.
//!
//! A decision here reads and writes several streams in one append: those of the SKUs and the reservation's own. A
//! release may arrive before the reservation that it undoes. It then leaves a tombstone, and the reservation is never
//! made.

use event_log::{Aggregate, Decide, Decision, DecisionOf, Others, State, StreamId};
use events::inventory::{
    ReleaseCause, ReservationCommitted, ReservationMade, ReservationRefused, ReservationReleased,
    stock_stream,
};
use events::{CustomerId, Money, OrderId, Quantity, ReservationEvent, Shortage, Sku, SkuQuantity};
use fault::mutant;

use crate::{StockCommand, StockItem, StockRefusal};

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

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum ReservationCommand {
    /// `items`: one entry per SKU, as `per_sku` in `domain/src/orders.rs` returns them.
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

/// A transition that the process cannot reach: the log contradicts itself. Park the event for an operator.
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

impl State for Reservation {
    type Event = ReservationEvent;

    const CATEGORY: &'static str = "reservation";

    fn evolve(self, event: &ReservationEvent) -> Self {
        match event {
            ReservationEvent::ReservationMade(event) => Self::Made { items: event.items.clone() },
            ReservationEvent::ReservationRefused(_) => Self::Refused,
            ReservationEvent::ReservationReleased(_) if mutant!("compensation::release_forgotten") => self,
            ReservationEvent::ReservationReleased(_) => Self::Released,
            ReservationEvent::ReservationCommitted(_) => Self::Committed,
        }
    }
}

impl Decide for Reservation {
    type Command = ReservationCommand;
    type Refusal = ReservationRefusal;
    type Other = StockItem;

    fn own_stream(command: &ReservationCommand) -> StreamId {
        let (ReservationCommand::Reserve { order_id, .. }
        | ReservationCommand::Release { order_id, .. }
        | ReservationCommand::Commit { order_id }) = command;
        events::inventory::reservation_stream(*order_id)
    }

    /// The stock of each SKU whose pieces the command moves.
    fn reads(&self, command: &ReservationCommand) -> Vec<StreamId> {
        let items = match (self, command) {
            (Self::None, ReservationCommand::Reserve { items, .. }) => items,
            (
                Self::Made { items },
                ReservationCommand::Release { .. } | ReservationCommand::Commit { .. },
            ) => items,
            _ => return Vec::new(),
        };
        items.iter().map(|item| stock_stream(&item.sku)).collect()
    }

    /// A shortage is not a refusal; it is the event [`ReservationRefused`].
    fn decide_with(
        &self,
        command: &ReservationCommand,
        stock: &Others<'_, StockItem>,
    ) -> Result<DecisionOf<Self>, ReservationRefusal> {
        match (self, command) {
            (Self::None, ReservationCommand::Reserve { order_id, items, customer_id, amount_due }) => {
                let shortages = shortages(items, stock);
                if !shortages.is_empty() {
                    let refused = ReservationRefused { order_id: *order_id, shortages };
                    return Ok(Decision::own([refused.into()]));
                }
                let made = ReservationMade {
                    order_id: *order_id,
                    items: items.clone(),
                    customer_id: customer_id.clone(),
                    amount_due: *amount_due,
                };
                with_stock(items, stock, made, |sku, quantity| StockCommand::Reserve {
                    sku,
                    order_id: *order_id,
                    quantity,
                })
            }
            (
                Self::Made { .. } | Self::Refused | Self::Released | Self::Committed,
                ReservationCommand::Reserve { .. },
            ) => Ok(Decision::NOTHING),
            (Self::None, ReservationCommand::Release { order_id, cause }) => {
                Ok(Decision::own([released(*order_id, Vec::new(), cause).into()]))
            }
            (Self::Made { items }, ReservationCommand::Release { order_id, cause }) => {
                let released = released(*order_id, items.clone(), cause);
                with_stock(items, stock, released, |sku, quantity| StockCommand::Release {
                    sku,
                    order_id: *order_id,
                    quantity,
                })
            }
            (Self::Refused | Self::Released, ReservationCommand::Release { .. }) => Ok(Decision::NOTHING),
            (Self::Committed, ReservationCommand::Release { order_id, .. }) => {
                Err(ReservationRefusal::Committed { order_id: *order_id })
            }
            (Self::Made { items }, ReservationCommand::Commit { order_id }) => {
                let committed = ReservationCommitted { order_id: *order_id, items: items.clone() };
                with_stock(items, stock, committed, |sku, quantity| StockCommand::Ship {
                    sku,
                    order_id: *order_id,
                    quantity,
                })
            }
            (Self::Committed, ReservationCommand::Commit { .. }) => Ok(Decision::NOTHING),
            (Self::None | Self::Refused | Self::Released, ReservationCommand::Commit { order_id }) => {
                Err(ReservationRefusal::NotMade { order_id: *order_id, state: self.state() })
            }
        }
    }
}

fn released(order_id: OrderId, items: Vec<SkuQuantity>, cause: &ReleaseCause) -> ReservationReleased {
    ReservationReleased { order_id, items, cause: cause.clone() }
}

fn shortages(items: &[SkuQuantity], stock: &Others<'_, StockItem>) -> Vec<Shortage> {
    items
        .iter()
        .filter_map(|item| {
            let available = stock.get(&stock_stream(&item.sku)).map_or(0, StockItem::available);
            let wanted = item.quantity.get();
            (wanted > available).then(|| Shortage { sku: item.sku.clone(), wanted, available })
        })
        .collect()
}

/// The reservation's own event, and one command on the stock of each SKU.
fn with_stock(
    items: &[SkuQuantity],
    stock: &Others<'_, StockItem>,
    own: impl Into<ReservationEvent>,
    command: impl Fn(Sku, Quantity) -> StockCommand,
) -> Result<DecisionOf<Reservation>, ReservationRefusal> {
    let nothing = StockItem::default();
    let mut decision = Decision::own([own.into()]);
    for item in items {
        let stream = stock_stream(&item.sku);
        let stock_item = stock.get(&stream).unwrap_or(&nothing);
        let events = stock_item.decide(&command(item.sku.clone(), item.quantity))?;
        decision.others.push((stream, events));
    }
    Ok(decision)
}
