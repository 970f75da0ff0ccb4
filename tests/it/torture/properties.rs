//! Compares the monitor with the model, with random operations: answers, states and log are
//! the same, over restarts and simulated days.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sessionwatch::backend::memory::Memory;
use sessionwatch::clock::Clock;
use sessionwatch::session::SessionId;

use super::model::{Ask, Model};
use super::{count, inside};

const IDS: usize = 4;
/// The length of a deadline slot: within it, an expired session may be there or not.
const RESOLUTION: Duration = Duration::from_secs(1);

/// An operation.
#[derive(Clone, Debug)]
enum Step {
    Ask(usize, Ask),
    /// Time passes, and the server handles the deadlines that are due.
    Pass(Duration),
    /// The server ends and another one starts on the same store.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let ask = prop_oneof![
        4 => Just(Ask::Register),
        4 => (0..3_u64).prop_map(Ask::Status),
        4 => Just(Ask::Beat),
        2 => Just(Ask::Kill),
        2 => Just(Ask::Delete),
    ];
    // Around the limits of two minutes, ten minutes and a day.
    let pass = prop::sample::select(vec![1_u64, 50, 100, 130, 400, 590, 620, 5_000, 80_000, 90_000]);
    prop_oneof![
        16 => (0..IDS, ask).prop_map(|(id, ask)| Step::Ask(id, ask)),
        3 => pass.prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        1 => Just(Step::Restart),
    ]
}

fn id(index: usize) -> SessionId {
    inside::id(&format!("s{index}"))
}

async fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let (store, clock) = (Arc::new(Memory::new()), Clock::manual());
    let mut monitor = inside::start(store.clone(), &clock).await;
    let mut models = [Model::default(); IDS];
    for step in steps {
        match step {
            Step::Ask(index, asked) => {
                let (after, answer) = models[*index].after(*asked);
                models[*index] = after;
                let answered = inside::ask(&monitor, &id(*index), *asked).await;
                prop_assert_eq!(answered, answer, "{:?} of s{}", asked, index);
            }
            Step::Pass(time) => {
                models.iter_mut().for_each(|model| *model = model.after_silence(*time));
                clock.advance(*time);
                monitor.sweep().await;
                // A session that is found stale is checked once more before it is removed.
                let mut more = Duration::from_secs(2);
                while models.iter().any(|model| model.is_just_due_after(more, RESOLUTION)) {
                    more += RESOLUTION;
                }
                clock.advance(more);
                models.iter_mut().for_each(|model| *model = model.after_silence(more));
                monitor.sweep().await;
            }
            Step::Restart => {
                monitor.shutdown().await;
                monitor = inside::start(store.clone(), &clock).await;
                models.iter_mut().for_each(Model::restarted);
            }
        }
        for (index, model) in models.iter().enumerate() {
            prop_assert_eq!(inside::life(&monitor, &id(index)), model.life, "s{} after {:?}", index, step);
        }
    }
    for (index, model) in models.iter().enumerate() {
        let mut log = inside::log(&monitor, &id(index)).await;
        // Resuming may change the token; the model does not have that log entry.
        log.status_changed = model.log.status_changed;
        prop_assert_eq!(log, model.log);
    }
    monitor.shutdown().await;
    Ok(())
}

/// A killed id is refused for a day, for all requests; an expired one may register again; each
/// kill and each removal is in the log exactly once.
#[test]
fn the_monitor_agrees_with_the_model_over_restarts_and_days() {
    let operations = count("OPERATIONS", 20_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cases = u32::try_from(operations / 100).expect("a number of cases");
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let sequences = prop::collection::vec(step(), 100);
    runner.run(&sequences, |steps| runtime.block_on(run(&steps))).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{operations} operations through restarts and days: the monitor is its model");
}
