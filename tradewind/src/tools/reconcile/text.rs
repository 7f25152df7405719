//! The output of `tradewind reconcile`: one line for each event that no longer exists; the list is complete, however
//! long.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use events::Context;

use super::diff::{Compared, Diff};

pub fn report(diff: &Diff) -> String {
    let mut text = String::new();
    for compared in &diff.contexts {
        one_context(&mut text, compared);
    }
    for ahead in &diff.projections_ahead {
        line(
            &mut text,
            format_args!(
                "read model {}: {}/{} applied up to position {}, the log ends at {}",
                ahead.consumer, ahead.topic, ahead.partition, ahead.last_position, ahead.head
            ),
        );
    }
    for mismatch in &diff.mismatched {
        line(&mut text, format_args!("{mismatch}"));
    }
    if diff.shown > 0 {
        line(&mut text, format_args!("read models: the timelines of orders show {} lost events", diff.shown));
    }
    let (requested, forgotten) = payments_with_lost_events(diff);
    if !requested.is_empty() {
        line(
            &mut text,
            format_args!(
                "these payments lost events after their request. The request is still in the log, so the sagas ask the provider \
                 again under the same key, and what the provider did counts: {}",
                names(requested)
            ),
        );
    }
    if !forgotten.is_empty() {
        line(
            &mut text,
            format_args!(
                "these payments lost their request too, and the payment provider may hold money: ask it about {}",
                names(forgotten)
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
        line(text, format_args!("  an earlier reconciliation did not finish"));
    }
    if *missing > 0 {
        line(text, format_args!("  {missing} relayed events are not on Kafka"));
    }
    if topic.stop_markers > 0 {
        line(text, format_args!("  the relay has told the consumers to stop"));
    }
    for ((position, event_id), event) in lost {
        line(
            text,
            format_args!("  lost {context}:{position} {} {} {event_id}", event.stream, event.event_type),
        );
    }
}

pub fn plan(diff: &Diff) -> String {
    format!(
        "would start epoch {} in every context, recreate the topics from the logs, set every checkpoint to the same events \
         as before, and rebuild the read models",
        diff.next_epoch()
    )
}

/// The payments that lost events: first those whose request is still in the log, then those without any.
fn payments_with_lost_events(diff: &Diff) -> (BTreeSet<String>, BTreeSet<String>) {
    let payments = diff.contexts.iter().filter(|compared| compared.context == Context::Payments);
    let (mut lost_some, mut forgotten) = (BTreeSet::new(), BTreeSet::new());
    for event in payments.flat_map(|compared| compared.lost.values()) {
        match event.event_type.split('.').next() {
            Some("PaymentRequested") => forgotten.insert(event.stream.to_string()),
            // The provider was not asked.
            None | Some("PaymentWaived") => false,
            Some(_) => lost_some.insert(event.stream.to_string()),
        };
    }
    (&lost_some - &forgotten, forgotten)
}

fn names(streams: BTreeSet<String>) -> String {
    streams.into_iter().collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes any text");
}
