//! A position in each context's log: `<context>:5,<context>:12`, as events name what they depend on.

use std::fmt;

use event_log::ContextName;

use crate::Domain;

/// At most one position for each context, in the order of the domain's contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    contexts: &'static [ContextName],
    /// Of each context, 0 where none is named; empty while no context has one.
    positions: Vec<i64>,
}

impl Positions {
    pub fn none(domain: &Domain) -> Self {
        Self { contexts: domain.contexts, positions: Vec::new() }
    }

    /// Of two positions of one context the higher counts.
    ///
    /// # Errors
    /// In words, when the text has another form or names an unknown context.
    pub fn parse(domain: &Domain, text: Option<&str>) -> Result<Self, String> {
        let mut positions = Self::none(domain);
        for token in text.into_iter().flat_map(|text| text.split(',')) {
            let parsed = token.split_once(':').and_then(|(context, position)| {
                let context = domain.context_named(context)?;
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
    pub fn of(&self, context: ContextName) -> i64 {
        self.iter().find(|(known, _)| *known == context).map_or(0, |(_, position)| position)
    }

    pub fn raise(&mut self, context: ContextName, position: i64) {
        let index = self.contexts.iter().position(|known| *known == context);
        let index = index.expect("the context is one of the domain's");
        if position > self.of(context) {
            self.positions.resize(self.contexts.len(), 0);
            self.positions[index] = position;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (ContextName, i64)> + '_ {
        let all = self.contexts.iter().copied().zip(self.positions.iter().copied());
        all.filter(|(_, position)| *position > 0)
    }

    /// Whether each position of `other` is reached.
    pub fn cover(&self, other: &Self) -> bool {
        other.iter().all(|(context, position)| self.of(context) >= position)
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
pub mod tests {
    use super::*;
    use crate::domain::TOY;

    pub fn positions(named: impl IntoIterator<Item = (ContextName, i64)>) -> Positions {
        let mut positions = Positions::none(&TOY);
        named.into_iter().for_each(|(context, position)| positions.raise(context, position));
        positions
    }

    #[test]
    fn positions_are_read_by_context_and_the_higher_of_two_counts() {
        let [a, c] = [TOY.contexts[0], TOY.contexts[2]];
        let parse = |text: &str| Positions::parse(&TOY, Some(text));
        assert_eq!(Positions::parse(&TOY, None), Ok(Positions::none(&TOY)));
        assert_eq!(parse(&format!("{c}:3,{a}:5")), Ok(positions([(a, 5), (c, 3)])));
        assert_eq!(parse(&format!("{a}:5,{a}:7,{a}:6")), Ok(positions([(a, 7)])));
        let shown = parse(&format!("{c}:3,{a}:7")).map(|positions| positions.to_string());
        assert_eq!(shown, Ok(format!("{a}:7,{c}:3")), "in the domain's order, not the alphabetical one");
    }

    #[test]
    fn what_is_not_a_position_of_a_known_context_is_refused() {
        let a = TOY.contexts[0];
        for text in ["", &format!("{a}"), &format!("{a}:0"), &format!("{a}:-1"), &format!("{a}:5,"), "tea:1"]
        {
            assert!(Positions::parse(&TOY, Some(text)).is_err(), "{text:?}");
        }
        assert!(Positions::parse(&TOY, Some(&format!("{a}: 5"))).is_err(), "a space");
    }

    #[test]
    fn positions_cover_what_they_have_reached_in_every_context() {
        let [a, b] = [TOY.contexts[0], TOY.contexts[1]];
        let reached = positions([(a, 5), (b, 12)]);
        assert!(reached.cover(&positions([(a, 5)])));
        assert!(!reached.cover(&positions([(a, 6)])));
        assert!(!reached.cover(&positions(TOY.contexts.iter().map(|context| (*context, 1)))));
    }
}
