//! A small seeded random generator (SplitMix64). The same seed gives the same demo.

use std::time::Duration;

/// A random generator.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A new generator, seeded from this one.
    pub(super) fn split(&mut self) -> Self {
        Self(self.roll())
    }

    /// A number from 0 (included) to 1 (excluded).
    fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with the probability `share`.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A uniform random duration between two numbers of seconds.
    pub(super) fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(least + self.unit() * (most - least).max(0.0))
    }

    /// An exponential random duration with about the mean `mean` seconds, within a tenth and five times of it: mostly
    /// short, sometimes long, like people's visits.
    pub(super) fn visit(&mut self, mean: f64) -> Duration {
        let drawn = -(1.0 - self.unit()).ln() * mean;
        Duration::from_secs_f64(drawn.clamp(mean / 10.0, mean * 5.0))
    }

    /// A random element; `None` when there are none.
    pub(super) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(among.len()).unwrap_or(u64::MAX);
        let at = self.roll().checked_rem(count)?;
        among.get(usize::try_from(at).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let rolls = |seed| {
            let mut dice = Dice::seeded(seed);
            [dice.roll(), dice.roll(), dice.roll()]
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }

    #[test]
    fn chance_keeps_to_its_share_and_spans_to_their_bounds() {
        let mut dice = Dice::seeded(1);
        let hits = (0..10_000).filter(|_| dice.chance(0.3)).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
        for _ in 0..1_000 {
            let span = dice.seconds(2.0, 3.0).as_secs_f64();
            assert!((2.0..3.0).contains(&span), "{span}");
            let visit = dice.visit(100.0).as_secs_f64();
            assert!((10.0..=500.0).contains(&visit), "{visit}");
        }
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
