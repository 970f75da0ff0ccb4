//! What a session does and when: a state machine that depends on the random generator only, so that tests can run it
//! alone.

use std::time::Duration;

use super::{
    cast::{App, Way},
    dice::Dice,
};

/// The mean length of a session, in seconds.
const VISIT: f64 = 720.0;

/// An action of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Act {
    /// It starts a task.
    Start(&'static str),
    /// It finishes the task.
    Finish,
    /// The page is hidden.
    Hide,
    /// The page is visible again.
    Show,
    /// It loses its connection for this many heartbeat intervals, then comes back.
    FallSilent(f64),
    /// It loses its connection and does not come back.
    Vanish,
    /// It ends properly.
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Idle,
    /// For this time.
    Working(Duration),
    Hidden,
    Over,
}

/// The rest of a session's actions.
#[derive(Debug)]
pub(super) struct Script {
    app: &'static App,
    dice: Dice,
    phase: Phase,
    left: Duration,
}

impl Script {
    pub(super) fn new(app: &'static App, mut dice: Dice) -> Self {
        let left = dice.visit(VISIT);
        Self { app, dice, phase: Phase::Idle, left }
    }

    /// The next action, and the time until it. `None` after [`Act::Vanish`] and [`Act::Leave`].
    pub(super) fn next(&mut self) -> Option<(Duration, Act)> {
        let (wait, act) = self.draw()?;
        self.left = self.left.saturating_sub(wait);
        self.phase = match act {
            Act::Start(task) => Phase::Working(self.length(task)),
            Act::Finish | Act::Show | Act::FallSilent(_) => Phase::Idle,
            Act::Hide => Phase::Hidden,
            Act::Vanish | Act::Leave => Phase::Over,
        };
        Some((wait, act))
    }

    /// A random duration for `task`.
    fn length(&mut self, task: &str) -> Duration {
        let bounds = self.app.tasks.iter().find(|(name, ..)| *name == task);
        let (least, most) = bounds.map_or((10.0, 60.0), |&(_, least, most)| (least, most));
        self.dice.seconds(least, most)
    }

    fn draw(&mut self) -> Option<(Duration, Act)> {
        let dice = &mut self.dice;
        match self.phase {
            Phase::Over => None,
            Phase::Working(length) => Some((length, Act::Finish)),
            Phase::Hidden => Some((dice.seconds(20.0, 240.0), Act::Show)),
            Phase::Idle if self.left.is_zero() => {
                let last = if dice.chance(0.06) { Act::Vanish } else { Act::Leave };
                Some((dice.seconds(0.5, 8.0), last))
            }
            Phase::Idle => {
                // A busy app has short breaks.
                let rest = dice.seconds(1.0, 15.0 + 180.0 * (1.0 - self.app.busy));
                let act = if dice.chance(self.app.busy) {
                    Act::Start(dice.pick(self.app.tasks)?.0)
                } else if self.app.way == Way::Socket && dice.chance(0.5) {
                    Act::Hide
                } else if self.app.way != Way::Shared && dice.chance(0.06) {
                    // Not on a shared socket: its pongs are a sign of life of all its sessions.
                    Act::FallSilent(dice.seconds(5.0, 14.0).as_secs_f64())
                } else {
                    Act::Start(dice.pick(self.app.tasks)?.0)
                };
                Some((rest, act))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::cast::APPS, *};

    fn life(app: &'static App, seed: u64) -> Vec<(Duration, Act)> {
        let mut script = Script::new(app, Dice::seeded(seed));
        std::iter::from_fn(|| script.next()).take(10_000).collect()
    }

    #[test]
    fn every_life_ends_and_nothing_is_done_at_once() {
        for app in APPS {
            for seed in 0..50 {
                let life = life(app, seed);
                assert!(matches!(life.last(), Some((_, Act::Leave | Act::Vanish))), "{}: {:?}", app.name, life.last());
                assert!(life.iter().all(|(wait, _)| *wait >= Duration::from_millis(500)), "{}", app.name);
            }
        }
    }

    #[test]
    fn acts_follow_from_one_another() {
        for app in APPS {
            for seed in 0..50 {
                let acts: Vec<Act> = life(app, seed).into_iter().map(|(_, act)| act).collect();
                for pair in acts.windows(2) {
                    let fits = match pair[0] {
                        Act::Start(_) => pair[1] == Act::Finish,
                        Act::Hide => pair[1] == Act::Show,
                        _ => !matches!(pair[1], Act::Finish | Act::Show),
                    };
                    assert!(fits, "{}: {pair:?}", app.name);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_is_the_same_life() {
        assert_eq!(life(&APPS[0], 5), life(&APPS[0], 5));
    }

    #[test]
    fn all_kinds_of_acts_happen_and_silence_is_rare() {
        let acts: Vec<Act> = (0..300).flat_map(|seed| life(&APPS[0], seed)).map(|(_, act)| act).collect();
        let count = |wanted: fn(&Act) -> bool| acts.iter().filter(|act| wanted(act)).count();
        for (name, number) in [
            ("start", count(|act| matches!(act, Act::Start(_)))),
            ("hide", count(|act| matches!(act, Act::Hide))),
            ("silence", count(|act| matches!(act, Act::FallSilent(_)))),
            ("vanish", count(|act| matches!(act, Act::Vanish))),
            ("leave", count(|act| matches!(act, Act::Leave))),
        ] {
            assert!(number > 0, "nobody does {name}");
        }
        assert!(count(|act| matches!(act, Act::FallSilent(_))) * 20 < acts.len());
    }
}
