//! The balance of each account.

use event_log::{ContextName, Version};
use projections::{Projection, ProjectionSet, RowSource, projector};
use serde::{Deserialize, Serialize};

use crate::events::{AccountEvent, Context, Envelope, Event};

pub const SCHEMA: &str = "bankreadmodel";

pub fn all() -> ProjectionSet<Event> {
    ProjectionSet {
        schema: SCHEMA,
        consumer: "bank-readers",
        contexts: &Context::NAMES,
        projectors: vec![projector::<Balances>()],
    }
}

pub struct Balances;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    pub account: String,
    pub balance: i64,
    pub version: Version,
}

impl Projection for Balances {
    const NAME: &'static str = "balances";
    const TABLE: &'static str = "balances";
    const KEY_COLUMN: &'static str = "account";
    const CONTEXTS: &'static [ContextName] = &[Context::NAMES[Context::Accounts as usize]];
    const SOURCE: RowSource<AccountRow> = RowSource::OneStream(|row| row.version);
    type Events = Event;
    type Event = AccountEvent;
    type Row = AccountRow;

    fn key(_event: &AccountEvent, envelope: &Envelope) -> Option<String> {
        Some(envelope.stream.key().to_owned())
    }

    fn apply(row: Option<AccountRow>, event: &AccountEvent, envelope: &Envelope) -> Option<AccountRow> {
        let account = envelope.stream.key().to_owned();
        let row = row.unwrap_or(AccountRow { account, balance: 0, version: 0 });
        Some(AccountRow { balance: row.balance + event.change(), version: envelope.version, ..row })
    }
}
