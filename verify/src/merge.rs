//! SKU by SKU and order by order: the logs by stream, merged with the read models and the provider's ledger.
//!
//! Never: a ledger that was read before the logs. Read next: `orders.rs` and `fold/` (read models), `stock.rs`, `money.rs`,
//! `process.rs`.

use chrono::TimeDelta;
use futures::future::try_join_all;

use crate::Error;
use crate::database::Snapshot;
use crate::depends::hold_triggers;
use crate::engines::{Engines, PROVIDER};
use crate::money::Books;
use crate::orders::{Cases, TABLES};
use crate::process::Processes;
use crate::report::{Property, Report};
use crate::standing::Standing;
use crate::stock::{Sum, hold_reservations, hold_stock};

/// `money`: whether the ledger is wanted; `grace`: as in [`crate::Scope`].
///
/// # Errors
/// [`Error`] when a database fails, other than the ledger's.
pub async fn hold_streams(
    engines: Engines,
    standing: Standing,
    money: bool,
    grace: TimeDelta,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let books = if money { open_books(&engines, &mut report).await } else { None };
    let Standing { logs, read_model, projections, .. } = &standing;
    let (inventory, mut of_orders) = (logs[1].beside(&engines).await?, Report::default());
    let (items, reservations) = tokio::try_join!(
        hold_stock(&inventory, read_model, projections, &mut report),
        hold_orders(&engines, &standing, books, grace, &mut of_orders),
    )?;
    report.add(of_orders);
    hold_reservations(&inventory, items, reservations, &mut report).await?;
    Ok(report)
}

/// The provider's ledger, as of after the logs.
async fn open_books(engines: &Engines, report: &mut Report) -> Option<Books> {
    let opened = async {
        let ledger = Snapshot::open(engines, PROVIDER).await?;
        Books::open(engines, ledger).await
    };
    match opened.await {
        Ok(books) => Some(books),
        Err(error) => {
            report.line(Property::Money).not_checked = Some(error.in_full());
            None
        }
    }
}

/// Everything that is told by the order. Returns what the reservations say about stock.
async fn hold_orders(
    engines: &Engines,
    standing: &Standing,
    mut books: Option<Books>,
    grace: TimeDelta,
    report: &mut Report,
) -> Result<Sum, Error> {
    let Standing { logs, read_model, projections, reactors, .. } = standing;
    let tables = try_join_all([(); TABLES.len()].map(|()| read_model.beside(engines))).await?;
    let deadlines = logs[2].beside(engines).await?;
    let mut processes = Processes::open(reactors, &deadlines, grace).await?;
    let mut cases = Cases::open(logs, &tables, projections).await?;
    let mut reservations = Sum::default();
    loop {
        let others = [processes.peek(), books.as_ref().and_then(Books::peek)];
        let Some(case) = cases.next(&others, report).await? else { return Ok(reservations) };
        cases.hold_tables(&case, report);
        case.logs[1].iter().for_each(|told| reservations.add_reservation(told));
        hold_triggers(&case, report);
        processes.look_at(&case, report).await?;
        if let Some(books) = &mut books {
            books.hold(&case.id, &case.logs[2], report).await?;
        }
    }
}
