//! Positions in several logs at once: `orders:5,inventory:12`.
//!
//! An event carries the positions that it depends on. A response of the query side carries the positions that it has
//! applied, and a client sends either back as `?after=`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ContextName, InvalidToken, Position, PositionToken};

/// At most one position in each context's log, which stands for everything up to it. In form a version vector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Positions(BTreeMap<ContextName, Position>);

impl Positions {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The position in the context's log; 0 if none is named.
    pub fn of(&self, context: impl Into<ContextName>) -> Position {
        self.0.get(&context.into()).copied().unwrap_or(0)
    }

    /// The named positions, in the alphabetical order of their contexts.
    pub fn iter(&self) -> impl Iterator<Item = PositionToken> + '_ {
        self.0.iter().map(|(&context, &position)| PositionToken { context, position })
    }

    /// Raises the context's position to this one if it is lower.
    pub fn raise(&mut self, PositionToken { context, position }: PositionToken) {
        let known = self.0.entry(context).or_insert(position);
        *known = position.max(*known);
    }

    /// Raises each position to that of `other` if it is lower.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|token| self.raise(token));
    }

    /// Whether these positions cover everything up to `wanted`.
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

    /// One or more comma-separated tokens. If a context is named twice, the higher position counts. The empty text
    /// names none.
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|token| token.trim().parse::<PositionToken>()).collect()
    }
}

impl From<String> for Positions {
    /// Reads positions from a log or a record. Invalid tokens are left out; a context that only a newer build knows is
    /// kept.
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
        for text in ["", "orders:5", "inventory:12,orders:5,payments:0"] {
            assert_eq!(positions(text).to_string(), text);
        }
        assert_eq!(positions("orders:5, inventory:12,orders:3").to_string(), "inventory:12,orders:5");
        for text in [",", "orders:5,", "orders", "orders:-1", "Tea:1"] {
            assert!(text.parse::<Positions>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_invalid_token_is_left_out_of_stored_positions() {
        assert_eq!(
            Positions::from("orders:5,loyalty:7,?,orders:".to_owned()),
            positions("orders:5,loyalty:7")
        );
        assert_eq!(Positions::from(String::new()), Positions::default());
    }

    #[test]
    fn merged_positions_are_the_higher_of_each() {
        let mut merged = positions("orders:5,inventory:12");
        merged.merge(&positions("orders:7,payments:1"));
        assert_eq!(merged, positions("orders:7,inventory:12,payments:1"));
        assert_eq!((merged.of(ContextName::new("orders")), merged.of(ContextName::new("shipping"))), (7, 0));
    }

    #[test]
    fn positions_include_everything_before_them_in_every_context() {
        let reached = positions("orders:5,inventory:12");
        assert!(reached.include(&positions("orders:5")));
        assert!(reached.include(&positions("orders:1,inventory:12,payments:0")));
        assert!(!reached.include(&positions("orders:6")));
        assert!(!reached.include(&positions("orders:1,payments:1")));
    }
}
