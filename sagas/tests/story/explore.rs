//! Which transitions are chosen: all of them ([`every_interleaving`]), or some by chance and then none but the necessary ones
//! ([`wander`]).

use std::collections::HashMap;

use crate::invariants;
use crate::transitions::{Faults, Transition};
use crate::world::World;

/// More states than any scenario here has: a guard against a process that grows without end.
const STATES_MAX: usize = 2_000_000;
/// More transitions than it takes until nothing is left to do.
const CALM_TRANSITIONS_MAX: usize = 10_000;
/// How many calls to the provider are repeated before the payment's deadline passes.
const REPEATED_CALLS_MAX: usize = 3;

/// What there is to see from a start.
pub struct Explored {
    pub states: usize,
    /// The worlds in which nothing can happen any more.
    pub ends: Vec<World>,
}

/// Takes every transition from `start` on, checks the invariants in every world and at rest in every end, and that from every world an
/// end can be reached.
pub fn every_interleaving(start: World) -> Explored {
    let mut known = HashMap::from([(start.fingerprint(), 0)]);
    let mut came_from: Vec<Vec<usize>> = vec![Vec::new()];
    let mut ends = Vec::new();
    let mut open = vec![(0, start)];
    while let Some((here, world)) = open.pop() {
        let transitions = world.transitions();
        if transitions.is_empty() {
            invariants::at_rest(&world);
            ends.push((here, world));
            continue;
        }
        for chosen in transitions {
            let mut next = world.clone();
            next.make(chosen);
            let fresh = came_from.len();
            let there = *known.entry(next.fingerprint()).or_insert(fresh);
            if there == fresh {
                invariants::always(&next);
                assert!(fresh < STATES_MAX, "more than {STATES_MAX} states\n{}", next.trail());
                came_from.push(Vec::new());
                open.push((there, next));
            }
            came_from[there].push(here);
        }
    }
    let stuck = came_from.len() - reaching(&came_from, ends.iter().map(|(end, _)| *end).collect());
    assert_eq!(stuck, 0, "worlds from which no end can be reached");
    Explored { states: came_from.len(), ends: ends.into_iter().map(|(_, world)| world).collect() }
}

/// How many worlds lead to one of `ends`.
fn reaching(came_from: &[Vec<usize>], ends: Vec<usize>) -> usize {
    let mut reaches = vec![false; came_from.len()];
    let mut open = ends;
    while let Some(state) = open.pop() {
        if !std::mem::replace(&mut reaches[state], true) {
            open.extend(came_from[state].iter().filter(|before| !reaches[**before]));
        }
    }
    reaches.into_iter().filter(|reaches| *reaches).count()
}

/// Takes the transitions that `choices` point to, then settles.
pub fn wander(mut world: World, choices: &[u16]) -> World {
    for choice in choices {
        let mut transitions = world.transitions();
        if transitions.is_empty() {
            break;
        }
        let chosen = transitions.swap_remove(usize::from(*choice) % transitions.len());
        world.make(chosen);
        invariants::always(&world);
    }
    settle(world)
}

/// No more faults and no more wishes: everything that was begun ends.
pub fn settle(mut world: World) -> World {
    world.faults = Faults::default();
    world.wishes.clear();
    let mut repeated_calls = 0;
    for _ in 0..CALM_TRANSITIONS_MAX {
        let transitions = world.transitions();
        let patient = repeated_calls < REPEATED_CALLS_MAX;
        let chosen = transitions.iter().min_by_key(|chosen| match chosen {
            Transition::AskAgain(_) => {
                if patient {
                    1
                } else {
                    3
                }
            }
            Transition::Expire(_) => 2,
            _ => 0,
        });
        let Some(chosen) = chosen.cloned() else {
            invariants::at_rest(&world);
            return world;
        };
        repeated_calls += usize::from(matches!(chosen, Transition::AskAgain(_)));
        world.make(chosen);
        invariants::always(&world);
    }
    panic!("no rest after {CALM_TRANSITIONS_MAX} transitions\n{}", world.trail())
}
