//! How a transfer proceeds: withdraw, credit, complete. When the credit is refused, the withdrawal is undone.

use chrono::{DateTime, Utc};
use event_log::Envelope;
use reactors::Reactions;

use crate::domain::AccountCommand::{Credit, UndoWithdrawal, Withdraw};
use crate::domain::AnyCommand;
use crate::domain::TransferCommand::{Complete, Fail};
use crate::events::{AccountEvent, Context, Event, TransferEvent};

/// The reactions of one context.
pub struct Of(pub Context);

impl Reactions for Of {
    type Event = Event;
    type Command = AnyCommand;

    fn react(&self, trigger: &Envelope<Event>, _now: DateTime<Utc>) -> Result<Vec<AnyCommand>, String> {
        let command: AnyCommand = match (self.0, trigger.event.clone()) {
            (Context::Accounts, Event::Transfer(TransferEvent::TransferRequested(event))) => {
                Withdraw(event.order).into()
            }
            (Context::Accounts, Event::Account(AccountEvent::MoneyWithdrawn(event))) => {
                Credit(event.order).into()
            }
            (Context::Accounts, Event::Account(AccountEvent::CreditRefused(event))) => {
                UndoWithdrawal(event.order).into()
            }
            (Context::Transfers, Event::Account(AccountEvent::MoneyCredited(event))) => {
                Complete(event.order.transfer).into()
            }
            (Context::Transfers, Event::Account(AccountEvent::WithdrawalRefused(event))) => {
                Fail(event.order.transfer).into()
            }
            (Context::Transfers, Event::Account(AccountEvent::WithdrawalUndone(event))) => {
                Fail(event.order.transfer).into()
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![command])
    }
}
