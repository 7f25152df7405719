//! What is verified of this shop beyond the properties of any domain (`verify-log`): its read models, stock, money and processes.
//!
//! One file for each property, with its name, its sentence and its check. Each read model is a file with its table and its second
//! fold (`fold/`); all have the same form.
//! Never: a rule taken from `domain`, `sagas` or `query-side`. Read next: `read_model_orders.rs`, `stock.rs`, `money.rs`.

pub mod money;
pub mod processes;
pub mod read_model_order_events;
pub mod read_model_orders;
pub mod read_model_payments;
pub mod read_model_processes;
pub mod read_model_sales;
pub mod read_model_stock;
pub mod stock;

use std::fmt;

use events::{Context, ContextName};
use verify_log::{Cell, Consumer, Property, Report, Row, StoredRow, Table, Violation, compare, properties};

use crate::LoggedEvent;
use crate::read::orders::{Applied, ORDER_STREAMS, Order};

/// Every property, in the order of the report.
pub static PROPERTIES: [&Property; 16] = [
    &properties::LOG,
    &properties::TOPICS,
    &properties::FOREIGN_RECORDS,
    &properties::CHECKPOINTS,
    &properties::PROGRESS,
    &read_model_orders::PROPERTY,
    &read_model_order_events::PROPERTY,
    &read_model_processes::PROPERTY,
    &read_model_stock::PROPERTY,
    &read_model_payments::PROPERTY,
    &read_model_sales::PROPERTY,
    &properties::PARKED,
    &stock::PROPERTY,
    &money::PROPERTY,
    &processes::PROPERTY,
    &properties::ANSWERS,
];

/// The categories of streams whose versions are checked where this shop's checks read them.
pub const CATEGORIES: [&str; 5] = {
    let [(_, a), (_, b), (_, c), (_, d)] = ORDER_STREAMS;
    [a, b, c, d, stock::CATEGORY]
};

/// The read models whose rows belong to an order.
pub static ORDER_TABLES: [&OrderTable; 5] = [
    &read_model_orders::TABLE,
    &read_model_order_events::TABLE,
    &read_model_processes::TABLE,
    &read_model_payments::TABLE,
    &read_model_sales::TABLE,
];

/// A read model whose rows belong to an order.
pub struct OrderTable {
    pub table: Table,
    /// The contexts whose logs the second fold reads.
    pub contexts: &'static [Context],
    pub fold: Fold,
}

/// The second fold of a table.
pub enum Fold {
    /// One row for each order at most: from its id and the events that the table's consumer has applied.
    Order(fn(&str, &Applied<'_>) -> Option<Row>),
    /// One row for each event, found by the column `event_id`: from the order's id and the event.
    Event(fn(&str, &LoggedEvent) -> Option<Row>),
}

impl fmt::Debug for OrderTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

impl OrderTable {
    /// The rows of one order equal the second fold of its events, as far as the table's consumer has come.
    pub fn check(&self, order: &Order, consumer: &Consumer, report: &mut Report) {
        let (applied, rows) = (order.applied(consumer), order.rows(&self.table));
        match self.fold {
            Fold::Order(fold) => {
                let wanted = fold(&order.id, &applied);
                let line = report.line(self.table.property);
                compare(line, &self.table, &order.id, rows.first(), wanted.as_ref());
            }
            Fold::Event(fold) => self.check_events(order, fold, &applied, report),
        }
    }

    fn check_events(
        &self,
        order: &Order,
        fold: fn(&str, &LoggedEvent) -> Option<Row>,
        applied: &Applied<'_>,
        report: &mut Report,
    ) {
        let (table, line) = (&self.table, report.line(self.table.property));
        let mut rows: Vec<Option<&StoredRow>> = order.rows(table).iter().map(Some).collect();
        for logged in applied.events() {
            let wanted = fold(&order.id, logged);
            let event_id = logged.event.event_id.to_string();
            let is_its = |row: &&mut Option<&StoredRow>| {
                row.is_some_and(|row| matches!(row.get("event_id"), Some(Cell::Text(id)) if *id == event_id))
            };
            let stored = rows.iter_mut().find(is_its).and_then(Option::take);
            compare(line, table, &event_id, stored, wanted.as_ref());
        }
        for row in rows.into_iter().flatten() {
            let violation = Violation::new("a row that the log does not give").at("table", table.name);
            line.add_violation(violation.at("order", &order.id).given(row));
        }
    }
}

/// The read models with a second fold, by the context whose log it reads; none for a context that no fold reads.
pub fn second_folds() -> Vec<(ContextName, Vec<&'static str>)> {
    let of_orders = || ORDER_TABLES.iter().map(|OrderTable { table, contexts, .. }| (table.name, *contexts));
    let stock: (_, &[Context]) = (read_model_stock::TABLE.name, &read_model_stock::CONTEXTS);
    let of_context = |context: Context| {
        let reading = of_orders().chain([stock]).filter(|(_, contexts)| contexts.contains(&context));
        (context.into(), reading.map(|(table, _)| table).collect())
    };
    Context::ALL.into_iter().map(of_context).collect()
}

#[cfg(test)]
pub mod tests {
    use std::fs;

    use chrono::DateTime;
    use uuid::Uuid;
    use verify_log::{Line, RawEvent};

    use super::*;

    pub const ORDER_ID: &str = "018f2f3a-7c1e-7d2a-9b44-3c5a1e9f0a01";

    /// The event of a fixture: `<Type>.v1` or `<Type>.v1.<name>`.
    pub fn logged(context: Context, version: i32, fixture: &str) -> LoggedEvent {
        let path = format!("{}/../events/fixtures/{fixture}.json", env!("CARGO_MANIFEST_DIR"));
        let event_type = fixture.split('.').next().expect("a type");
        let (_, category) =
            ORDER_STREAMS.into_iter().find(|(known, _)| *known == context).expect("a context");
        let event = RawEvent {
            context: context.into(),
            partition: 0,
            position: i64::from(version),
            stream: format!("{category}-{ORDER_ID}"),
            version,
            event_id: Uuid::from_u128(version.unsigned_abs().into()),
            event_type: event_type.to_owned(),
            schema_version: 1,
            payload: fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")),
            metadata: format!(r#"{{"correlation_id":"{ORDER_ID}","actor":"http"}}"#),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        let fact = event.decode();
        assert!(fact.is_ok(), "{fact:?}");
        LoggedEvent { event, fact }
    }

    #[test]
    fn a_row_is_missing_once_the_tables_consumer_has_applied_the_event() {
        let placed = vec![logged(Context::Orders, 1, "OrderPlaced.v1")];
        let order = Order::new(ORDER_ID, [(Context::Orders, placed)]);
        let found = |table: &OrderTable, consumer: &Consumer| {
            let mut report = Report::default();
            table.check(&order, consumer, &mut report);
            let line: Line = report.line(table.table.property).clone();
            line.first.map(|violation| violation.to_string())
        };
        let applied = Consumer::with([(Context::Orders, [(0, 1)].into_iter().collect())]);
        for table in ORDER_TABLES {
            assert_eq!(found(table, &Consumer::default()), None, "{table:?}");
            let wanted = table.contexts.contains(&Context::Orders) && table.table.name != "sales";
            let missing = found(table, &applied).is_some_and(|what| what.starts_with("a row is missing"));
            assert_eq!(missing, wanted, "{table:?}");
        }
    }

    #[test]
    fn every_context_is_listed_with_its_second_folds() {
        let folds = second_folds();
        assert_eq!(folds.len(), Context::ALL.len());
        let of =
            |context| folds.iter().find(|(known, _)| *known == context).map(|(_, tables)| tables.clone());
        let inventory = vec!["order_events", "processes", "stock"];
        assert_eq!(of(Context::Inventory), Some(inventory));
        let orders = vec!["orders", "order_events", "processes", "sales"];
        assert_eq!(of(Context::Orders), Some(orders));
    }

    #[test]
    fn the_page_has_the_sentence_of_every_property() {
        let page = include_str!("../../../docs/reliability.md");
        for Property { name, sentence } in PROPERTIES {
            let row = format!("| `{name}` | {sentence} |\n");
            assert!(page.contains(&row), "docs/reliability.md lacks the row\n{row}");
        }
    }

    #[test]
    fn no_two_properties_have_one_name() {
        let mut names = PROPERTIES.map(|property| property.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
