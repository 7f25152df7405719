//! What can happen in the bank, and the registry of its two contexts.

use event_log::event_enum;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

event_log::contexts! {
    Accounts = "accounts" { Account("account"): AccountEvent },
    Transfers = "transfers" { Transfer("transfer"): TransferEvent },
}

event_enum! {
    pub enum AccountEvent {
        MoneyPaidIn = 1,
        MoneyWithdrawn = 1,
        WithdrawalRefused = 1,
        MoneyCredited = 1,
        CreditRefused = 1,
        WithdrawalUndone = 1,
    }
}

event_enum! {
    pub enum TransferEvent {
        TransferRequested = 1,
        TransferCompleted = 1,
        TransferFailed = 1,
    }
}

/// Money from one account to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub transfer: Uuid,
    pub from: String,
    pub to: String,
    pub pence: i64,
}

macro_rules! events {
    ($($name:ident { $($field:ident: $type:ty)? })+) => {
        $(#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $(pub $field: $type)? })+
    };
}
events! {
    MoneyPaidIn { pence: i64 }
    MoneyWithdrawn { order: Order }
    WithdrawalRefused { order: Order }
    MoneyCredited { order: Order }
    CreditRefused { order: Order }
    WithdrawalUndone { order: Order }
    TransferRequested { order: Order }
    TransferCompleted {}
    TransferFailed {}
}

impl AccountEvent {
    /// What it adds to the balance.
    pub fn change(&self) -> i64 {
        match self {
            Self::MoneyPaidIn(event) => event.pence,
            Self::MoneyWithdrawn(event) => -event.order.pence,
            Self::MoneyCredited(event) => event.order.pence,
            Self::WithdrawalUndone(event) => event.order.pence,
            Self::WithdrawalRefused(_) | Self::CreditRefused(_) => 0,
        }
    }
}
