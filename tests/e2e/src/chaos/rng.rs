//! A random number generator whose sequence follows from its seed: SplitMix64.
//!
//! Written out here because a seed must mean the same run with every version of every library.
//! Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), and Vigna's
//! reference <https://prng.di.unimi.it/splitmix64.c>. Read next: `nemesis.rs`.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence of its own for the `nth` of several that draw side by side.
    pub fn split(seed: u64, nth: u64) -> Self {
        let mut parent = Self::new(seed ^ (nth + 1).wrapping_mul(0xd134_2543_de82_ef95));
        Self::new(parent.draw())
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `below` - 1.
    pub fn below(&mut self, below: usize) -> usize {
        let below = u64::try_from(below).expect("a usize fits");
        usize::try_from(self.draw() % below).expect("it is below a usize")
    }

    /// `from` to `to`, both included.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        let span = usize::try_from(to - from + 1).expect("from is not above to");
        from + i64::try_from(self.below(span)).expect("it is below an i64")
    }

    pub fn millis(&mut self, from: i64, to: i64) -> Duration {
        Duration::from_millis(self.between(from, to).unsigned_abs())
    }

    /// True in `percent` of 100.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}
