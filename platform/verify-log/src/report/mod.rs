//! What a verification found: one line for each property, with counts and the first record that breaks it.
//!
//! Never: a property that fails without a violation. Read next: `violation.rs`.

mod violation;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use violation::Violation;

use event_log::ContextName;

/// What must hold. There is one `static` of each, in the file of its check; two are the same when they are that one.
#[derive(Debug)]
pub struct Property {
    /// As in the report, in `--only` and in the metrics.
    pub name: &'static str,
    /// What must hold, as `docs/reliability.md` has it.
    pub sentence: &'static str,
}

impl Property {
    pub const fn new(name: &'static str, sentence: &'static str) -> Self {
        Self { name, sentence }
    }
}

/// One property, and what was found of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    pub counts: BTreeMap<String, u64>,
    pub violations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Violation>,
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

    pub fn add_violation(&mut self, violation: Violation) {
        self.violations += 1;
        self.first.get_or_insert(violation);
    }

    pub fn holds(&self) -> bool {
        self.violations == 0 && self.not_checked.is_none()
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

/// The lines of all properties, and which read models each context has a second fold for.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<(&'static Property, Line)>,
    second_folds: Vec<(ContextName, Vec<&'static str>)>,
}

impl Report {
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (&'static Property, &Line)> {
        self.lines.iter().map(|(property, line)| (*property, line))
    }

    /// A count of the property with this name, where it was counted.
    pub fn count(&self, property: &str, what: &str) -> Option<u64> {
        let (_, line) = self.lines.iter().find(|(known, _)| known.name == property)?;
        line.counts.get(what).copied()
    }

    /// The line of this property; an empty one where nothing was found yet.
    pub fn line(&mut self, property: &'static Property) -> &mut Line {
        let known = self.lines.iter().position(|(known, _)| std::ptr::eq(*known, property));
        let index = known.unwrap_or_else(|| {
            self.lines.push((property, Line::default()));
            self.lines.len() - 1
        });
        &mut self.lines[index].1
    }

    /// Adds what another part of the work has found. A first violation that is here already stays the first.
    pub fn add(&mut self, other: Self) {
        for (property, line) in other.lines {
            self.line(property).add(line);
        }
    }

    /// The lines of these properties, in their order: an empty one where nothing was found.
    #[must_use]
    pub fn select(mut self, properties: impl IntoIterator<Item = &'static Property>) -> Self {
        let line = |property| (property, std::mem::take(self.line(property)));
        let lines = properties.into_iter().map(line).collect();
        Self { lines, ..self }
    }

    /// `folds`: by context the names of the read models whose rows are folded a second time from its log.
    #[must_use]
    pub fn with_second_folds(self, folds: Vec<(ContextName, Vec<&'static str>)>) -> Self {
        Self { second_folds: folds, ..self }
    }

    /// Whether nothing was found, and nothing was left out.
    pub fn holds(&self) -> bool {
        self.lines.iter().all(|(_, line)| line.holds())
    }

    pub fn fails(&self) -> bool {
        self.lines.iter().any(|(_, line)| line.violations > 0)
    }

    /// The report for machines.
    pub fn as_json(&self) -> Value {
        let properties: Map<String, Value> =
            self.lines.iter().map(|(property, line)| (property.name.to_owned(), json!(line))).collect();
        let folds: Map<String, Value> =
            self.second_folds.iter().map(|(context, tables)| (context.to_string(), json!(tables))).collect();
        json!({"holds": self.holds(), "properties": properties, "second_folds": folds})
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
            write!(f, "{verdict:<5} {:<24}", property.name)?;
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
        if !self.second_folds.is_empty() {
            let of_context = |(context, tables): &(ContextName, Vec<&str>)| match tables.as_slice() {
                [] => format!("{context}: no second fold"),
                tables => format!("{context}: {}", tables.join(", ")),
            };
            let folds: Vec<String> = self.second_folds.iter().map(of_context).collect();
            writeln!(f, "{:<5} {:<24}{}", "", "second folds", folds.join("; "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TOY;

    static TEA: Property = Property::new("tea", "the tea is hot");
    static CUPS: Property = Property::new("cups", "no cup is broken");

    fn report() -> Report {
        let mut report = Report::default();
        report.line(&CUPS).count("cups", 3);
        report.line(&TEA).count("pots", 7);
        let first = Violation::new("below 0").in_context(TOY.contexts[1]).at("stream", "cup-A").given(-1);
        report.line(&CUPS).add_violation(first.wanted("0 or more"));
        report.line(&CUPS).add_violation(Violation::new("a later one"));
        report.select([&TEA, &CUPS])
    }

    #[test]
    fn a_line_tells_its_counts_and_the_first_violation() {
        let report = report();
        assert!(!report.holds() && report.fails());
        assert_eq!(report.count("tea", "pots"), Some(7));
        let context = TOY.contexts[1];
        assert_eq!(
            report.to_string(),
            format!(
                "ok    tea                     7 pots\n\
                 FAIL  cups                    3 cups | 2 violations, first: below 0 at context {context}, stream cup-A; given -1; wanted 0 or more\n"
            )
        );
    }

    #[test]
    fn json_has_the_same_by_name() {
        let context = TOY.contexts[1];
        let at = json!({"context": context, "stream": "cup-A"});
        let first = json!({"what": "below 0", "at": at, "given": "-1", "wanted": "0 or more"});
        let cups = json!({"counts": {"cups": 3}, "violations": 2, "first": first});
        let tea = json!({"counts": {"pots": 7}, "violations": 0});
        assert_eq!(
            report().as_json(),
            json!({"holds": false, "properties": {"tea": tea, "cups": cups}, "second_folds": {}})
        );
    }

    #[test]
    fn what_was_not_checked_neither_holds_nor_fails() {
        let mut report = Report::default();
        report.line(&TEA).not_checked = Some("no kettle".to_owned());
        assert!(!report.holds() && !report.fails());
        let shown = report.select([&TEA]).to_string();
        assert_eq!(shown, "?     tea                      | not checked: no kettle\n");
    }

    #[test]
    fn two_parts_of_the_work_are_added_and_the_first_violation_stays_the_first() {
        let (mut report, mut other) = (report(), Report::default());
        other.line(&CUPS).count("cups", 2);
        other.line(&CUPS).add_violation(Violation::new("of the other part"));
        report.add(other);
        let report = report.select([&CUPS]);
        assert_eq!(report.count("cups", "cups"), Some(5));
        let line = report.lines().next().map(|(_, line)| line.clone()).expect("a line");
        assert_eq!((line.violations, line.first.map(|first| first.what)), (3, Some("below 0".to_owned())));
    }

    #[test]
    fn every_context_is_named_with_its_second_folds_or_without() {
        let folds = vec![(TOY.contexts[0], vec!["a", "b"]), (TOY.contexts[1], Vec::new())];
        let report = Report::default().with_second_folds(folds);
        let (first, second) = (TOY.contexts[0], TOY.contexts[1]);
        assert_eq!(
            report.to_string(),
            format!("      second folds            {first}: a, b; {second}: no second fold\n")
        );
        assert_eq!(
            report.as_json()["second_folds"],
            json!({first.as_str(): ["a", "b"], second.as_str(): []})
        );
    }
}
