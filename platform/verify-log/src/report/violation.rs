//! A record that breaks a property: what is wrong with it, where it is, what it says and what it should say.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use event_log::ContextName;

/// The most characters of a given or a wanted value that are shown.
const SHOWN_MAX: usize = 300;
/// How many bytes are shown before the first difference of two long texts.
const SHOWN_BEFORE: usize = 60;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Violation {
    pub what: String,
    /// The place: context, position, stream, version, topic, partition, offset, consumer, row, …, as far as they apply.
    pub at: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

impl Violation {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    #[must_use]
    pub fn at(mut self, name: &'static str, place: impl fmt::Display) -> Self {
        self.at.insert(name, place.to_string());
        self
    }

    #[must_use]
    pub fn in_context(self, context: impl Into<ContextName>) -> Self {
        self.at("context", context.into())
    }

    #[must_use]
    pub fn given(mut self, given: impl fmt::Display) -> Self {
        self.given = Some(shown(&given.to_string()));
        self
    }

    #[must_use]
    pub fn wanted(mut self, wanted: impl fmt::Display) -> Self {
        self.wanted = Some(shown(&wanted.to_string()));
        self
    }

    /// Two long texts, from a little before their first difference.
    #[must_use]
    pub fn differing(self, given: &str, wanted: &str) -> Self {
        let start = before_the_difference(given, wanted);
        let from = |text: &str| {
            let dots = if start == 0 { "" } else { "…" };
            format!("{dots}{}", text.get(start..).unwrap_or_default())
        };
        self.given(from(given)).wanted(from(wanted))
    }
}

/// The index of the first difference, less a few bytes so that a reader recognises the place.
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

impl fmt::Display for Violation {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        let violation = Violation::new("x").given("ä".repeat(SHOWN_MAX + 1));
        assert_eq!(violation.given.map(|given| given.chars().count()), Some(SHOWN_MAX + 1));
    }

    #[test]
    fn two_long_texts_are_shown_from_a_little_before_their_difference() {
        let same = "ä".repeat(SHOWN_MAX);
        let violation = Violation::new("x").differing(&format!("{same}here"), &format!("{same}there"));
        let before = "ä".repeat(SHOWN_BEFORE / 2);
        assert_eq!(violation.given, Some(format!("…{before}here")));
        assert_eq!(violation.wanted, Some(format!("…{before}there")));
    }
}
