//! The versions of each stream, and whether its events decode.

use event_log::EventSet;

use crate::Error;
use crate::read::log::Log;
use crate::read::streams::{LoggedEvent, Streams};
use crate::report::Line;

/// The streams of one log, event by event: stream by stream, in the order of versions.
#[derive(Default)]
pub struct VersionCheck {
    /// The stream and the version of the last event.
    stream: String,
    version: i32,
}

impl VersionCheck {
    pub fn check<E>(&mut self, LoggedEvent { event, fact }: &LoggedEvent<E>, line: &mut Line) {
        if self.stream != event.stream {
            line.count("streams", 1);
            self.stream.clone_from(&event.stream);
            self.version = 0;
        }
        let wanted = self.version + 1;
        if event.version != wanted {
            let what = "versions have a gap: this event does not follow the one before it in its stream";
            line.add_violation(event.violation(what).given(event.version).wanted(wanted));
        }
        self.version = event.version;
        if let Err(unknown) = fact {
            line.add_violation(event.violation("an event that this build cannot read").given(unknown));
        }
    }
}

/// Checks the streams of all categories but `categories`, which are checked where they are read.
///
/// # Errors
/// [`Error`] when the database fails.
pub async fn check_other_streams<E: EventSet>(
    log: &Log,
    categories: &[&str],
    line: &mut Line,
) -> Result<(), Error> {
    let mut others = Streams::<E>::of_other_categories(log, categories).await?;
    let mut versions = VersionCheck::default();
    while let Some(logged) = others.pop().await? {
        versions.check(&logged, line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::check::log::tests::event;
    use crate::read::log::RawEvent;

    fn of(stream: &str, version: i32) -> LoggedEvent<Infallible> {
        let event = RawEvent { stream: stream.to_owned(), version, ..event(1) };
        LoggedEvent { event, fact: Err("unknown".to_owned()) }
    }

    #[test]
    fn versions_begin_at_1_in_each_stream_and_have_no_gap() {
        let (mut check, mut line) = (VersionCheck::default(), Line::default());
        for (stream, version) in [("tea-1", 1), ("tea-1", 2), ("tea-2", 1)] {
            check.check(&of(stream, version), &mut line);
        }
        assert_eq!((line.counts["streams"], line.violations), (2, 3));
        let first = line.first.take().expect("none of them decodes").to_string();
        assert!(first.starts_with("an event that this build cannot read"), "{first}");
        check.check(&of("tea-2", 3), &mut line);
        let gap = line.first.expect("a violation").to_string();
        assert!(gap.starts_with("versions have a gap") && gap.ends_with("given 3; wanted 2"), "{gap}");
    }
}
