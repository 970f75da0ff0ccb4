//! What is promised when things break, shown by breaking them. Each test runs short here;
//! `script/torture` runs them long, by counts in the environment.

#![allow(clippy::print_stdout, reason = "it tells its seed, and what it has done")]

mod corpora;
mod crash;
mod dashboard;
mod disk;
mod faults;
mod inputs;
pub mod inside;
mod model;
mod properties;
mod races;
mod time;

/// How often something is done: the short count, unless the environment says another.
fn count(name: &str, short: usize) -> usize {
    let name = variable(name);
    match std::env::var(&name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => short,
    }
}

/// Whether the environment says how often: a run that does nothing else meanwhile.
fn is_long(name: &str) -> bool {
    std::env::var_os(variable(name)).is_some()
}

fn variable(name: &str) -> String {
    format!("SESSIONWATCH_TORTURE_{name}")
}

/// A source of chance that a failure can be repeated with: it prints its seed.
struct Dice(u64);

impl Dice {
    /// From `SESSIONWATCH_TORTURE_SEED`, or by chance.
    fn new() -> Self {
        let seed = count("SEED", uuid::Uuid::new_v4().as_u64_pair().0 as usize >> 1) as u64;
        println!("SESSIONWATCH_TORTURE_SEED={seed}");
        Self(seed)
    }

    /// Another one, that goes its own way.
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
