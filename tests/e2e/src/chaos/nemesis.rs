//! What goes wrong, when, and for how long: a sequence that follows from the seed alone.
//!
//! Every kind comes once, in an order of the seed's, before any comes again. Never: a look at the clock or at the
//! platform. Read next: `scene.rs`, which does it.

use std::fmt;
use std::time::Duration;

use super::rng::Rng;

pub const ROLES: [&str; 5] = ["command-side", "relay", "sagas", "query-side", "payment-provider"];

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL; `up` starts it again.
    Killed(&'static str),
    /// SIGSTOP, and after the hold SIGCONT.
    Paused(&'static str),
    /// `-m immediate`; started again after the hold.
    PostgresKilled,
    /// SIGKILL; started again after the hold.
    KafkaKilled,
    /// A second relay takes over while the first is paused past its lease, which then wakes up.
    TwoRelays,
    /// A second query side joins, shares the partitions, and is killed after the hold.
    QuerySideJoins,
    /// Second sagas join, share the partitions, and leave after the hold.
    SagasJoin,
    /// Records that are on a topic are put on it once more, out of order.
    RecordsRepeated,
    /// The provider answers 503 for the hold.
    ProviderUnavailable,
    /// The role dies at this point of its code, the next time it comes by (`tests/fault/src/points.rs`).
    CrashPoint { point: &'static str, role: &'static str },
    /// Somebody holds a lock on the orders' log for the hold: whoever asks for it holds a connection and waits.
    LogLocked,
}

impl Fault {
    /// Without the crash points, of which a few are drawn each time.
    pub const ALL: [Self; 18] = [
        Self::Killed(ROLES[0]),
        Self::Killed(ROLES[1]),
        Self::Killed(ROLES[2]),
        Self::Killed(ROLES[3]),
        Self::Killed(ROLES[4]),
        Self::Paused(ROLES[0]),
        Self::Paused(ROLES[1]),
        Self::Paused(ROLES[2]),
        Self::Paused(ROLES[3]),
        Self::Paused(ROLES[4]),
        Self::PostgresKilled,
        Self::KafkaKilled,
        Self::TwoRelays,
        Self::QuerySideJoins,
        Self::SagasJoin,
        Self::RecordsRepeated,
        Self::ProviderUnavailable,
        Self::LogLocked,
    ];

    /// The kind, for counting.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Killed(_) => "role killed",
            Self::Paused(_) => "role paused",
            Self::PostgresKilled => "postgres killed",
            Self::KafkaKilled => "kafka killed",
            Self::TwoRelays => "two relays",
            Self::QuerySideJoins => "query side joins, is killed",
            Self::SagasJoin => "sagas join and leave",
            Self::RecordsRepeated => "records repeated",
            Self::ProviderUnavailable => "provider unavailable",
            Self::CrashPoint { .. } => "crash point",
            Self::LogLocked => "log locked",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(role) | Self::Paused(role) => write!(f, "{}: {role}", self.kind()),
            Self::CrashPoint { point, role } => write!(f, "{}: {point} in {role}", self.kind()),
            _ => f.write_str(self.kind()),
        }
    }
}

/// A fault, how long it lasts, who is killed in the middle of it, and the calm before the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub fault: Fault,
    pub hold: Duration,
    pub also_killed: Option<&'static str>,
    pub calm: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        if !self.hold.is_zero() {
            write!(f, " for {} ms", self.hold.as_millis())?;
        }
        if let Some(role) = self.also_killed {
            write!(f, ", {role} killed meanwhile")?;
        }
        write!(f, ", then {} ms of calm", self.calm.as_millis())
    }
}

/// The steps of a seed, without end.
pub struct Nemesis {
    rng: Rng,
    bag: Vec<Fault>,
    /// Each happens once in a run.
    crash_points: Vec<Fault>,
}

/// How many crash points are drawn for each round of the other kinds.
const CRASH_POINTS_PER_ROUND: usize = 3;

impl Nemesis {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let of = |point: &fault::CrashPoint| {
            let (point, roles) = (point.name, point.roles);
            roles.iter().map(move |role| Fault::CrashPoint { point, role })
        };
        let mut crash_points: Vec<Fault> = fault::CRASH_POINTS.iter().flat_map(of).collect();
        // `replay` is a tool; the roles are what runs here.
        crash_points.retain(|fault| matches!(fault, Fault::CrashPoint { role, .. } if ROLES.contains(role)));
        rng.shuffle(&mut crash_points);
        Self { rng, bag: Vec::new(), crash_points }
    }

    fn next_round(&mut self) {
        self.bag = Fault::ALL.to_vec();
        let left = self.crash_points.len().saturating_sub(CRASH_POINTS_PER_ROUND);
        self.bag.extend(self.crash_points.drain(left..));
        self.rng.shuffle(&mut self.bag);
    }
}

impl Iterator for Nemesis {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.bag.is_empty() {
            self.next_round();
        }
        let fault = self.bag.pop()?;
        let hold = match fault {
            Fault::Killed(_) | Fault::RecordsRepeated => Duration::ZERO,
            // Past the relay's lease of 5 s.
            Fault::TwoRelays => self.rng.millis(6_500, 9_000),
            // Sometimes past the consumers' session of 6 s.
            Fault::Paused(_) => self.rng.millis(500, 9_000),
            Fault::LogLocked => self.rng.millis(2_000, 8_000),
            // As long as it is waited for, at most.
            Fault::CrashPoint { .. } => self.rng.millis(8_000, 15_000),
            _ => self.rng.millis(300, 5_000),
        };
        let also_killed = self.rng.percent(20).then(|| *self.rng.one_of(&ROLES));
        let calm = self.rng.millis(0, 2_000);
        Some(Step { fault, hold, also_killed, calm })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_always_means_the_same_faults_and_another_seed_means_others() {
        let of = |seed| Nemesis::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_kind_of_fault_comes_before_any_comes_again() {
        let mut nemesis = Nemesis::new(1);
        for _ in 0..3 {
            let round = Fault::ALL.len() + CRASH_POINTS_PER_ROUND;
            let bag: BTreeSet<Fault> = nemesis.by_ref().take(round).map(|step| step.fault).collect();
            assert_eq!(bag.len(), round);
            assert!(Fault::ALL.iter().all(|fault| bag.contains(fault)));
        }
    }

    #[test]
    fn what_seed_1_means_does_not_change_unnoticed() {
        let first: Vec<String> = Nemesis::new(1).take(2).map(|step| step.to_string()).collect();
        let wanted = [
            "sagas join and leave for 3932 ms, then 556 ms of calm",
            "role killed: query-side, then 734 ms of calm",
        ];
        assert_eq!(first, wanted);
    }
}
