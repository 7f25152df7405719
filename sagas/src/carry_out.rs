//! One reaction, in a unit of work: load, decide, note what was decided.
//!
//! Never: a query per line of an order (what a batch needs is fetched first, [`prefetch`]), or a rule (`domain` has
//! them). Read next: [`crate::payments`].

use std::collections::BTreeMap;

use domain::{Aggregate, Order, Payment, Reservation, ReservationCommand, Shipment, StockItem};
use event_store::{StoreError, UnitOfWork};
use events::{Metadata, Sku, StreamId};

use crate::order_fulfilment::{Reaction, payments::may_expire};
use crate::payments::Wake;

/// Why a reaction was not carried out. Nothing of it is in the unit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The story cannot come here, or what the decision stands on cannot be read by this build: park the trigger.
    #[error("{0}")]
    Park(String),
    /// Try the whole unit again later.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable { .. } => Self::Park(error.to_string()),
            error => Self::Store(error),
        }
    }
}

/// Loads what the reactions decide on: one query per kind of aggregate.
pub(crate) async fn prefetch(work: &mut UnitOfWork, reactions: &[&Reaction]) -> Result<(), StoreError> {
    let mut streams: [Vec<StreamId>; 4] = Default::default();
    for reaction in reactions {
        let kind = match reaction {
            Reaction::Order(_) => 0,
            Reaction::Reservation(_) => 1,
            Reaction::Payment(_) => 2,
            Reaction::Shipment(_) => 3,
        };
        streams[kind].push(reaction.stream());
    }
    let [orders, reservations, payments, shipments] = streams;
    fetch::<Order>(work, orders).await?;
    fetch::<Reservation>(work, reservations).await?;
    fetch::<Payment>(work, payments).await?;
    fetch::<Shipment>(work, shipments).await?;
    let mut stock = Vec::new();
    for reaction in reactions {
        if let Reaction::Reservation(command) = reaction
            && let Some(reservation) = work.loaded::<Reservation>(&reaction.stream())
        {
            stock.extend(reservation.skus_touched(command).iter().map(events::inventory::stock_stream));
        }
    }
    fetch::<StockItem>(work, stock).await
}

async fn fetch<A: Aggregate>(work: &mut UnitOfWork, mut streams: Vec<StreamId>) -> Result<(), StoreError> {
    streams.sort_unstable();
    streams.dedup();
    match work.prefetch::<A>(&streams).await {
        // Whoever needs the one that cannot be read will come to know; the others need not.
        Err(StoreError::Unreadable { .. }) => Ok(()),
        fetched => fetched,
    }
}

/// How many events came of it: 0 when the command is already fulfilled, or undone.
pub(crate) async fn carry_out(
    work: &mut UnitOfWork,
    reaction: &Reaction,
    metadata: &Metadata,
) -> Result<usize, Trouble> {
    let stream = reaction.stream();
    match reaction {
        Reaction::Order(command) => decide::<Order>(work, &stream, command, metadata).await,
        Reaction::Reservation(command) => reserve(work, &stream, command, metadata).await,
        Reaction::Payment(command) => pay(work, &stream, command, metadata).await,
        Reaction::Shipment(command) => decide::<Shipment>(work, &stream, command, metadata).await,
    }
}

async fn decide<A: Aggregate>(
    work: &mut UnitOfWork,
    stream: &StreamId,
    command: &A::Command,
    metadata: &Metadata,
) -> Result<usize, Trouble> {
    let decided = work.decide::<A>(stream, command, metadata).await?;
    decided.map(|decided| decided.events).map_err(|refusal| Trouble::Park(refusal.to_string()))
}

/// A decision over the reservation and the stock of all its SKUs: all of them or none.
async fn reserve(
    work: &mut UnitOfWork,
    stream: &StreamId,
    command: &ReservationCommand,
    metadata: &Metadata,
) -> Result<usize, Trouble> {
    let reservation = work.load::<Reservation>(stream).await?.clone();
    let mut stock = BTreeMap::<Sku, StockItem>::new();
    for sku in reservation.skus_touched(command) {
        let item = work.load::<StockItem>(&events::inventory::stock_stream(&sku)).await?.clone();
        stock.insert(sku, item);
    }
    let writes = reservation
        .decide_with_stock(command, &stock)
        .map_err(|refusal| Trouble::Park(refusal.to_string()))?;
    let mut events = 0;
    for write in writes {
        events += write.events.len();
        if write.stream == *stream {
            work.write::<Reservation>(&write.stream, write.events, metadata);
        } else {
            work.write::<StockItem>(&write.stream, write.events, metadata);
        }
    }
    Ok(events)
}

/// A decision on a payment, with the deadline that goes with it: it stands exactly while the outcome is open.
pub(crate) async fn pay(
    work: &mut UnitOfWork,
    stream: &StreamId,
    command: &domain::PaymentCommand,
    metadata: &Metadata,
) -> Result<usize, Trouble> {
    let stood = may_expire(work.load::<Payment>(stream).await?);
    let events = decide::<Payment>(work, stream, command, metadata).await?;
    let payment = work.load::<Payment>(stream).await?;
    match (stood, may_expire(payment), payment.request()) {
        (false, true, Some(request)) => {
            let (order_id, expires_at) = (request.order_id, request.expires_at);
            let wake = Wake::expire(metadata);
            work.set_deadline(&Wake::expire_id(order_id), stream, expires_at, wake.to_json());
        }
        (true, false, Some(request)) => {
            let order_id = request.order_id;
            work.clear_deadline(&Wake::expire_id(order_id));
        }
        (_, _, _) => {}
    }
    Ok(events)
}
