//! A whole shop in memory, without a clock: the four logs, what each reader has read of them, the calls to the provider that
//! are in flight, the deadlines that are set.
//!
//! Streams are delivered each in its own order and in no order between them, which is less than Kafka promises.
//! What may happen next: [`super::transitions`]. What it does: [`super::effects`]. Which transition is chosen:
//! [`super::explore`]. What must hold after each: [`super::invariants`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use domain::orders::OrderStatus;
use domain::{Aggregate, Order, Payment, Reservation, Shipment, StockCommand, StockItem};
use event_log::CommandSet;
use events::processes::Trigger;
use events::{Context, Envelope, Event, OrderId, Sku, StreamId};
use sagas::payments::provider_call_trigger;
use sagas::{ReactionContext, react};

use crate::provider::{Behaviour, Provider};
use crate::transitions::{Call, Caller, Faults, Reader, Transition, Wish};

#[derive(Clone)]
pub struct World {
    pub orders: BTreeMap<OrderId, Order>,
    pub reservations: BTreeMap<OrderId, Reservation>,
    pub payments: BTreeMap<OrderId, Payment>,
    pub shipments: BTreeMap<OrderId, Shipment>,
    pub stock: BTreeMap<Sku, StockItem>,
    pub provider: Provider,
    pub calls: Vec<Call>,
    /// The deadlines that are set: to call the provider again; to expire the payment.
    pub ask_again: BTreeSet<OrderId>,
    pub expire: BTreeSet<OrderId>,
    pub wishes: Vec<Wish>,
    pub faults: Faults,
    /// Every reaction is decided on twice.
    pub twice: bool,
    /// Each event with the hash of what it says.
    pub(crate) logs: BTreeMap<StreamId, Vec<(Arc<Envelope>, u64)>>,
    pub(crate) read: BTreeMap<(Reader, StreamId), usize>,
    trail: Option<Arc<Footprint>>,
    pub(crate) seen: Seen,
    /// What the events that are appended now come from; none when a person causes them.
    pub(crate) cause: Option<(Trigger, Context, &'static str)>,
}

/// What came of what: (trigger, context, command, event). Shared by all worlds with one beginning.
pub type Seen = Rc<RefCell<BTreeSet<(Trigger, Context, &'static str, &'static str)>>>;

struct Footprint {
    made: Transition,
    before: Option<Arc<Footprint>>,
}

fn known() -> ReactionContext {
    ReactionContext { now: DateTime::UNIX_EPOCH, payment_deadline: TimeDelta::minutes(15) }
}

impl World {
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            orders: BTreeMap::new(),
            reservations: BTreeMap::new(),
            payments: BTreeMap::new(),
            shipments: BTreeMap::new(),
            stock: BTreeMap::new(),
            provider: Provider::new(behaviour),
            calls: Vec::new(),
            ask_again: BTreeSet::new(),
            expire: BTreeSet::new(),
            wishes: Vec::new(),
            faults: Faults::default(),
            twice: false,
            logs: BTreeMap::new(),
            read: BTreeMap::new(),
            trail: None,
            seen: Seen::default(),
            cause: None,
        }
    }

    pub fn receive(&mut self, sku: &Sku, pieces: i64) {
        let quantity = pieces.try_into().expect("1 or more pieces");
        let command = StockCommand::ReceiveStock { sku: sku.clone(), quantity, reference: None };
        let decided = self.stock.entry(sku.clone()).or_default().decide(&command);
        self.append_decided(&events::inventory::stock_stream(sku), decided);
    }

    pub fn status(&self, order_id: OrderId) -> OrderStatus {
        self.orders.get(&order_id).map_or(OrderStatus::Absent, Order::status)
    }

    /// The events of a stream.
    pub fn history(&self, stream: &StreamId) -> impl Iterator<Item = &Event> {
        self.logs.get(stream).into_iter().flatten().map(|(event, _)| &event.event)
    }

    pub fn seen(&self) -> Seen {
        Rc::clone(&self.seen)
    }

    /// How it came to this, for the message of a broken invariant.
    pub fn trail(&self) -> String {
        let mut steps: Vec<String> = std::iter::successors(self.trail.as_ref(), |step| step.before.as_ref())
            .map(|step| format!("  {:?}", step.made))
            .collect();
        steps.reverse();
        let logs = self.logs.iter().map(|(stream, log)| {
            let types: Vec<&str> = log.iter().map(|(event, _)| event.event.event_type()).collect();
            format!("  {stream}: {}", types.join(", "))
        });
        format!("the transitions:\n{}\nthe logs:\n{}", steps.join("\n"), logs.collect::<Vec<_>>().join("\n"))
    }

    pub(crate) fn remember(&mut self, made: Transition) {
        self.trail = Some(Arc::new(Footprint { made, before: self.trail.take() }));
    }

    /// Every reader with every stream.
    pub(crate) fn readings(&self) -> impl Iterator<Item = (Reader, StreamId)> {
        self.logs.keys().flat_map(|stream| Reader::all().map(|reader| (reader, stream.clone())))
    }

    pub(crate) fn has_read(&self, reader: Reader, stream: &StreamId) -> bool {
        self.read.contains_key(&(reader, stream.clone()))
    }

    pub(crate) fn rewind(&mut self, reader: Reader, stream: &StreamId) {
        self.read.remove(&(reader, stream.clone()));
    }

    /// The first unread event of the stream that the reader does something about.
    pub(crate) fn next(&self, reader: Reader, stream: &StreamId) -> Option<(usize, &Arc<Envelope>)> {
        let read = self.read.get(&(reader, stream.clone())).copied().unwrap_or(0);
        let log = self.logs.get(stream)?;
        log.iter().map(|(event, _)| event).enumerate().skip(read).find(|(_, event)| match reader {
            Reader::Reactor(context) => !react(context, event, &known()).expect("our own event").is_empty(),
            Reader::Gateway => provider_call_trigger(event).is_some(),
        })
    }

    /// The gateway reads no further in a stream while its call about an earlier event is open.
    pub(crate) fn held(&self, reader: Reader, stream: &StreamId) -> bool {
        let holds = |call: &Call| {
            call.caller == Caller::Gateway && events::payments::stream(call.order_id) == *stream
        };
        reader == Reader::Gateway && self.calls.iter().any(holds)
    }

    pub(crate) fn deliver(&mut self, reader: Reader, stream: &StreamId) {
        let (index, event) = self.next(reader, stream).expect("only what is there is delivered");
        let event = Arc::clone(event);
        let done = match reader {
            Reader::Reactor(context) => {
                for command in react(context, &event, &known()).expect("our own event") {
                    for _ in 0..=usize::from(self.twice) {
                        let trigger = Trigger::Event(event.event.event_type());
                        self.cause = Some((trigger, context, command.name()));
                        self.execute(&command);
                    }
                }
                true
            }
            Reader::Gateway => {
                let order_id = provider_call_trigger(&event).expect("the gateway's own event");
                !self.call(order_id, Caller::Gateway)
            }
        };
        if done {
            self.read.insert((reader, stream.clone()), index + 1);
        }
    }

    /// Two worlds with one fingerprint have the same future.
    pub fn fingerprint(&self) -> u64 {
        let logs: Vec<(&StreamId, Vec<u64>)> = self
            .logs
            .iter()
            .map(|(stream, log)| (stream, log.iter().map(|(_, hash)| *hash).collect()))
            .collect();
        let unread: Vec<Option<usize>> = self
            .readings()
            .map(|(reader, stream)| self.next(reader, &stream).map(|(index, _)| index))
            .collect();
        let rewindable: Vec<_> = self.read.keys().filter(|_| self.faults.rewinds > 0).collect();
        let mut calls: Vec<String> = self.calls.iter().map(|call| format!("{call:?}")).collect();
        calls.sort_unstable();
        hash_of(&(
            (logs, unread, rewindable, calls),
            (&self.provider.ledger, &self.ask_again, &self.expire, &self.wishes, self.faults),
        ))
    }
}

pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
