//! Order by order: all logs and tables, merged by the order's id.
//!
//! Everything is read in the order of the id, so memory holds one order at a time.

use std::collections::BTreeMap;

use events::Context;
use futures::future::try_join_all;
use verify_log::{Consumer, Error, Keyed, Snapshot, Snapshots, StoredRow, Table};

use crate::{LoggedEvent, Streams};

/// Where each context keeps what belongs to an order: the category of its streams, whose key is the order's id.
pub const ORDER_STREAMS: [(Context, &str); 4] = [
    (Context::Orders, "order"),
    (Context::Inventory, "reservation"),
    (Context::Payments, "payment"),
    (Context::Shipping, "shipment"),
];

/// The contexts of [`ORDER_STREAMS`].
pub const ORDER_CONTEXTS: [Context; 4] =
    [Context::Orders, Context::Inventory, Context::Payments, Context::Shipping];

/// One order: what happened to it, and what the tables show.
pub struct Order {
    pub id: String,
    logs: BTreeMap<Context, Vec<LoggedEvent>>,
    /// By the table's name.
    rows: BTreeMap<&'static str, Vec<StoredRow>>,
}

/// The events of an order that a consumer has applied, by context.
#[derive(Debug, Default)]
pub struct Applied<'a>(BTreeMap<Context, Vec<&'a LoggedEvent>>);

impl<'a> Applied<'a> {
    /// The events of one context, by version.
    pub fn of(&self, context: Context) -> &[&'a LoggedEvent] {
        self.0.get(&context).map_or(&[], Vec::as_slice)
    }

    pub fn contexts(&self) -> impl Iterator<Item = (Context, &[&'a LoggedEvent])> {
        self.0.iter().map(|(context, events)| (*context, events.as_slice()))
    }

    /// All events, context by context.
    pub fn events(&self) -> impl Iterator<Item = &'a LoggedEvent> {
        self.0.values().flatten().copied()
    }
}

impl Order {
    #[cfg(test)]
    pub fn new(id: &str, logs: impl IntoIterator<Item = (Context, Vec<LoggedEvent>)>) -> Self {
        Self { id: id.to_owned(), logs: logs.into_iter().collect(), rows: BTreeMap::new() }
    }

    /// The events of one context, by version.
    pub fn log(&self, context: Context) -> &[LoggedEvent] {
        self.logs.get(&context).map_or(&[], Vec::as_slice)
    }

    /// All events, context by context.
    pub fn events(&self) -> impl Iterator<Item = &LoggedEvent> + Clone {
        self.logs.values().flatten()
    }

    pub fn rows(&self, table: &Table) -> &[StoredRow] {
        self.rows.get(table.name).map_or(&[], Vec::as_slice)
    }

    pub fn applied(&self, consumer: &Consumer) -> Applied<'_> {
        let has_handled = |logged: &&LoggedEvent| {
            let event = &logged.event;
            consumer.has_handled(event.context, event.partition, &event.stream, event.position)
        };
        let logs = self.logs.iter();
        Applied(logs.map(|(context, log)| (*context, log.iter().filter(has_handled).collect())).collect())
    }
}

/// All orders, one after another.
pub struct Orders {
    streams: Vec<(Context, Streams)>,
    tables: Vec<(&'static str, Keyed<StoredRow>)>,
}

impl Orders {
    /// `tables`: each with its own connection to one snapshot of the read models.
    ///
    /// # Errors
    /// [`Error`] when a database fails.
    pub async fn open(snapshots: &Snapshots, tables: &[(&'static Table, Snapshot)]) -> Result<Self, Error> {
        // At the same time: for the first row of each, the server may have to sort.
        let streams = ORDER_STREAMS.into_iter().map(async |(context, category)| {
            Ok((context, Streams::of_category(snapshots.log(context), category).await?))
        });
        let tables =
            tables.iter().map(async |(table, snapshot)| Ok((table.name, table.open(snapshot).await?)));
        let (streams, tables) = tokio::try_join!(try_join_all(streams), try_join_all(tables))?;
        Ok(Self { streams, tables })
    }

    /// The next order, by id. `others`: the next ids of whatever else is read by id.
    ///
    /// # Errors
    /// [`Error`] when a database fails.
    pub async fn next(&mut self, others: &[Option<&str>]) -> Result<Option<Order>, Error> {
        let streams = self.streams.iter().map(|(_, streams)| streams.peek());
        let tables = self.tables.iter().map(|(_, rows)| rows.peek());
        let keys = streams.chain(tables).chain(others.iter().copied());
        let Some(id) = keys.flatten().min().map(str::to_owned) else { return Ok(None) };
        let (mut logs, mut rows) = (BTreeMap::new(), BTreeMap::new());
        for (context, streams) in &mut self.streams {
            logs.insert(*context, streams.take(&id).await?);
        }
        for (table, stored) in &mut self.tables {
            rows.insert(*table, stored.take(&id).await?);
        }
        Ok(Some(Order { id, logs, rows }))
    }
}
