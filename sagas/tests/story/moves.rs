//! Everything that may happen next in a [`World`], and how it happens.
//!
//! Never: a choice. Read next: [`super::world`].

use domain::ProviderCall;
use domain::Shipment;
use domain::orders::OrderStatus;
use events::{Context, OrderId, StreamId};
use sagas::payments::{ProviderError, Reply};

use crate::world::World;

/// Who reads the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reader {
    Reactor(Context),
    Gateway,
}

impl Reader {
    pub const ALL: [Self; 5] = [
        Self::Reactor(Context::Orders),
        Self::Reactor(Context::Inventory),
        Self::Reactor(Context::Payments),
        Self::Reactor(Context::Shipping),
        Self::Gateway,
    ];
}

/// What somebody outside may do, once, as soon as it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    Cancel(OrderId),
    Dispatch(OrderId),
    Deliver(OrderId),
}

/// How much may still go wrong.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub struct Faults {
    /// Answers of the provider that never come back, whether the call arrives at once, much later, or never.
    pub lost: u8,
    /// Calls that the provider refuses to take.
    pub unavailable: u8,
    /// Crashes between a call and its append: the call is made again.
    pub crashes: u8,
    /// A reader goes back to the start of a stream.
    pub rewinds: u8,
    /// Webhooks, at any moment, about whatever payment there is.
    pub hints: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Reads no further in the payment's stream until the answer is recorded.
    Gateway,
    Deadline,
    /// Nobody waits for the answer any more; the call may still arrive.
    Nobody,
}

/// A call to the provider that is under way.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: Caller,
    pub order_id: OrderId,
    pub call: ProviderCall,
    pub reply: Option<Reply>,
}

/// Something that may happen next. The numbers point into the calls under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    Deliver(Reader, StreamId),
    Rewind(Reader, StreamId),
    Arrive(usize),
    Record(usize),
    Lose(usize),
    Refuse(usize),
    Crash(usize),
    Vanish(usize),
    AskAgain(OrderId),
    Expire(OrderId),
    /// A webhook about the payment, true or not.
    Hint(OrderId),
    Grant(usize),
}

impl World {
    /// All that may happen now.
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (reader, stream) in self.readings() {
            if self.held(reader, &stream) {
                continue;
            }
            if self.next(reader, &stream).is_some() {
                moves.push(Move::Deliver(reader, stream.clone()));
            }
            if self.faults.rewinds > 0 && self.has_read(reader, &stream) {
                moves.push(Move::Rewind(reader, stream));
            }
        }
        for (index, call) in self.calls.iter().enumerate() {
            self.moves_of_call(index, call, &mut moves);
        }
        let asking = |id: &OrderId| {
            self.calls.iter().any(|call| call.caller == Caller::Deadline && call.order_id == *id)
        };
        moves.extend(self.ask_again.iter().filter(|id| !asking(id)).map(|id| Move::AskAgain(*id)));
        moves.extend(self.expire.iter().map(|id| Move::Expire(*id)));
        if self.faults.hints > 0 {
            moves.extend(self.payments.keys().map(|id| Move::Hint(*id)));
        }
        let granted = |(index, wish): (usize, &Wish)| self.allows(*wish).then_some(Move::Grant(index));
        moves.extend(self.wishes.iter().enumerate().filter_map(granted));
        moves
    }

    fn moves_of_call(&self, index: usize, call: &Call, moves: &mut Vec<Move>) {
        if call.caller == Caller::Nobody {
            moves.extend([Move::Arrive(index), Move::Vanish(index)]);
            return;
        }
        match &call.reply {
            None => {
                moves.push(Move::Arrive(index));
                if self.faults.unavailable > 0 {
                    moves.push(Move::Refuse(index));
                }
            }
            Some(_) => moves.push(Move::Record(index)),
        }
        if self.faults.lost > 0 {
            moves.push(Move::Lose(index));
        }
        if self.faults.crashes > 0 {
            moves.push(Move::Crash(index));
        }
    }

    fn allows(&self, wish: Wish) -> bool {
        match wish {
            Wish::Cancel(id) => matches!(self.status(id), OrderStatus::Placed | OrderStatus::Confirmed),
            Wish::Dispatch(id) => self.shipments.get(&id) == Some(&Shipment::Prepared),
            Wish::Deliver(id) => self.shipments.get(&id) == Some(&Shipment::Dispatched),
        }
    }

    /// Makes one of [`World::moves`] happen.
    pub fn make(&mut self, chosen: Move) {
        self.remember(chosen.clone());
        match chosen {
            Move::Deliver(reader, stream) => self.deliver(reader, &stream),
            Move::Rewind(reader, stream) => {
                self.faults.rewinds -= 1;
                self.rewind(reader, &stream);
            }
            Move::Arrive(index) => self.arrive(index),
            Move::Record(index) => {
                let mut call = self.calls.remove(index);
                let reply = call.reply.take().expect("only an answered call can be recorded");
                self.record(&call, reply);
            }
            Move::Lose(index) => {
                self.faults.lost -= 1;
                let call = self.forget(index);
                self.record(&call, Err(ProviderError::NoAnswer { cause: String::new() }));
            }
            Move::Refuse(index) => {
                self.faults.unavailable -= 1;
                let call = self.calls.remove(index);
                self.record(&call, Err(ProviderError::Unavailable { cause: String::new() }));
            }
            Move::Crash(index) => {
                self.faults.crashes -= 1;
                self.forget(index);
            }
            Move::Vanish(index) => {
                self.calls.remove(index);
            }
            Move::AskAgain(order_id) => {
                if !self.call(order_id, Caller::Deadline) {
                    self.ask_again.remove(&order_id);
                }
            }
            Move::Expire(order_id) => self.expire(order_id),
            Move::Hint(order_id) => {
                self.faults.hints -= 1;
                if self.payments[&order_id].next_provider_call().is_some() {
                    self.ask_again.insert(order_id);
                }
            }
            Move::Grant(index) => {
                let wish = self.wishes.remove(index);
                self.grant(wish);
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        let reply = self.provider.serve(&self.calls[index].call);
        if self.calls[index].caller == Caller::Nobody {
            self.calls.remove(index);
        } else {
            self.calls[index].reply = Some(reply);
        }
    }

    /// The caller stops waiting; a call that has not arrived may still do so.
    fn forget(&mut self, index: usize) -> Call {
        let call = self.calls.remove(index);
        if call.reply.is_none() {
            self.calls.push(Call { caller: Caller::Nobody, ..call.clone() });
        }
        call
    }
}
