//! A warehouse of some SKUs and some orders' reservations, on which commands are decided and applied, stream by stream,
//! as the platform does it.

use std::collections::BTreeMap;

use domain::inventory::reservation::ReservationRefusal;
use domain::{Decide, Reservation, ReservationCommand, State, StockItem};
use events::inventory::{
    ReleaseCause, ReservationCommitted, ReservationMade, ReservationRefused, ReservationReleased,
    StockReceived, StockReleased, StockReserved, StockShipped,
};
use events::{Event, OrderId, ReservationEvent, Shortage, Sku, SkuQuantity, StockEvent, StreamId};

use super::{ada, pieces, pounds, sku};

/// The events that a decision adds to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub stream: StreamId,
    pub events: Vec<Event>,
}

/// Every SKU's stock and every order's reservation.
#[derive(Debug, Clone, Default)]
pub struct Warehouse {
    pub stock: BTreeMap<Sku, StockItem>,
    pub reservations: BTreeMap<OrderId, Reservation>,
}

impl Warehouse {
    /// A warehouse with this many pieces of each SKU.
    pub fn with(stock: &[(&str, i64)]) -> Self {
        let mut warehouse = Self::default();
        for (name, count) in stock {
            let received = StockReceived { sku: sku(name), quantity: pieces(*count), reference: None };
            warehouse.apply(&write(events::inventory::stock_stream(&sku(name)), StockEvent::from(received)));
        }
        warehouse
    }

    /// The decision as the platform makes it: it loads the reservation and the streams that the decision declares, and
    /// nothing else.
    pub fn decide(&self, command: &ReservationCommand) -> Result<Vec<Write>, ReservationRefusal> {
        let nothing = Reservation::default();
        let own = Reservation::own_stream(command);
        let reservation =
            events::order_of(&own).and_then(|id| self.reservations.get(&id)).unwrap_or(&nothing);
        let loaded = reservation.reads(command).into_iter().filter_map(|stream| {
            let sku: Sku = stream.key().parse().expect("a stock stream is named after its SKU");
            self.stock.get(&sku).map(|item| (stream, item))
        });
        let decision = reservation.decide_with(command, &loaded.collect())?;
        let own = Write { stream: own, events: decision.own.into_iter().map(Event::from).collect() };
        let others = decision
            .others
            .into_iter()
            .map(|(stream, events)| Write { stream, events: events.into_iter().map(Event::from).collect() });
        Ok([own].into_iter().filter(|own| !own.events.is_empty()).chain(others).collect())
    }

    pub fn apply(&mut self, write: &Write) {
        for event in &write.events {
            match event {
                Event::StockItem(event) => {
                    let sku = write.stream.key().parse().expect("a stock stream is named after its SKU");
                    let item = self.stock.entry(sku).or_default();
                    *item = std::mem::take(item).evolve(event);
                }
                Event::Reservation(event) => {
                    let id = events::order_of(&write.stream)
                        .expect("a reservation's stream is named after its order");
                    let reservation = self.reservations.entry(id).or_default();
                    *reservation = std::mem::take(reservation).evolve(event);
                }
                other => panic!("a reservation wrote {other:?}"),
            }
        }
    }

    /// Decides and applies.
    #[track_caller]
    pub fn after(mut self, command: ReservationCommand) -> Self {
        let writes = self.decide(&command).expect("a history is made of accepted commands");
        writes.iter().for_each(|write| self.apply(write));
        self
    }

    #[track_caller]
    pub fn writes(self, command: ReservationCommand, expected: impl IntoIterator<Item = Write>) {
        assert_eq!(self.decide(&command), Ok(expected.into_iter().collect()));
    }

    #[track_caller]
    pub fn writes_nothing(self, command: ReservationCommand) {
        self.writes(command, []);
    }

    #[track_caller]
    pub fn refuses(self, command: ReservationCommand, expected: ReservationRefusal) {
        assert_eq!(self.decide(&command), Err(expected));
    }
}

pub fn reserve(order_id: OrderId, items: Vec<SkuQuantity>) -> ReservationCommand {
    ReservationCommand::Reserve { order_id, items, customer_id: ada(), amount_due: pounds(1800) }
}

pub fn release(order_id: OrderId, cause: ReleaseCause) -> ReservationCommand {
    ReservationCommand::Release { order_id, cause }
}

pub fn commit(order_id: OrderId) -> ReservationCommand {
    ReservationCommand::Commit { order_id }
}

pub fn made(order_id: OrderId, items: Vec<SkuQuantity>) -> Write {
    let made = ReservationMade { order_id, items, customer_id: ada(), amount_due: pounds(1800) };
    write(events::inventory::reservation_stream(order_id), ReservationEvent::from(made))
}

pub fn refused(order_id: OrderId, shortages: Vec<Shortage>) -> Write {
    let refused = ReservationRefused { order_id, shortages };
    write(events::inventory::reservation_stream(order_id), ReservationEvent::from(refused))
}

pub fn released(order_id: OrderId, items: Vec<SkuQuantity>, cause: ReleaseCause) -> Write {
    let released = ReservationReleased { order_id, items, cause };
    write(events::inventory::reservation_stream(order_id), ReservationEvent::from(released))
}

pub fn committed(order_id: OrderId, items: Vec<SkuQuantity>) -> Write {
    let committed = ReservationCommitted { order_id, items };
    write(events::inventory::reservation_stream(order_id), ReservationEvent::from(committed))
}

pub fn stock_reserved(order_id: OrderId, name: &str, count: i64) -> Write {
    let reserved = StockReserved { sku: sku(name), order_id, quantity: pieces(count) };
    write(events::inventory::stock_stream(&sku(name)), StockEvent::from(reserved))
}

pub fn stock_released(order_id: OrderId, name: &str, count: i64) -> Write {
    let released = StockReleased { sku: sku(name), order_id, quantity: pieces(count) };
    write(events::inventory::stock_stream(&sku(name)), StockEvent::from(released))
}

pub fn stock_shipped(order_id: OrderId, name: &str, count: i64) -> Write {
    let shipped = StockShipped { sku: sku(name), order_id, quantity: pieces(count) };
    write(events::inventory::stock_stream(&sku(name)), StockEvent::from(shipped))
}

pub fn short(name: &str, wanted: i64, available: i64) -> Shortage {
    Shortage { sku: sku(name), wanted, available }
}

fn write(stream: StreamId, event: impl Into<Event>) -> Write {
    Write { stream, events: vec![event.into()] }
}
