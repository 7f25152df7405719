//! `given(history).when(command).then(events)`: a rule in one sentence, compared by value.
#![allow(dead_code, reason = "each test file is a crate of its own and uses what its sentences need")]

pub mod any;
pub mod orders;
pub mod payments;
pub mod reservation;
pub mod stock_item;

use std::fmt::Debug;

use chrono::{DateTime, TimeZone, Utc};
use domain::{Aggregate, State};
use events::orders::OrderLine;
use events::{Address, Currency, CustomerId, Money, OrderId, Quantity, Sku, SkuQuantity};
use uuid::Uuid;

/// An aggregate with a history.
pub struct Given<A> {
    state: A,
}

pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given { state: after(A::default(), &history.into_iter().collect::<Vec<_>>()) }
}

/// The state after `events`.
pub fn after<A: State>(state: A, events: &[A::Event]) -> A {
    events.iter().fold(state, A::evolve)
}

impl<A: Aggregate> Given<A> {
    pub fn when(self, command: A::Command) -> Outcome<A> {
        Outcome { decided: self.state.decide(&command) }
    }
}

/// The aggregate's decision.
pub struct Outcome<A: Aggregate> {
    decided: Result<Vec<A::Event>, A::Refusal>,
}

impl<A> Outcome<A>
where
    A: Aggregate<Event: Debug + PartialEq, Refusal: PartialEq>,
{
    /// These events, in this order.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.decided, Ok(expected.into_iter().collect()));
    }

    /// Accepted without events: the command is fulfilled already, or has no effect any more.
    #[track_caller]
    pub fn then_nothing(self) {
        assert_eq!(self.decided, Ok(Vec::new()));
    }

    #[track_caller]
    pub fn then_refused(self, expected: A::Refusal) {
        assert_eq!(self.decided, Err(expected));
    }
}

/// The order in all sentences.
pub const ID: OrderId = nth_order(1);

pub const fn nth_order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n))
}

pub fn sku(text: &str) -> Sku {
    text.parse().expect("a test's SKU is valid")
}

pub fn pieces(count: i64) -> Quantity {
    count.try_into().expect("a test's quantity is valid")
}

pub fn gbp() -> Currency {
    "GBP".parse().expect("GBP is a currency")
}

pub fn pounds(amount_minor: i64) -> Money {
    Money::new(amount_minor, gbp()).expect("a test's amount is 0 or more")
}

pub fn ada() -> CustomerId {
    "ada".parse().expect("ada is a customer id")
}

pub fn address() -> Address {
    Address::Text("12 St James's Square, London".to_owned())
}

pub fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).single().expect("a moment that exists")
}

pub fn line(sku_text: &str, count: i64, unit_price_minor: i64) -> OrderLine {
    OrderLine { sku: sku(sku_text), quantity: pieces(count), unit_price_minor }
}

pub fn item(sku_text: &str, count: i64) -> SkuQuantity {
    SkuQuantity { sku: sku(sku_text), quantity: pieces(count) }
}
