//! What a transition does in a [`World`]: `domain` decides, the events are appended and folded.
//!
//! Never: a rule. A refusal here means that the process has a hole.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use domain::payments::ProviderAnswer;
use domain::{
    Aggregate, AnyCommand, Decide, OrderCommand, PaymentCommand, ProviderCall, ReservationCommand,
    ShipmentCommand, State,
};
use event_log::CommandSet;
use events::processes::Trigger;
use events::processes::order_fulfilment::EXPIRE;
use events::{Context, Envelope, Event, Metadata, OrderId, StreamId};
use sagas::payments::{Reply, answer, may_expire};
use uuid::Uuid;

use crate::transitions::{Call, Caller, Reader, Wish};
use crate::world::{World, hash_of};

impl World {
    /// Begins the call to the provider that the payment demands; false when none is due.
    pub(crate) fn call(&mut self, order_id: OrderId, caller: Caller) -> bool {
        let call = self.payments.entry(order_id).or_default().next_provider_call();
        let is_due = call.is_some();
        self.calls.extend(call.map(|call| Call { caller, order_id, call, reply: None }));
        is_due
    }

    /// What the gateway and the deadline worker do with a reply, in one append.
    pub(crate) fn record(&mut self, call: &Call, reply: Reply) {
        let order_id = call.order_id;
        self.cause = Some((Trigger::Event(trigger_of(&call.call)), Context::Payments, "RecordAnswer"));
        let answer = answer(&call.call, reply);
        let is_answered = matches!(&answer, Ok(answer) if *answer != ProviderAnswer::NoAnswer);
        if let Ok(answer) = answer {
            self.pay(order_id, &PaymentCommand::RecordAnswer { order_id, answer });
        }
        if self.payments[&order_id].next_provider_call().is_none() {
            self.ask_again.remove(&order_id);
        } else if !is_answered {
            self.ask_again.insert(order_id);
        }
        let stream = events::payments::stream(order_id);
        if call.caller == Caller::Gateway
            && let Some((index, _)) = self.next(Reader::Gateway, &stream)
        {
            self.read.insert((Reader::Gateway, stream), index + 1);
        }
    }

    /// The deadline that was set with the request.
    pub(crate) fn expire(&mut self, order_id: OrderId) {
        self.cause = Some((Trigger::Deadline(EXPIRE), Context::Payments, "ExpirePayment"));
        self.pay(order_id, &PaymentCommand::ExpirePayment { order_id });
    }

    pub(crate) fn grant(&mut self, wish: Wish) {
        self.cause = None;
        self.execute(&match wish {
            Wish::Cancel(order_id) => {
                OrderCommand::CancelOrder { order_id, reason: "changed my mind".into() }.into()
            }
            Wish::Dispatch(shipment_id) => {
                ShipmentCommand::DispatchShipment { shipment_id, carrier: "DHL".into(), tracking: "1".into() }
                    .into()
            }
            Wish::Deliver(shipment_id) => ShipmentCommand::DeliverShipment { shipment_id }.into(),
        });
    }

    pub fn execute(&mut self, command: &AnyCommand) {
        let stream = command.stream();
        let order_id = events::order_of(&stream).expect("the command is about an order");
        match command {
            AnyCommand::Order(command) => {
                let decided = self.orders.entry(order_id).or_default().decide(command);
                self.append_decided(&stream, decided);
            }
            AnyCommand::Reservation(command) => self.reserve(order_id, command),
            AnyCommand::Payment(command) => self.pay(order_id, command),
            AnyCommand::StockItem(_) => panic!("no reaction is on a stock item"),
            AnyCommand::Shipment(command) => {
                let decided = self.shipments.entry(order_id).or_default().decide(command);
                self.append_decided(&stream, decided);
            }
        }
    }

    fn reserve(&mut self, order_id: OrderId, command: &ReservationCommand) {
        let reservation = self.reservations.entry(order_id).or_default().clone();
        let stock = reservation.reads(command).into_iter().filter_map(|stream| {
            let sku = stream.key().parse().expect("a SKU");
            Some((stream, self.stock.get(&sku)?))
        });
        match reservation.decide_with(command, &stock.collect()) {
            Ok(decision) => {
                let own = decision.own.into_iter().map(Event::from).collect();
                self.append(&events::inventory::reservation_stream(order_id), own);
                for (stream, events) in decision.others {
                    self.append(&stream, events.into_iter().map(Event::from).collect());
                }
            }
            Err(refusal) => panic!("invalid transition: {refusal}\n{}", self.trail()),
        }
    }

    fn pay(&mut self, order_id: OrderId, command: &PaymentCommand) {
        let decided = self.payments.entry(order_id).or_default().decide(command);
        self.append_decided(&events::payments::stream(order_id), decided);
        if may_expire(&self.payments[&order_id]) {
            self.expire.insert(order_id);
        } else {
            self.expire.remove(&order_id);
        }
    }

    /// A reader that is refused would park its event: the process has a hole.
    pub(crate) fn append_decided<E, R>(&mut self, stream: &StreamId, decided: Result<Vec<E>, R>)
    where
        E: Into<Event>,
        R: std::error::Error,
    {
        match decided {
            Ok(events) => self.append(stream, events.into_iter().map(Into::into).collect()),
            Err(refusal) => panic!("invalid transition: {refusal}\n{}", self.trail()),
        }
    }

    fn append(&mut self, stream: &StreamId, events: Vec<Event>) {
        for event in events {
            let id = || events::order_of(stream).expect("a stream of an order");
            match &event {
                Event::Order(event) => fold(&mut self.orders, id(), event),
                Event::Reservation(event) => fold(&mut self.reservations, id(), event),
                Event::Payment(event) => fold(&mut self.payments, id(), event),
                Event::Shipment(event) => fold(&mut self.shipments, id(), event),
                Event::StockItem(event) => fold(&mut self.stock, stream.key().parse().expect("a SKU"), event),
            }
            if let Some((trigger, context, command)) = self.cause {
                self.seen.borrow_mut().insert((trigger, context, command, event.event_type()));
            }
            let log = self.logs.entry(stream.clone()).or_default();
            let version = i32::try_from(log.len() + 1).expect("a short stream");
            let hash = hash_of(&format!("{event:?}"));
            log.push((Arc::new(envelope(stream.clone(), version, event)), hash));
        }
    }
}

/// The event that makes the gateway make this call.
fn trigger_of(call: &ProviderCall) -> &'static str {
    match call {
        ProviderCall::Authorise { .. } => "PaymentRequested",
        ProviderCall::Status { .. } => "PaymentUnknown",
        ProviderCall::Capture { .. } => "PaymentCaptureRequested",
        ProviderCall::Void { .. } => "PaymentVoidRequested",
        ProviderCall::Refund { .. } => "PaymentRefundRequested",
    }
}

fn fold<K: Ord, A: State>(states: &mut BTreeMap<K, A>, key: K, event: &A::Event) {
    let state = states.entry(key).or_default();
    *state = std::mem::take(state).evolve(event);
}

fn envelope(stream: StreamId, version: i32, event: Event) -> Envelope {
    let metadata = Metadata {
        correlation_id: Uuid::nil(),
        causation_id: None,
        depends_on: events::Positions::default(),
        actor: "test".into(),
        traceparent: None,
        idempotency_key: None,
    };
    Envelope {
        context: event.context().into(),
        position: 1,
        stream,
        version,
        event_id: Uuid::nil(),
        metadata,
        recorded_at: DateTime::UNIX_EPOCH,
        event,
    }
}
