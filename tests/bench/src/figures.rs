//! A row of the table: a figure, the baseline that was measured in the same run, and the goal for their ratio.

use serde::Serialize;

/// The median and the range of the repetitions of one figure.
#[derive(Debug, Clone, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// # Panics
    /// When there is no repetition.
    pub fn of(mut repetitions: Vec<f64>) -> Self {
        assert!(!repetitions.is_empty(), "a figure was measured at least once");
        repetitions.sort_by(f64::total_cmp);
        Self {
            median: repetitions[repetitions.len() / 2],
            min: repetitions[0],
            max: repetitions[repetitions.len() - 1],
        }
    }

    pub fn one(figure: f64) -> Self {
        Self { median: figure, min: figure, max: figure }
    }
}

/// What the row is compared with.
#[derive(Debug, Clone, Serialize)]
pub struct Baseline {
    pub what: String,
    pub figure: f64,
}

/// The goal: for the ratio where there is a baseline, otherwise for the figure itself.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub figure: String,
    pub unit: &'static str,
    pub measured: Spread,
    pub baseline: Option<Baseline>,
    pub ratio: Option<f64>,
    pub goal: Option<Goal>,
    pub holds: Option<bool>,
}

impl Row {
    pub fn new(figure: impl Into<String>, unit: &'static str, measured: Spread) -> Self {
        Self { figure: figure.into(), unit, measured, baseline: None, ratio: None, goal: None, holds: None }
    }

    #[must_use]
    pub fn baseline(mut self, what: impl Into<String>, figure: f64) -> Self {
        self.ratio = (figure > 0.0).then(|| self.measured.median / figure);
        self.baseline = Some(Baseline { what: what.into(), figure });
        self
    }

    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.holds = Some(goal.holds(self.ratio.unwrap_or(self.measured.median)));
        self.goal = Some(goal);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_ends() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!([spread.median, spread.min, spread.max], [2.0, 1.0, 3.0]);
    }

    #[test]
    fn a_goal_is_for_the_ratio_where_a_baseline_was_measured() {
        let row = Row::new("append", "events/s", Spread::one(80.0));
        let alone = row.clone().goal(Goal::AtLeast(50.0));
        let compared = row.baseline("ceiling", 200.0).goal(Goal::AtLeast(0.5));
        assert_eq!((alone.holds, compared.holds, compared.ratio), (Some(true), Some(false), Some(0.4)));
    }

    #[test]
    fn a_most_is_met_from_below() {
        assert!(Goal::AtMost(1.5).holds(1.5));
        assert!(!Goal::AtMost(1.5).holds(1.6));
    }
}
