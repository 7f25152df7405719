//! What is done in a [`World`] when something happens: decided by `domain`, appended, folded.
//!
//! Never: a rule; a refusal here means that the story has a hole. Read next: [`super::invariants`].

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use domain::payments::ProviderAnswer;
use domain::{Aggregate, OrderCommand, PaymentCommand, ProviderCall, ReservationCommand, ShipmentCommand};
use events::{Context, Envelope, Event, Metadata, OrderId, StreamId};
use sagas::order_fulfilment::{EXPIRE, Reaction, Trigger, payments};
use sagas::payments::{Reply, answer};
use uuid::Uuid;

use crate::transitions::{Call, Caller, Reader, Wish};
use crate::world::{World, hash_of};

impl World {
    /// Asks the provider what the payment says has to be asked; false when there is nothing to ask.
    pub(crate) fn call(&mut self, order_id: OrderId, caller: Caller) -> bool {
        let call = self.payments.entry(order_id).or_default().next_provider_call();
        let asked = call.is_some();
        self.calls.extend(call.map(|call| Call { caller, order_id, call, reply: None }));
        asked
    }

    /// What the gateway and the deadline worker do with a reply, in one append.
    pub(crate) fn record(&mut self, call: &Call, reply: Reply) {
        let order_id = call.order_id;
        self.telling = Some((Trigger::Event(asked_by(&call.call)), Context::Payments, "RecordAnswer"));
        let answer = answer(&call.call, reply);
        let heard = matches!(&answer, Ok(answer) if *answer != ProviderAnswer::NoAnswer);
        if let Ok(answer) = answer {
            self.pay(order_id, &PaymentCommand::RecordAnswer { order_id, answer });
        }
        if self.payments[&order_id].next_provider_call().is_none() {
            self.ask_again.remove(&order_id);
        } else if !heard {
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
        self.telling = Some((Trigger::Deadline(EXPIRE), Context::Payments, "ExpirePayment"));
        self.pay(order_id, &PaymentCommand::ExpirePayment { order_id });
    }

    pub(crate) fn grant(&mut self, wish: Wish) {
        self.telling = None;
        self.carry_out(&match wish {
            Wish::Cancel(order_id) => {
                Reaction::Order(OrderCommand::CancelOrder { order_id, reason: "changed my mind".into() })
            }
            Wish::Dispatch(shipment_id) => Reaction::Shipment(ShipmentCommand::DispatchShipment {
                shipment_id,
                carrier: "DHL".into(),
                tracking: "1".into(),
            }),
            Wish::Deliver(shipment_id) => {
                Reaction::Shipment(ShipmentCommand::DeliverShipment { shipment_id })
            }
        });
    }

    pub fn carry_out(&mut self, reaction: &Reaction) {
        let stream = reaction.stream();
        let order_id = events::order_of(&stream).expect("a reaction is about an order");
        match reaction {
            Reaction::Order(command) => {
                let decided = self.orders.entry(order_id).or_default().decide(command);
                self.append_decided(&stream, decided);
            }
            Reaction::Reservation(command) => self.reserve(order_id, command),
            Reaction::Payment(command) => self.pay(order_id, command),
            Reaction::Shipment(command) => {
                let decided = self.shipments.entry(order_id).or_default().decide(command);
                self.append_decided(&stream, decided);
            }
        }
    }

    fn reserve(&mut self, order_id: OrderId, command: &ReservationCommand) {
        let reservation = self.reservations.entry(order_id).or_default().clone();
        match reservation.decide_with_stock(command, &self.stock) {
            Ok(writes) => writes.into_iter().for_each(|write| self.append(&write.stream, write.events)),
            Err(refusal) => panic!("out of story: {refusal}\n{}", self.trail()),
        }
    }

    fn pay(&mut self, order_id: OrderId, command: &PaymentCommand) {
        let decided = self.payments.entry(order_id).or_default().decide(command);
        self.append_decided(&events::payments::stream(order_id), decided);
        if payments::may_expire(&self.payments[&order_id]) {
            self.expire.insert(order_id);
        } else {
            self.expire.remove(&order_id);
        }
    }

    /// Whoever is refused here is a reader whose event would be parked: the story has a hole.
    pub(crate) fn append_decided<E, R>(&mut self, stream: &StreamId, decided: Result<Vec<E>, R>)
    where
        E: Into<Event>,
        R: std::error::Error,
    {
        match decided {
            Ok(events) => self.append(stream, events.into_iter().map(Into::into).collect()),
            Err(refusal) => panic!("out of story: {refusal}\n{}", self.trail()),
        }
    }

    fn append(&mut self, stream: &StreamId, events: Vec<Event>) {
        for event in events {
            let id = || events::order_of(&stream).expect("a stream of an order");
            match &event {
                Event::Order(event) => fold(&mut self.orders, id(), event),
                Event::Reservation(event) => fold(&mut self.reservations, id(), event),
                Event::Payment(event) => fold(&mut self.payments, id(), event),
                Event::Shipment(event) => fold(&mut self.shipments, id(), event),
                Event::StockItem(event) => fold(&mut self.stock, stream.key().parse().expect("a SKU"), event),
            }
            if let Some((trigger, context, command)) = self.telling {
                self.told.borrow_mut().insert((trigger, context, command, event.event_type()));
            }
            let log = self.logs.entry(stream.clone()).or_default();
            let version = i32::try_from(log.len() + 1).expect("a short stream");
            let hash = hash_of(&format!("{event:?}"));
            log.push((Arc::new(envelope(stream.clone(), version, event)), hash));
        }
    }
}

/// The event that makes the gateway ask this.
fn asked_by(call: &ProviderCall) -> &'static str {
    match call {
        ProviderCall::Authorise { .. } => "PaymentRequested",
        ProviderCall::Status { .. } => "PaymentUnknown",
        ProviderCall::Capture { .. } => "PaymentCaptureRequested",
        ProviderCall::Void { .. } => "PaymentVoidRequested",
        ProviderCall::Refund { .. } => "PaymentRefundRequested",
    }
}

fn fold<K: Ord, A: Aggregate>(states: &mut BTreeMap<K, A>, key: K, event: &A::Event) {
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
        context: event.context(),
        position: 1,
        stream,
        version,
        event_id: Uuid::nil(),
        metadata,
        recorded_at: DateTime::UNIX_EPOCH,
        event,
    }
}
