//! The name of a bounded context. It names the context's schema, log and topic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a context, in bytes.
pub const CONTEXT_NAME_BYTES_MAX: usize = 23;

/// A context's name: 1 to [`CONTEXT_NAME_BYTES_MAX`] lower-case letters. As cheap to copy as three integers.
///
/// A valid name need not be the name of an existing context: only the registry that [`contexts!`](crate::contexts)
/// makes knows them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextName {
    /// Padded with zeros, so that the derived order is alphabetical.
    bytes: [u8; CONTEXT_NAME_BYTES_MAX],
    length: u8,
}

impl ContextName {
    /// When `name` is not valid. In a constant that is a compile error.
    pub const fn new(name: &str) -> Self {
        match Self::try_new(name) {
            Some(name) => name,
            None => panic!("a context's name has 1 to 23 lower-case letters"),
        }
    }

    const fn try_new(name: &str) -> Option<Self> {
        let given = name.as_bytes();
        if given.is_empty() || given.len() > CONTEXT_NAME_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; CONTEXT_NAME_BYTES_MAX];
        let mut index = 0;
        while index < given.len() {
            if !given[index].is_ascii_lowercase() {
                return None;
            }
            bytes[index] = given[index];
            index += 1;
        }
        Some(Self { bytes, length: given.len() as u8 })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("a name holds letters alone")
    }

    /// The name of the context's topic, without a prefix: `orders.events`.
    pub fn topic(self) -> String {
        format!("{self}.events")
    }

    /// The context of a topic without a prefix; none if the name is not of the form `<context>.events`.
    pub fn from_topic(topic: &str) -> Option<Self> {
        topic.strip_suffix(".events")?.parse().ok()
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An invalid context name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {CONTEXT_NAME_BYTES_MAX} lower-case letters; is {given:?}")]
pub struct InvalidContextName {
    pub given: String,
}

impl FromStr for ContextName {
    type Err = InvalidContextName;
    fn from_str(text: &str) -> Result<Self, InvalidContextName> {
        Self::try_new(text).ok_or_else(|| InvalidContextName { given: text.chars().take(32).collect() })
    }
}

impl Serialize for ContextName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ContextName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A name that is not in the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {known}; is {given:?}")]
pub struct UnknownContext {
    pub given: String,
    /// The names that exist, comma-separated.
    pub known: String,
}

impl UnknownContext {
    pub fn new<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        Self { given: given.chars().take(32).collect(), known: known.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEA: ContextName = ContextName::new("tea");

    #[test]
    fn a_name_is_read_back_as_it_was_written() {
        assert_eq!("tea".parse(), Ok(TEA));
        assert_eq!((TEA.as_str(), TEA.to_string()), ("tea", "tea".to_owned()));
        let longest = "a".repeat(CONTEXT_NAME_BYTES_MAX);
        assert_eq!(longest.parse::<ContextName>().map(|name| name.to_string()), Ok(longest.clone()));
        for text in ["", "Tea", "tea2", "tea-pot", "tea.events", "té", &format!("{longest}a")] {
            assert!(text.parse::<ContextName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_topic_names_its_context_and_no_other_with_the_same_ending() {
        assert_eq!(TEA.topic(), "tea.events");
        assert_eq!(ContextName::from_topic("tea.events"), Some(TEA));
        assert_eq!(ContextName::from_topic("greentea.events"), Some(ContextName::new("greentea")));
        for topic in ["tea", "tea.commands", "my.tea.events", ".events"] {
            assert_eq!(ContextName::from_topic(topic), None, "{topic}");
        }
    }

    #[test]
    fn names_are_in_alphabetical_order() {
        let mut names = ["tea", "teapot", "cup"].map(ContextName::new);
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["cup", "tea", "teapot"]);
    }
}
