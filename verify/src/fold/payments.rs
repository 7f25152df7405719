//! The table `payments`: one row for each payment, also for one that was cancelled before it was requested.

use events::{Context, Event, PaymentEvent};
use verify_log::{Cell, Row};

use crate::read::orders::Applied;

pub fn fold(id: &str, applied: &Applied<'_>) -> Option<Row> {
    let mut row: Option<Row> = None;
    for logged in applied.of(Context::Payments) {
        let Ok(Event::Payment(event)) = &logged.fact else { continue };
        let row = row.get_or_insert_with(|| empty(id));
        for change in changes(event, row) {
            row.set([change]);
        }
        row.set([("version", logged.event.version.into()), ("position", logged.event.position.into())]);
    }
    row
}

fn empty(id: &str) -> Row {
    let mut row =
        Row::new([("payment_id", id.into()), ("order_id", id.into()), ("state", "requested".into())]);
    for nothing in ["customer_id", "currency", "decline_code", "provider_reference", "expires_at"] {
        row.set([(nothing, Cell::Null)]);
    }
    for zero in ["amount_minor", "authorised_minor", "captured_minor", "refunded_minor"] {
        row.set([(zero, Cell::Number(0))]);
    }
    row
}

fn changes(event: &PaymentEvent, row: &Row) -> Vec<(&'static str, Cell)> {
    let state = |state: &str| ("state", state.into());
    match event {
        PaymentEvent::PaymentRequested(event) => vec![
            state("requested"),
            ("customer_id", event.customer_id.as_str().into()),
            ("currency", event.amount.currency().as_str().into()),
            ("amount_minor", event.amount.amount_minor().into()),
            ("expires_at", event.expires_at.into()),
        ],
        PaymentEvent::PaymentWaived(_) => vec![state("waived")],
        PaymentEvent::PaymentAuthorised(event) => vec![
            state("authorised"),
            ("authorised_minor", row.get("amount_minor").cloned().into()),
            ("provider_reference", event.provider_reference.as_str().into()),
        ],
        PaymentEvent::PaymentDeclined(event) => {
            vec![state("declined"), ("decline_code", event.decline_code.as_str().into())]
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
