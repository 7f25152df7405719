//! What `tradewind reconcile` prints: one line for each event that no longer exists.
//!
//! Never: a list that is cut off. Read next: `finding.rs`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use events::Context;

use super::finding::{Compared, Finding};

pub fn report(finding: &Finding) -> String {
    let mut text = String::new();
    for compared in &finding.contexts {
        one_context(&mut text, compared);
    }
    for ahead in &finding.projections_ahead {
        line(
            &mut text,
            format_args!(
                "read model {}: {}/{} applied up to position {}, the log ends at {}",
                ahead.consumer, ahead.topic, ahead.partition, ahead.last_position, ahead.head
            ),
        );
    }
    for apart in &finding.apart {
        line(&mut text, format_args!("{apart}"));
    }
    if finding.shown > 0 {
        line(
            &mut text,
            format_args!("read models: the timelines of orders show {} lost events", finding.shown),
        );
    }
    let (asked_again, unasked) = paid_and_lost(finding);
    if !asked_again.is_empty() {
        line(
            &mut text,
            format_args!(
                "the log lost what the payment provider was asked or said later. Their request is still in the log, and \
                 they go on under the same key, so what the provider did counts: {}",
                names(asked_again)
            ),
        );
    }
    if !unasked.is_empty() {
        line(
            &mut text,
            format_args!(
                "the request itself is lost, and the payment provider may hold money: ask it about {}",
                names(unasked)
            ),
        );
    }
    text
}

fn one_context(text: &mut String, compared: &Compared) {
    let Compared { context, epoch, head, cursor, topic, lost, missing, unfinished } = compared;
    line(
        text,
        format_args!(
            "{context}: epoch {epoch}, log ends at {head}, relayed up to {cursor}; on Kafka {} records, {} lost events",
            topic.records,
            lost.len()
        ),
    );
    if *unfinished {
        line(text, format_args!("  a reconciliation began and did not end"));
    }
    if *missing > 0 {
        line(text, format_args!("  {missing} relayed events are not on Kafka"));
    }
    if topic.halts > 0 {
        line(text, format_args!("  the relay has told the consumers to halt"));
    }
    for ((position, event_id), event) in lost {
        line(
            text,
            format_args!("  lost {context}:{position} {} {} {event_id}", event.stream, event.event_type),
        );
    }
}

pub fn plan(finding: &Finding) -> String {
    format!(
        "would begin epoch {} in every context, make the topics anew from the logs, set every checkpoint to the same \
         events as before, and rebuild the read models",
        finding.next_epoch()
    )
}

/// The payments of which the log lost what the provider was asked or had said: those whose request it still has, and those
/// of which it knows nothing any more.
fn paid_and_lost(finding: &Finding) -> (BTreeSet<String>, BTreeSet<String>) {
    let payments = finding.contexts.iter().filter(|compared| compared.context == Context::Payments);
    let (mut told, mut unasked) = (BTreeSet::new(), BTreeSet::new());
    for event in payments.flat_map(|compared| compared.lost.values()) {
        match event.event_type.split('.').next() {
            Some("PaymentRequested") => unasked.insert(event.stream.to_string()),
            // Nobody was asked about nothing.
            None | Some("PaymentWaived") => false,
            Some(_) => told.insert(event.stream.to_string()),
        };
    }
    (&told - &unasked, unasked)
}

fn names(streams: BTreeSet<String>) -> String {
    streams.into_iter().collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes any text");
}
