//! A position in each context's log: `orders:5,inventory:12`, as events name what they depend on.

use std::collections::BTreeMap;
use std::fmt;

use crate::registry::Context;

/// At most one position for each context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<Context, i64>);

impl Positions {
    /// Of two positions of one context the higher counts.
    ///
    /// # Errors
    /// In words, when the text has another form or names an unknown context.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        let mut positions = Self::default();
        for token in text.into_iter().flat_map(|text| text.split(',')) {
            let parsed = token.split_once(':').and_then(|(context, position)| {
                let context: Context = context.parse().ok()?;
                let position: i64 = position.parse().ok().filter(|position| *position >= 1)?;
                Some((context, position))
            });
            let (context, position) =
                parsed.ok_or_else(|| format!("{token:?} is not a position of a known context"))?;
            positions.raise(context, position);
        }
        Ok(positions)
    }

    /// The position of a context; 0 when none is named.
    pub fn of(&self, context: Context) -> i64 {
        self.0.get(&context).copied().unwrap_or(0)
    }

    pub fn raise(&mut self, context: Context, position: i64) {
        let known = self.0.entry(context).or_insert(position);
        *known = position.max(*known);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Context, i64)> + '_ {
        self.0.iter().map(|(context, position)| (*context, *position))
    }

    /// Whether each position of `other` is reached.
    pub fn cover(&self, other: &Self) -> bool {
        other.iter().all(|(context, position)| self.of(context) >= position)
    }
}

impl FromIterator<(Context, i64)> for Positions {
    fn from_iter<I: IntoIterator<Item = (Context, i64)>>(positions: I) -> Self {
        let mut all = Self::default();
        positions.into_iter().for_each(|(context, position)| all.raise(context, position));
        all
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (context, position)) in self.iter().enumerate() {
            write!(f, "{}{context}:{position}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: [Context; 3] = [Context::ALL[0], Context::ALL[1], Context::ALL[2]];

    #[test]
    fn positions_are_read_by_context_and_the_higher_of_two_counts() {
        let [a, _, c] = CONTEXTS;
        let parse = |text: &str| Positions::parse(Some(text));
        assert_eq!(Positions::parse(None), Ok(Positions::default()));
        assert_eq!(parse(&format!("{c}:3,{a}:5")), Ok([(a, 5), (c, 3)].into_iter().collect()));
        assert_eq!(parse(&format!("{a}:5,{a}:7,{a}:6")), Ok([(a, 7)].into_iter().collect()));
        let shown = parse(&format!("{c}:3,{a}:7")).map(|positions| positions.to_string());
        assert_eq!(shown, Ok(format!("{a}:7,{c}:3")));
    }

    #[test]
    fn what_is_not_a_position_of_a_known_context_is_refused() {
        let a = Context::ALL[0];
        for text in ["", &format!("{a}"), &format!("{a}:0"), &format!("{a}:-1"), &format!("{a}:5,"), "tea:1"]
        {
            assert!(Positions::parse(Some(text)).is_err(), "{text:?}");
        }
        assert!(Positions::parse(Some(&format!("{a}: 5"))).is_err(), "a space");
    }

    #[test]
    fn positions_cover_what_they_have_reached_in_every_context() {
        let [a, b, _] = CONTEXTS;
        let reached: Positions = [(a, 5), (b, 12)].into_iter().collect();
        assert!(reached.cover(&[(a, 5)].into_iter().collect()));
        assert!(!reached.cover(&[(a, 6)].into_iter().collect()));
        assert!(!reached.cover(&CONTEXTS.map(|context| (context, 1)).into_iter().collect()));
    }
}
