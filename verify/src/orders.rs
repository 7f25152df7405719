//! Order by order: the four logs and the tables of the read model, merged by the order's id.
//!
//! Everything is read in the order of the id, so what is in memory at a time is one order. Never: a map over all orders.
//! Read next: `fold/` (what each table must show), `process.rs`.

use events::Context;
use futures::future::try_join_all;

use crate::Error;
use crate::compare::hold;
use crate::database::{Keyed, Snapshot};
use crate::fold::{Table, order_events, orders, payments, processes, sales};
use crate::reach::{Consumer, Reach};
use crate::report::{Offence, Report};
use crate::row::{Cell, Given, reading};
use crate::streams::{Streams, Told};

/// The category of each context's streams that are an order's.
const CATEGORIES: [&str; 4] = ["order", "reservation", "payment", "shipment"];
pub const TABLES: [Table; 5] =
    [orders::TABLE, order_events::TABLE, processes::TABLE, payments::TABLE, sales::TABLE];

/// One order: what happened to it, and what the tables say.
pub struct Case {
    pub id: String,
    /// In the order of [`Context::ALL`].
    pub logs: [Vec<Told>; 4],
    /// In the order of [`TABLES`].
    rows: [Vec<Given>; 5],
}

/// The cases of all orders, one after another.
pub struct Cases {
    streams: Vec<Streams>,
    tables: Vec<Keyed<Given>>,
    consumers: [Consumer; 5],
}

impl Cases {
    /// `tables`: as many connections to one snapshot of the read models as there are [`TABLES`].
    ///
    /// # Errors
    /// [`Error`] when a database fails.
    pub async fn open(logs: &[Snapshot], tables: &[Snapshot], reach: &Reach) -> Result<Self, Error> {
        // Side by side: the first row of each may take its server a sort.
        let streams = Context::ALL.into_iter().zip(CATEGORIES).zip(logs);
        let streams = streams.map(|((context, category), log)| Streams::open(log, context, category));
        let tables = TABLES.into_iter().zip(tables).map(|(table, snapshot)| open_table(snapshot, table));
        let (streams, tables) = tokio::try_join!(try_join_all(streams), try_join_all(tables))?;
        Ok(Self { streams, tables, consumers: TABLES.map(|table| reach.of_projection(table.consumer)) })
    }

    /// The next order, by id; `others` are the next ids of whatever else is read beside it.
    ///
    /// # Errors
    /// [`Error`] when a database fails.
    pub async fn next(
        &mut self,
        others: &[Option<&str>],
        report: &mut Report,
    ) -> Result<Option<Case>, Error> {
        let keys = self.streams.iter().map(Streams::peek).chain(self.tables.iter().map(Keyed::peek));
        let keys = keys.chain(others.iter().copied());
        let Some(id) = keys.flatten().min().map(str::to_owned) else { return Ok(None) };
        let mut case = Case { logs: Default::default(), rows: Default::default(), id };
        for (streams, log) in self.streams.iter_mut().zip(&mut case.logs) {
            *log = streams.take(&case.id, report).await?;
        }
        for (table, rows) in self.tables.iter_mut().zip(&mut case.rows) {
            *rows = table.take(&case.id).await?;
        }
        Ok(Some(case))
    }

    /// Holds the tables' rows against the logs, as far as each table's consumer has come.
    pub fn hold_tables(&self, case: &Case, report: &mut Report) {
        let [of_orders, of_events, of_processes, of_payments, of_sales] = &self.consumers;
        let [orders_log, _, payments_log, _] = &case.logs;
        let wanted = [
            orders::fold(&applied(of_orders, Context::Orders, orders_log)),
            None,
            processes::fold(&case.id, &applied_of_all(of_processes, case)),
            payments::fold(&case.id, &applied(of_payments, Context::Payments, payments_log)),
            sales::fold(&applied(of_sales, Context::Orders, orders_log)),
        ];
        for ((table, rows), wanted) in TABLES.into_iter().zip(&case.rows).zip(&wanted) {
            if table.name != order_events::TABLE.name {
                hold(report.line(table.property), table, &case.id, rows.first(), wanted.as_ref());
            }
        }
        hold_events(&case.rows[1], &applied_of_all(of_events, case), &case.id, report);
    }
}

/// A table of the read model in the order of its key.
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn open_table(snapshot: &Snapshot, table: Table) -> Result<Keyed<Given>, Error> {
    let Table { name, key, .. } = table;
    let by = snapshot.as_bytes(&format!("t.{key}"));
    // Several rows of one key come in the order in which the logs, one after the other, have their events.
    let rest = if name == order_events::TABLE.name { ", t.context, t.position" } else { "" };
    let sql = format!("SELECT t.{key}, t.* FROM {}.{name} t ORDER BY {by}{rest}", snapshot.owner);
    let mut columns = reading(1);
    let read = move |row: &tokio_postgres::Row| (row.get(0), columns(row));
    Keyed::open(snapshot, &sql, read).await
}

fn applied<'a>(consumer: &Consumer, context: Context, log: &'a [Told]) -> Vec<&'a Told> {
    let handled =
        |told: &&Told| consumer.has_handled(context, told.partition, &told.event.stream, told.event.position);
    log.iter().filter(handled).collect()
}

fn applied_of_all<'a>(consumer: &Consumer, case: &'a Case) -> [Vec<&'a Told>; 4] {
    let [a, b, c, d] = &case.logs;
    let [orders, inventory, payments, shipping] = Context::ALL;
    [
        applied(consumer, orders, a),
        applied(consumer, inventory, b),
        applied(consumer, payments, c),
        applied(consumer, shipping, d),
    ]
}

/// The table has one row for each event: they are held against each other by the event's id.
fn hold_events(rows: &[Given], applied: &[Vec<&Told>; 4], id: &str, report: &mut Report) {
    let table = order_events::TABLE;
    let mut rows: Vec<Option<&Given>> = rows.iter().map(Some).collect();
    for (context, told) in Context::ALL.into_iter().zip(applied) {
        for told in told {
            let wanted = order_events::fold(context, id, told);
            let event_id = told.event.event_id.to_string();
            let is_its = |row: &&mut Option<&Given>| {
                row.is_some_and(|row| matches!(row.get("event_id"), Some(Cell::Text(id)) if *id == event_id))
            };
            let given = rows.iter_mut().find(is_its).and_then(Option::take);
            hold(report.line(table.property), table, &event_id, given, wanted.as_ref());
        }
    }
    for row in rows.into_iter().flatten() {
        let offence =
            Offence::new("a row that the log does not give").at("table", table.name).at("order", id);
        report.line(table.property).offend(offence.given(row));
    }
}
