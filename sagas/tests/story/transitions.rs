//! Everything that may happen next in a [`World`], and how it happens. It chooses nothing.

use domain::ProviderCall;
use domain::Shipment;
use domain::orders::OrderStatus;
use events::{Context, OrderId, StreamId};
use sagas::payments::{ProviderError, Reply};

use crate::world::World;

/// A consumer of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reader {
    Reactor(Context),
    Gateway,
}

impl Reader {
    pub fn all() -> impl Iterator<Item = Self> {
        Context::ALL.into_iter().map(Self::Reactor).chain([Self::Gateway])
    }
}

/// What a person may do, once, as soon as it is allowed.
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
    /// No caller waits for the answer any more; the call may still arrive.
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
pub enum Transition {
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
    pub fn transitions(&self) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for (reader, stream) in self.readings() {
            if self.held(reader, &stream) {
                continue;
            }
            if self.next(reader, &stream).is_some() {
                transitions.push(Transition::Deliver(reader, stream.clone()));
            }
            if self.faults.rewinds > 0 && self.has_read(reader, &stream) {
                transitions.push(Transition::Rewind(reader, stream));
            }
        }
        for (index, call) in self.calls.iter().enumerate() {
            self.transitions_of_call(index, call, &mut transitions);
        }
        let asking = |id: &OrderId| {
            self.calls.iter().any(|call| call.caller == Caller::Deadline && call.order_id == *id)
        };
        transitions
            .extend(self.ask_again.iter().filter(|id| !asking(id)).map(|id| Transition::AskAgain(*id)));
        transitions.extend(self.expire.iter().map(|id| Transition::Expire(*id)));
        if self.faults.hints > 0 {
            transitions.extend(self.payments.keys().map(|id| Transition::Hint(*id)));
        }
        let granted = |(index, wish): (usize, &Wish)| self.allows(*wish).then_some(Transition::Grant(index));
        transitions.extend(self.wishes.iter().enumerate().filter_map(granted));
        transitions
    }

    fn transitions_of_call(&self, index: usize, call: &Call, transitions: &mut Vec<Transition>) {
        if call.caller == Caller::Nobody {
            transitions.extend([Transition::Arrive(index), Transition::Vanish(index)]);
            return;
        }
        match &call.reply {
            None => {
                transitions.push(Transition::Arrive(index));
                if self.faults.unavailable > 0 {
                    transitions.push(Transition::Refuse(index));
                }
            }
            Some(_) => transitions.push(Transition::Record(index)),
        }
        if self.faults.lost > 0 {
            transitions.push(Transition::Lose(index));
        }
        if self.faults.crashes > 0 {
            transitions.push(Transition::Crash(index));
        }
    }

    fn allows(&self, wish: Wish) -> bool {
        match wish {
            Wish::Cancel(id) => matches!(self.status(id), OrderStatus::Placed | OrderStatus::Confirmed),
            Wish::Dispatch(id) => self.shipments.get(&id) == Some(&Shipment::Prepared),
            Wish::Deliver(id) => self.shipments.get(&id) == Some(&Shipment::Dispatched),
        }
    }

    /// Makes one of [`World::transitions`] happen.
    pub fn make(&mut self, chosen: Transition) {
        self.remember(chosen.clone());
        match chosen {
            Transition::Deliver(reader, stream) => self.deliver(reader, &stream),
            Transition::Rewind(reader, stream) => {
                self.faults.rewinds -= 1;
                self.rewind(reader, &stream);
            }
            Transition::Arrive(index) => self.arrive(index),
            Transition::Record(index) => {
                let mut call = self.calls.remove(index);
                let reply = call.reply.take().expect("only an answered call can be recorded");
                self.record(&call, reply);
            }
            Transition::Lose(index) => {
                self.faults.lost -= 1;
                let call = self.forget(index);
                self.record(&call, Err(ProviderError::NoAnswer { cause: String::new() }));
            }
            Transition::Refuse(index) => {
                self.faults.unavailable -= 1;
                let call = self.calls.remove(index);
                self.record(&call, Err(ProviderError::Unavailable { cause: String::new() }));
            }
            Transition::Crash(index) => {
                self.faults.crashes -= 1;
                self.forget(index);
            }
            Transition::Vanish(index) => {
                self.calls.remove(index);
            }
            Transition::AskAgain(order_id) => {
                if !self.call(order_id, Caller::Deadline) {
                    self.ask_again.remove(&order_id);
                }
            }
            Transition::Expire(order_id) => self.expire(order_id),
            Transition::Hint(order_id) => {
                self.faults.hints -= 1;
                if self.payments[&order_id].next_provider_call().is_some() {
                    self.ask_again.insert(order_id);
                }
            }
            Transition::Grant(index) => {
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
