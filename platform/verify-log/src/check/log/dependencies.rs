//! The positions that events name in `depends_on`: they must exist, and the trigger's must be among them.
//!
//! Events from before this field was introduced name nothing; those of them that another event caused are counted.

use crate::Domain;
use crate::read::log::RawEvent;
use crate::read::positions::Positions;
use crate::read::record::ExpectedRecord;
use crate::read::streams::LoggedEvent;
use crate::report::Line;

/// Every position that an event names must be in its log. `heads`: the position of each log's last event. An event that was
/// appended after the first log was read may name later ones, so only events up to the relay's cursor (`is_counted`) are
/// held to the heads.
pub fn check_named(
    ExpectedRecord { event, depends_on, .. }: &ExpectedRecord,
    heads: &Positions,
    is_counted: bool,
    line: &mut Line,
) {
    let named = match depends_on {
        Ok(named) => named,
        Err(unreadable) => {
            let violation = event.violation("an event whose dependencies cannot be read");
            return line.add_violation(violation.given(unreadable));
        }
    };
    for (context, position) in named.iter() {
        let (what, last) = match context == event.context {
            true => ("an event that depends on itself or on a later one", event.position - 1),
            false if is_counted => ("an event that depends on one that does not exist", heads.of(context)),
            false => continue,
        };
        if position > last {
            let violation = event.violation(what).given(format!("{context}:{position}"));
            line.add_violation(violation.wanted(format!("at most {context}:{last}")));
        }
    }
}

/// Among `events`, which belong together: one whose trigger is in another stream depends on the trigger, and on all that the
/// trigger depends on.
pub fn check_triggers<'a, E: 'a>(
    domain: &Domain,
    events: impl Iterator<Item = &'a LoggedEvent<E>> + Clone,
    line: &mut Line,
) {
    for LoggedEvent { event, .. } in events.clone() {
        // Metadata that do not parse are reported where the logs are read by position.
        let Ok(metadata) = event.metadata() else { continue };
        let Some(causation_id) = metadata.causation_id else { continue };
        let Some(depends_on) = &metadata.depends_on else {
            line.count("caused, without dependencies", 1);
            continue;
        };
        let is_trigger = |other: &&RawEvent| other.event_id == causation_id && other.stream != event.stream;
        let Some(trigger) = events.clone().map(|other| &other.event).find(is_trigger) else { continue };
        if let (Ok(named), Ok(wanted)) =
            (Positions::parse(domain, Some(depends_on)), with_itself(domain, trigger))
            && !named.cover(&wanted)
        {
            let violation =
                event.violation("an event that does not name its trigger, or what that depends on");
            let violation = violation.at("trigger", format!("{}:{}", trigger.context, trigger.position));
            line.add_violation(violation.given(depends_on).wanted(wanted));
        }
    }
}

/// What a trigger depends on, and itself.
fn with_itself(domain: &Domain, trigger: &RawEvent) -> Result<Positions, String> {
    let mut positions = Positions::parse(domain, trigger.metadata()?.depends_on.as_deref())?;
    positions.raise(trigger.context, trigger.position);
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use event_log::ContextName;

    use super::*;
    use crate::check::log::tests::event;
    use crate::domain::TOY;
    use crate::read::positions::tests::positions;

    const A: ContextName = TOY.contexts[0];
    const B: ContextName = TOY.contexts[1];

    /// What is found of an event at position 5 of the first context's log; the second context's log ends at 9.
    fn named(depends_on: &str, is_counted: bool) -> Option<String> {
        let mut line = Line::default();
        let depends_on = Positions::parse(&TOY, Some(depends_on));
        let record = ExpectedRecord { event: event(5), value: Ok(Vec::new()), depends_on };
        check_named(&record, &positions([(A, 5), (B, 9)]), is_counted, &mut line);
        line.first.map(|violation| violation.to_string())
    }

    #[test]
    fn an_event_depends_on_earlier_ones_of_its_own_log_and_on_existing_ones_of_others() {
        assert_eq!(named(&format!("{A}:4,{B}:9"), true), None);
        let itself = named(&format!("{A}:5"), true).expect("a violation");
        assert!(itself.starts_with("an event that depends on itself or on a later one"), "{itself}");
        let missing = named(&format!("{B}:10"), true).expect("a violation");
        assert!(missing.ends_with(&format!("given {B}:10; wanted at most {B}:9")), "{missing}");
        assert_eq!(named(&format!("{B}:10"), false), None, "it was appended while the logs were read");
        assert!(named("tea:1", false).is_some_and(|what| what.contains("cannot be read")));
    }

    fn caused(depends_on: Option<&str>) -> Line {
        let trigger = RawEvent { event_id: uuid::Uuid::from_u128(7), ..event(3) };
        let id = uuid::Uuid::from_u128(7);
        let depends_on = depends_on.map_or(String::new(), |named| format!(r#","depends_on":"{named}""#));
        let metadata =
            format!(r#"{{"correlation_id":"{id}","actor":"x","causation_id":"{id}"{depends_on}}}"#);
        let effect = RawEvent { context: B, stream: "cup-1".to_owned(), metadata, ..event(8) };
        let trigger_metadata = format!(r#"{{"correlation_id":"{id}","actor":"x","depends_on":"{B}:2"}}"#);
        let trigger = RawEvent { metadata: trigger_metadata, ..trigger };
        let events = [trigger, effect]
            .map(|event| LoggedEvent::<Infallible> { event, fact: Err("unknown".to_owned()) });
        let mut line = Line::default();
        check_triggers(&TOY, events.iter(), &mut line);
        line
    }

    #[test]
    fn an_event_names_its_trigger_and_what_that_depends_on() {
        assert_eq!(caused(Some(&format!("{A}:3,{B}:2"))), Line::default());
        for less in [format!("{A}:3"), format!("{A}:2,{B}:2")] {
            let violation = caused(Some(&less)).first.expect("a violation").to_string();
            assert!(violation.ends_with(&format!("given {less}; wanted {A}:3,{B}:2")), "{violation}");
        }
        assert_eq!(caused(None).counts["caused, without dependencies"], 1);
    }
}
