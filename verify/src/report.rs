//! What was found: one line for each property, with counts, and the first record that breaks it.
//!
//! Never: a property that failed without an offender, or a payload longer than a line can hold.
//! Read next: [`crate::run`].

use std::collections::BTreeMap;
use std::fmt;

use events::Context;
use serde::Serialize;

/// The most characters of a given or a wanted value that are shown.
const SHOWN_MAX: usize = 300;
/// So many bytes before the first difference of two long texts.
const SHOWN_BEFORE: usize = 60;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// Positions 1..head and versions 1..n without a gap; every event decodes; no event id twice; what an event depends on
    /// is there.
    Log,
    /// The topics hold the logs, in order, byte by byte.
    Topics,
    /// The topics hold nothing that is no event.
    ForeignRecords,
    /// Each checkpoint is where the record before it says.
    Checkpoints,
    /// What the read models say of how far they have come is what their checkpoints say; what they say they have seen
    /// covers what is shown and what that depends on.
    Progress,
    ReadModelOrders,
    ReadModelOrderEvents,
    ReadModelProcesses,
    ReadModelStock,
    ReadModelPayments,
    ReadModelSales,
    /// How many records wait for a person. A fact: it fails nothing.
    Parked,
    /// received = available + reserved + shipped at every version, none below 0; reservations agree.
    Stock,
    /// What is held, and captured less refunded, is what the provider's ledger says, payment by payment.
    Money,
    /// Each order in one terminal state, or waiting for something that will come.
    Processes,
    /// One answer for each idempotency key, and it agrees with the events it points to.
    Answers,
}

impl Property {
    pub const ALL: [Self; 16] = [
        Self::Log,
        Self::Topics,
        Self::ForeignRecords,
        Self::Checkpoints,
        Self::Progress,
        Self::ReadModelOrders,
        Self::ReadModelOrderEvents,
        Self::ReadModelProcesses,
        Self::ReadModelStock,
        Self::ReadModelPayments,
        Self::ReadModelSales,
        Self::Parked,
        Self::Stock,
        Self::Money,
        Self::Processes,
        Self::Answers,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Topics => "topics",
            Self::ForeignRecords => "foreign-records",
            Self::Checkpoints => "checkpoints",
            Self::Progress => "progress",
            Self::ReadModelOrders => "read-model-orders",
            Self::ReadModelOrderEvents => "read-model-order-events",
            Self::ReadModelProcesses => "read-model-processes",
            Self::ReadModelStock => "read-model-stock",
            Self::ReadModelPayments => "read-model-payments",
            Self::ReadModelSales => "read-model-sales",
            Self::Parked => "parked",
            Self::Stock => "stock",
            Self::Money => "money",
            Self::Processes => "processes",
            Self::Answers => "answers",
        }
    }
}

/// A record that breaks a property: what is wrong with it, where it is, what it says and what it should say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Offence {
    pub what: String,
    /// Where: context, position, stream, version, topic, partition, offset, consumer, row, …, as far as they apply.
    pub at: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

impl Offence {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    #[must_use]
    pub fn at(mut self, name: &'static str, place: impl fmt::Display) -> Self {
        self.at.insert(name, place.to_string());
        self
    }

    #[must_use]
    pub fn in_context(self, context: Context) -> Self {
        self.at("context", context)
    }

    #[must_use]
    pub fn given(mut self, given: impl fmt::Display) -> Self {
        self.given = Some(shown(&given.to_string()));
        self
    }

    /// Two long texts, from a little before where they differ.
    #[must_use]
    pub fn differing(self, given: &str, wanted: &str) -> Self {
        let start = before_the_difference(given, wanted);
        let from = |text: &str| {
            let dots = if start == 0 { "" } else { "…" };
            format!("{dots}{}", text.get(start..).unwrap_or_default())
        };
        self.given(from(given)).wanted(from(wanted))
    }

    #[must_use]
    pub fn wanted(mut self, wanted: impl fmt::Display) -> Self {
        self.wanted = Some(shown(&wanted.to_string()));
        self
    }
}

/// Where two texts begin to differ, less a little so that the place can be recognised.
fn before_the_difference(given: &str, wanted: &str) -> usize {
    let same = given.char_indices().zip(wanted.chars()).find(|((_, given), wanted)| given != wanted);
    let differs = same.map_or(given.len().min(wanted.len()), |((index, _), _)| index);
    let start = differs.saturating_sub(SHOWN_BEFORE);
    (0..=start).rev().find(|index| given.is_char_boundary(*index)).unwrap_or(0)
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (index, (name, place)) in self.at.iter().enumerate() {
            write!(f, "{}{name} {place}", if index == 0 { " at " } else { ", " })?;
        }
        if let Some(given) = &self.given {
            write!(f, "; given {given}")?;
        }
        if let Some(wanted) = &self.wanted {
            write!(f, "; wanted {wanted}")?;
        }
        Ok(())
    }
}

/// One property, and what was found of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    pub counts: BTreeMap<String, u64>,
    pub violations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Offence>,
    /// Why it could not be checked, where it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_checked: Option<String>,
}

impl Line {
    pub fn count(&mut self, what: &str, number: u64) {
        match self.counts.get_mut(what) {
            Some(count) => *count += number,
            None => {
                self.counts.insert(what.to_owned(), number);
            }
        }
    }

    pub fn offend(&mut self, offence: Offence) {
        self.violations += 1;
        self.first.get_or_insert(offence);
    }

    fn add(&mut self, other: Self) {
        for (what, number) in &other.counts {
            self.count(what, *number);
        }
        self.violations += other.violations;
        self.first = self.first.take().or(other.first);
        self.not_checked = self.not_checked.take().or(other.not_checked);
    }
}

/// All lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub lines: BTreeMap<Property, Line>,
}

impl Report {
    pub fn line(&mut self, property: Property) -> &mut Line {
        self.lines.entry(property).or_default()
    }

    /// What another part of the work has found; of two offenders the one that was here first stays the first.
    pub fn add(&mut self, other: Self) {
        for (property, line) in other.lines {
            self.line(property).add(line);
        }
    }

    /// Drops the lines that nobody asked for.
    pub fn keep(&mut self, wanted: impl Fn(Property) -> bool) {
        self.lines.retain(|property, _| wanted(*property));
    }

    /// Whether nothing was found, and nothing was left out.
    pub fn holds(&self) -> bool {
        self.lines.values().all(|line| line.violations == 0 && line.not_checked.is_none())
    }

    pub fn fails(&self) -> bool {
        self.lines.values().any(|line| line.violations > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (property, line) in &self.lines {
            let verdict = match line {
                Line { violations: 1.., .. } => "FAIL",
                Line { not_checked: Some(_), .. } => "?",
                _ => "ok",
            };
            write!(f, "{verdict:<5} {:<24}", property.name())?;
            for (index, (what, number)) in line.counts.iter().enumerate() {
                write!(f, "{}{number} {what}", if index == 0 { "" } else { ", " })?;
            }
            if let Some(first) = &line.first {
                let violations = line.violations;
                let plural = if violations == 1 { "" } else { "s" };
                write!(f, " | {violations} violation{plural}, first: {first}")?;
            }
            if let Some(why) = &line.not_checked {
                write!(f, " | not checked: {why}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_counts_and_the_first_offender() {
        let mut report = Report::default();
        report.line(Property::Log).count("events", 7);
        report.line(Property::Stock).count("versions", 3);
        let first = Offence::new("below 0").in_context(Context::Inventory).at("stream", "stock-A").given(-1);
        report.line(Property::Stock).offend(first.wanted("0 or more"));
        report.line(Property::Stock).offend(Offence::new("a later one"));
        assert!(!report.holds());
        assert_eq!(
            report.to_string(),
            "ok    log                     7 events\n\
             FAIL  stock                   3 versions | 2 violations, first: below 0 at context inventory, stream stock-A; given -1; wanted 0 or more\n"
        );
    }

    #[test]
    fn a_long_value_is_cut() {
        let offence = Offence::new("x").given("ä".repeat(SHOWN_MAX + 1));
        assert_eq!(offence.given.map(|given| given.chars().count()), Some(SHOWN_MAX + 1));
    }

    #[test]
    fn two_long_texts_are_shown_from_a_little_before_their_difference() {
        let same = "ä".repeat(SHOWN_MAX);
        let offence = Offence::new("x").differing(&format!("{same}here"), &format!("{same}there"));
        let before = "ä".repeat(SHOWN_BEFORE / 2);
        assert_eq!(offence.given, Some(format!("…{before}here")));
        assert_eq!(offence.wanted, Some(format!("…{before}there")));
    }

    #[test]
    fn every_property_has_the_name_that_json_gives_it() {
        for property in Property::ALL {
            assert_eq!(serde_json::to_value(property).expect("a name"), property.name());
        }
    }
}
