//! What the bank allows: no account is overdrawn, money goes to accounts that exist, and a transfer ends once.

use event_log::{Aggregate, State, StreamId};
use uuid::Uuid;

use crate::events::*;

event_log::aggregates! { Account: AccountCommand, Transfer: TransferCommand }

/// An account exists once money was paid in.
#[derive(Debug, Clone, Default)]
pub struct Account {
    exists: bool,
    pence: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum AccountCommand {
    PayIn { account: String, pence: i64 },
    Withdraw(Order),
    Credit(Order),
    UndoWithdrawal(Order),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pence must be 1 or more")]
pub struct NoAmount;

impl State for Account {
    type Event = AccountEvent;
    const CATEGORY: &'static str = "account";

    fn evolve(self, event: &AccountEvent) -> Self {
        let exists = self.exists || matches!(event, AccountEvent::MoneyPaidIn(_));
        Self { exists, pence: self.pence + event.change() }
    }
}

impl Aggregate for Account {
    type Command = AccountCommand;
    type Refusal = NoAmount;

    fn stream(command: &AccountCommand) -> StreamId {
        StreamId::new(
            Self::CATEGORY,
            match command {
                AccountCommand::PayIn { account, .. } => account,
                AccountCommand::Withdraw(order) | AccountCommand::UndoWithdrawal(order) => &order.from,
                AccountCommand::Credit(order) => &order.to,
            },
        )
    }

    fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, NoAmount> {
        Ok(vec![match command.clone() {
            AccountCommand::PayIn { pence, .. } if pence < 1 => return Err(NoAmount),
            AccountCommand::PayIn { pence, .. } => MoneyPaidIn { pence }.into(),
            AccountCommand::Withdraw(order) if self.pence < order.pence => WithdrawalRefused { order }.into(),
            AccountCommand::Withdraw(order) => MoneyWithdrawn { order }.into(),
            AccountCommand::Credit(order) if !self.exists => CreditRefused { order }.into(),
            AccountCommand::Credit(order) => MoneyCredited { order }.into(),
            AccountCommand::UndoWithdrawal(order) => WithdrawalUndone { order }.into(),
        }])
    }
}

#[derive(Debug, Clone, Default, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Transfer {
    #[default]
    Absent,
    Requested,
    Completed,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
pub enum TransferCommand {
    Request(Order),
    Complete(Uuid),
    Fail(Uuid),
}

impl State for Transfer {
    type Event = TransferEvent;
    const CATEGORY: &'static str = "transfer";

    fn evolve(self, event: &TransferEvent) -> Self {
        match event {
            TransferEvent::TransferRequested(_) => Self::Requested,
            TransferEvent::TransferCompleted(_) => Self::Completed,
            TransferEvent::TransferFailed(_) => Self::Failed,
        }
    }
}

impl Aggregate for Transfer {
    type Command = TransferCommand;
    type Refusal = NoAmount;

    fn stream(command: &TransferCommand) -> StreamId {
        let (TransferCommand::Request(Order { transfer: id, .. })
        | TransferCommand::Complete(id)
        | TransferCommand::Fail(id)) = command;
        StreamId::new(Self::CATEGORY, id)
    }

    fn decide(&self, command: &TransferCommand) -> Result<Vec<TransferEvent>, NoAmount> {
        Ok(match (self, command.clone()) {
            (Self::Absent, TransferCommand::Request(order)) if order.pence < 1 => return Err(NoAmount),
            (Self::Absent, TransferCommand::Request(order)) => vec![TransferRequested { order }.into()],
            (Self::Requested, TransferCommand::Complete(_)) => vec![TransferCompleted {}.into()],
            (Self::Requested, TransferCommand::Fail(_)) => vec![TransferFailed {}.into()],
            (_, _) => Vec::new(),
        })
    }
}
