//! SKU by SKU and order by order: the logs by stream, merged with the read models and the provider's ledger.
//!
//! The ledger is read after the logs.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use events::{Context, ContextName};
use futures::future::try_join_all;
use verify_log::log::{self, VersionCheck, check_triggers};
use verify_log::{Connections, Consumer, Error, Report, Snapshots};

use crate::DOMAIN;
use crate::check::money::{self, MoneyCheck};
use crate::check::processes::{self, ProcessCheck};
use crate::check::stock::{self, Checksum, check_reservations, check_stock};
use crate::check::{ORDER_TABLES, OrderTable};
use crate::read::orders::{Order, Orders};

/// `wants_money`: whether the ledger is to be read; `grace`: as in [`crate::Scope`].
///
/// # Errors
/// [`Error`] when a database other than the ledger's fails.
pub async fn check_read_models(
    connections: Connections,
    snapshots: Snapshots,
    wants_money: bool,
    grace: TimeDelta,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let money = if wants_money { open_money(&connections, &mut report).await } else { None };
    let inventory = snapshots.log(Context::Inventory).beside(&connections).await?;
    let mut of_orders = Report::default();
    let (items, reservations) = tokio::try_join!(
        check_stock(&inventory, &snapshots.read_models, &mut report),
        check_orders(&connections, &snapshots, money, grace, &mut of_orders),
    )?;
    report.add(of_orders);
    let line = report.line(&stock::PROPERTY);
    check_reservations(&inventory.snapshot, items, reservations, line).await?;
    Ok(report)
}

/// None when the ledger cannot be reached; the report says so.
async fn open_money(connections: &Connections, report: &mut Report) -> Option<MoneyCheck> {
    match MoneyCheck::open(connections).await {
        Ok(money) => Some(money),
        Err(error) => {
            report.line(&money::PROPERTY).not_checked = Some(error.in_full());
            None
        }
    }
}

/// Everything that is read order by order. Returns what the reservations say about stock.
async fn check_orders(
    connections: &Connections,
    snapshots: &Snapshots,
    mut money: Option<MoneyCheck>,
    grace: TimeDelta,
    report: &mut Report,
) -> Result<Checksum, Error> {
    let tables = ORDER_TABLES.map(async |OrderTable { table, .. }| {
        Ok::<_, Error>((table, snapshots.read_models.snapshot.beside(connections).await?))
    });
    let tables = try_join_all(tables).await?;
    let payments = snapshots.log(Context::Payments).beside(connections).await?;
    let mut processes = ProcessCheck::open(snapshots, &payments.snapshot, grace).await?;
    let mut orders = Orders::open(snapshots, &tables).await?;
    let consumers = ORDER_TABLES.map(|table| snapshots.read_models.of(table.table.consumer));
    let (mut versions, mut reservations) = (BTreeMap::new(), Checksum::default());
    loop {
        let others = [processes.peek(), money.as_ref().and_then(MoneyCheck::peek)];
        let Some(order) = orders.next(&others).await? else { return Ok(reservations) };
        check_log(&order, &mut versions, report);
        check_tables(&order, &consumers, report);
        order.log(Context::Inventory).iter().for_each(|logged| reservations.add_reservation(logged));
        processes.check(&order, report.line(&processes::PROPERTY)).await?;
        if let Some(money) = &mut money {
            money.check(&order.id, order.log(Context::Payments), report.line(&money::PROPERTY)).await?;
        }
    }
}

fn check_log(order: &Order, versions: &mut BTreeMap<ContextName, VersionCheck>, report: &mut Report) {
    let line = report.line(&log::PROPERTY);
    for logged in order.events() {
        versions.entry(logged.event.context).or_default().check(logged, line);
    }
    check_triggers(&DOMAIN, order.events(), line);
}

fn check_tables(order: &Order, consumers: &[Consumer], report: &mut Report) {
    for (table, consumer) in ORDER_TABLES.into_iter().zip(consumers) {
        table.check(order, consumer, report);
    }
}
