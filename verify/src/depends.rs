//! What events say that they depend on: positions that must be there, their trigger's among them.
//!
//! By position every event is looked at; by order, where the trigger is another event of the same order. Events that were
//! written before there was such a field name nothing; of those that something caused it is counted how many they are.
//! Never: a search for a trigger in the logs. Read next: `travel.rs`, `merge.rs`.

use events::Context;

use crate::engines::index;
use crate::log::{Event, Published};
use crate::orders::Case;
use crate::report::{Line, Offence, Property, Report};
use crate::streams::Told;

/// A position in each context's log, in the order of [`Context::ALL`]; 0 where none is named.
pub type Positions = [i64; 4];

/// Reads `orders:5,inventory:12`.
///
/// # Errors
/// In words, when it is not of this form.
pub fn parse(text: Option<&str>) -> Result<Positions, String> {
    let mut positions = Positions::default();
    for token in text.into_iter().flat_map(|text| text.split(',')) {
        let parsed = token.split_once(':').and_then(|(context, position)| {
            let context: Context = context.parse().ok()?;
            let position: i64 = position.parse().ok().filter(|position| *position >= 1)?;
            Some((index(context), position))
        });
        let (place, position) = parsed.ok_or_else(|| format!("{token:?} is no position of a log of ours"))?;
        positions[place] = position.max(positions[place]);
    }
    Ok(positions)
}

/// What an event names must be in the logs. `heads`: where each log ends; an event that was appended after the first of them
/// was looked at may know of later ones, so those up to the relay's cursor (`is_counted`) are held to it.
pub fn hold_named(
    line: &mut Line,
    context: Context,
    Published { event, depends_on, .. }: &Published,
    heads: &Positions,
    is_counted: bool,
) {
    let named = match depends_on {
        Ok(named) => named,
        Err(unreadable) => {
            let offence = Offence::new("an event that does not say what it depends on");
            return line.offend(event.accuse(context, offence).given(unreadable));
        }
    };
    for (of, position) in Context::ALL.into_iter().zip(named).filter(|(_, position)| **position > 0) {
        let (what, last) = match of == context {
            true => ("an event that depends on itself or on a later one", event.position - 1),
            false if is_counted => ("an event that depends on one that is not there", heads[index(of)]),
            false => continue,
        };
        if *position > last {
            let offence = event.accuse(context, Offence::new(what));
            line.offend(offence.given(format!("{of}:{position}")).wanted(format!("at most {of}:{last}")));
        }
    }
}

/// Where the trigger of an event is another stream's of the same order, the event depends on it and on all that it depends on.
pub fn hold_triggers(case: &Case, report: &mut Report) {
    let line = report.line(Property::Log);
    for (context, told) in all(case) {
        let event = &told.event;
        // What does not parse is told where the logs are read by position.
        let Ok(metadata) = event.metadata() else { continue };
        let Some(causation_id) = metadata.causation_id else { continue };
        let Some(depends_on) = &metadata.depends_on else {
            line.count("caused, and without what they depend on", 1);
            continue;
        };
        let is_trigger = |(_, other): &(Context, &Told)| {
            other.event.event_id == causation_id && other.event.stream != event.stream
        };
        let Some((of, trigger)) = all(case).find(is_trigger) else { continue };
        if let (Ok(named), Ok(wanted)) = (parse(Some(depends_on)), with_its_own(of, &trigger.event))
            && named.iter().zip(&wanted).any(|(named, wanted)| named < wanted)
        {
            let offence = Offence::new("an event that does not name its trigger, or what that depends on");
            let offence =
                event.accuse(context, offence).at("trigger", format!("{of}:{}", trigger.event.position));
            line.offend(offence.given(depends_on).wanted(shown(&wanted)));
        }
    }
}

fn all(case: &Case) -> impl Iterator<Item = (Context, &Told)> {
    let logs = Context::ALL.into_iter().zip(&case.logs);
    logs.flat_map(|(context, log)| log.iter().map(move |told| (context, told)))
}

/// What a trigger depends on, and itself.
fn with_its_own(context: Context, trigger: &Event) -> Result<Positions, String> {
    let mut positions = parse(trigger.metadata()?.depends_on.as_deref())?;
    let own = &mut positions[index(context)];
    *own = trigger.position.max(*own);
    Ok(positions)
}

fn shown(positions: &Positions) -> String {
    let named = Context::ALL.into_iter().zip(positions).filter(|(_, position)| **position > 0);
    named.map(|(context, position)| format!("{context}:{position}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_by_context_and_the_higher_of_two_counts() {
        assert_eq!(parse(None), Ok([0; 4]));
        assert_eq!(parse(Some("payments:3,orders:5")), Ok([5, 0, 3, 0]));
        assert_eq!(parse(Some("orders:5,orders:7,orders:6")), Ok([7, 0, 0, 0]));
        assert_eq!(shown(&[7, 0, 3, 0]), "orders:7,payments:3");
    }

    #[test]
    fn what_is_no_position_of_a_log_is_not_read() {
        for text in ["", "orders", "orders:0", "orders:-1", "orders:5,", "tea:1", "orders: 5"] {
            assert!(parse(Some(text)).is_err(), "{text:?}");
        }
    }
}
