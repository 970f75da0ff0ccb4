//! Fault injection: tests of the promises under crashes, power cuts and races. The runs here
//! are short; `script/torture` makes them long with counts in environment variables.

#![allow(clippy::print_stdout, reason = "it tells its seed, and what it has done")]

mod alerts;
mod cluster;
mod corpora;
mod crash;
pub mod dashboard;
mod disk;
mod faults;
mod inputs;
pub mod inside;
mod model;
mod properties;
mod races;
mod time;

/// The number of repetitions: the short count, unless an environment variable sets another.
pub fn count(name: &str, short: usize) -> usize {
    let name = variable(name);
    match std::env::var(&name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => short,
    }
}

/// Whether an environment variable sets the count: in such a long run nothing else is running.
fn is_long(name: &str) -> bool {
    std::env::var_os(variable(name)).is_some()
}

fn variable(name: &str) -> String {
    format!("SESSIONWATCH_TORTURE_{name}")
}

/// A random generator that prints its seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    /// Seeded from `SESSIONWATCH_TORTURE_SEED`, or at random.
    fn new() -> Self {
        let seed = count("SEED", uuid::Uuid::new_v4().as_u64_pair().0 as usize >> 1) as u64;
        println!("SESSIONWATCH_TORTURE_SEED={seed}");
        Self(seed)
    }

    /// A new generator, seeded from this one.
    fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
