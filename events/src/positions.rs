//! Positions in several logs at once: `orders:5,inventory:12`.
//!
//! An event carries the positions that it depends on, an answer of the query side carries how far it has come, and a
//! client gives either back as `?after=`. Read next: [`crate::Metadata`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Context, InvalidToken, Position, PositionToken};

/// At most one position in each context's log: everything up to there, in each of them. In form a version vector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Positions(BTreeMap<Context, Position>);

impl Positions {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The position in the context's log; 0 where none is named.
    pub fn of(&self, context: Context) -> Position {
        self.0.get(&context).copied().unwrap_or(0)
    }

    /// Those that are named, in the order of the contexts.
    pub fn iter(&self) -> impl Iterator<Item = PositionToken> + '_ {
        self.0.iter().map(|(&context, &position)| PositionToken { context, position })
    }

    /// Raises the context's position to this one, where it is lower.
    pub fn raise(&mut self, PositionToken { context, position }: PositionToken) {
        let known = self.0.entry(context).or_insert(position);
        *known = position.max(*known);
    }

    /// Raises each position to the other's.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|token| self.raise(token));
    }

    /// Whether everything up to `wanted` is in here.
    pub fn include(&self, wanted: &Self) -> bool {
        wanted.iter().all(|token| self.of(token.context) >= token.position)
    }
}

impl FromIterator<PositionToken> for Positions {
    fn from_iter<I: IntoIterator<Item = PositionToken>>(tokens: I) -> Self {
        let mut positions = Self::default();
        tokens.into_iter().for_each(|token| positions.raise(token));
        positions
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.iter().enumerate() {
            write!(f, "{}{token}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = InvalidToken;

    /// One or more tokens, comma-separated; where a context is named twice the higher position counts. The empty text
    /// names none.
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|token| token.trim().parse::<PositionToken>()).collect()
    }
}

impl From<String> for Positions {
    /// As it is read back from a log or a record: what names no context of this build's is left out, since a newer build
    /// may know more contexts.
    fn from(text: String) -> Self {
        text.split(',').filter_map(|token| token.parse::<PositionToken>().ok()).collect()
    }
}

impl From<Positions> for String {
    fn from(positions: Positions) -> Self {
        positions.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(text: &str) -> Positions {
        text.parse().expect("positions")
    }

    #[test]
    fn positions_are_read_back_as_they_were_written() {
        for text in ["", "orders:5", "orders:5,inventory:12,payments:0"] {
            assert_eq!(positions(text).to_string(), text);
        }
        assert_eq!(positions("inventory:12, orders:5,orders:3").to_string(), "orders:5,inventory:12");
        for text in [",", "orders:5,", "orders", "orders:-1", "tea:1"] {
            assert!(text.parse::<Positions>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_context_that_only_a_newer_build_knows_is_left_out_of_what_is_read_back() {
        assert_eq!(Positions::from("orders:5,loyalty:7".to_owned()), positions("orders:5"));
        assert_eq!(Positions::from(String::new()), Positions::default());
    }

    #[test]
    fn merged_positions_are_the_higher_of_each() {
        let mut merged = positions("orders:5,inventory:12");
        merged.merge(&positions("orders:7,payments:1"));
        assert_eq!(merged, positions("orders:7,inventory:12,payments:1"));
        assert_eq!((merged.of(Context::Orders), merged.of(Context::Shipping)), (7, 0));
    }

    #[test]
    fn positions_include_what_lies_before_them_in_every_context() {
        let reached = positions("orders:5,inventory:12");
        assert!(reached.include(&positions("orders:5")));
        assert!(reached.include(&positions("orders:1,inventory:12,payments:0")));
        assert!(!reached.include(&positions("orders:6")));
        assert!(!reached.include(&positions("orders:1,payments:1")));
    }
}
