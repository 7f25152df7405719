//! The table `payments`: one row for each payment, asked for or undone before that. Read next: `fold/sales.rs`.

use events::{Event, PaymentEvent};
use serde_json::Value;

use super::{Row, Table, json as value, set};
use crate::report::Property;
use crate::streams::Told;

pub const TABLE: Table = Table {
    property: Property::ReadModelPayments,
    name: "payments",
    consumer: "query-side.payments",
    key: "payment_id",
};

pub fn fold(id: &str, applied: &[&Told]) -> Option<Row> {
    let mut row: Option<Row> = None;
    for told in applied {
        let Some(Event::Payment(event)) = &told.fact else { continue };
        let row = row.get_or_insert_with(|| empty(id));
        for (column, now) in changes(event, row) {
            row.insert(column.to_owned(), now);
        }
        set(row, [("version", told.event.version.into()), ("position", told.event.position.into())]);
    }
    row
}

fn empty(id: &str) -> Row {
    let mut row = Row::new();
    set(&mut row, [("payment_id", id.into()), ("order_id", id.into()), ("state", "requested".into())]);
    for nothing in ["customer_id", "currency", "decline_code", "provider_reference", "expires_at"] {
        row.insert(nothing.to_owned(), Value::Null);
    }
    for zero in ["amount_minor", "authorised_minor", "captured_minor", "refunded_minor"] {
        row.insert(zero.to_owned(), 0.into());
    }
    row
}

fn changes(event: &PaymentEvent, row: &Row) -> Vec<(&'static str, Value)> {
    let state = |state: &str| ("state", Value::from(state));
    match event {
        PaymentEvent::PaymentRequested(event) => vec![
            state("requested"),
            ("customer_id", value(&event.customer_id)),
            ("currency", value(event.amount.currency())),
            ("amount_minor", event.amount.amount_minor().into()),
            ("expires_at", value(event.expires_at)),
        ],
        PaymentEvent::PaymentWaived(_) => vec![state("waived")],
        PaymentEvent::PaymentAuthorised(event) => vec![
            state("authorised"),
            ("authorised_minor", row.get("amount_minor").cloned().unwrap_or_default()),
            ("provider_reference", event.provider_reference.clone().into()),
        ],
        PaymentEvent::PaymentDeclined(event) => {
            vec![state("declined"), ("decline_code", event.decline_code.clone().into())]
        }
        PaymentEvent::PaymentUnknown(_) => vec![state("unknown")],
        PaymentEvent::PaymentExpired(_) => vec![state("expired")],
        PaymentEvent::PaymentCaptureRequested(_) => vec![state("capturing")],
        PaymentEvent::PaymentCaptured(event) => {
            vec![state("captured"), ("captured_minor", event.amount.amount_minor().into())]
        }
        PaymentEvent::PaymentVoidRequested(_) => vec![state("voiding")],
        PaymentEvent::PaymentVoided(_) => vec![state("voided")],
        PaymentEvent::PaymentRefundRequested(_) => vec![state("refunding")],
        PaymentEvent::PaymentRefunded(event) => {
            vec![state("refunded"), ("refunded_minor", event.amount.amount_minor().into())]
        }
    }
}
