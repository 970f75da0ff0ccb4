//! The monitor beside the model, under whatever operations chance puts together: answers,
//! lives and log are the model's, through restarts and days.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sessionwatch::backend::memory::Memory;
use sessionwatch::change::{Actor, Cause, Proof, Registration, Report};
use sessionwatch::clock::Clock;
use sessionwatch::error::Error;
use sessionwatch::http::error::status_of;
use sessionwatch::log::Query;
use sessionwatch::monitor::Monitor;
use sessionwatch::session::{SessionId, Status};
use sessionwatch::timing::Timing;

use super::count;
use super::model::{Ask, Life, Model};

const IDS: usize = 4;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Ask(usize, Ask),
    /// Time passes, and the server sees who is due.
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
    SessionId::parse(&format!("s{index}")).expect("an id")
}

fn registration(index: usize) -> Registration {
    Registration {
        id: id(index),
        app: "torture".into(),
        user: None,
        meta: None,
        heartbeat_interval: 30.0,
        status: None,
        task: None,
        visibility: None,
        client: None,
        remote_addr: None,
        proof: Proof::Trusted,
        fresh_token: [1; 32],
        socket: None,
    }
}

fn status<T>(answer: Result<T, Error>) -> u16 {
    answer.map_or_else(|error| status_of(&error).as_u16(), |_| 200)
}

async fn ask(monitor: &Monitor, index: usize, ask: Ask) -> u16 {
    match ask {
        Ask::Register => match monitor.register(registration(index)).await {
            Ok(registered) if registered.resumed => 200,
            Ok(_) => 201,
            Err(error) => status_of(&error).as_u16(),
        },
        Ask::Status(task) => {
            let task = Some(Some(task.to_string().into()));
            let report = Report { status: Some(Status::Running), task, ..Report::default() };
            status(monitor.report(id(index), report).await)
        }
        Ask::Beat => status(monitor.heartbeat(id(index).as_str(), None).await),
        Ask::Kill => status(monitor.kill(id(index), None, Actor::default()).await),
        Ask::Delete => status(monitor.remove(id(index), Cause::Deleted, Actor::default()).await),
    }
}

async fn start(store: &Arc<Memory>, clock: &Clock) -> Arc<Monitor> {
    Monitor::start(store.clone(), Timing::default(), clock.clone(), 1_000).await.expect("the store opens")
}

async fn found(monitor: &Monitor, index: usize) -> Life {
    match monitor.session(id(index).as_str()) {
        Ok(session) => {
            let task = session.task.as_ref().map(|task| task.parse().expect("a number"));
            Life::Live { task, asked_to_end: session.kill.is_some() }
        }
        Err(Error::Gone { .. }) => Life::Killed,
        Err(_) => Life::Unknown,
    }
}

async fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let (store, clock) = (Arc::new(Memory::new()), Clock::manual());
    let mut monitor = start(&store, &clock).await;
    let mut models = [Model::default(); IDS];
    for step in steps {
        match step {
            Step::Ask(index, asked) => {
                let (after, answer) = models[*index].after(*asked);
                models[*index] = after;
                prop_assert_eq!(ask(&monitor, *index, *asked).await, answer, "{:?} of s{}", asked, index);
            }
            Step::Pass(time) => {
                models.iter_mut().for_each(|model| *model = model.after_silence(*time));
                clock.advance(*time);
                monitor.sweep().await;
                // Who is found stale is looked at once more before it may go.
                clock.advance(Duration::from_secs(2));
                models.iter_mut().for_each(|model| *model = model.after_silence(Duration::from_secs(2)));
                monitor.sweep().await;
            }
            Step::Restart => {
                monitor.shutdown().await;
                monitor = start(&store, &clock).await;
                models.iter_mut().for_each(Model::restarted);
            }
        }
        for (index, model) in models.iter().enumerate() {
            prop_assert_eq!(found(&monitor, index).await, model.life, "s{} after {:?}", index, step);
        }
    }
    for (index, model) in models.iter().enumerate() {
        let query = Query { session_id: Some(id(index).to_string()), limit: usize::MAX, ..Query::default() };
        let lines = monitor.events(query).await.expect("the log");
        let count = |kind| lines.iter().filter(|line| line.kind == kind).count() as u64;
        prop_assert_eq!(count("registered"), model.log.registered);
        prop_assert_eq!(count("kill_requested"), model.log.kill_requested);
        prop_assert_eq!(count("removed"), model.log.removed);
    }
    monitor.shutdown().await;
    Ok(())
}

/// A killed id stays killed for a day, whoever asks whatever of it; an expired one may
/// come back; no kill and no removal stands in the log twice or not at all.
#[test]
fn the_monitor_is_its_model_through_restarts_and_days() {
    let operations = count("OPERATIONS", 20_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cases = u32::try_from(operations / 100).expect("a number of cases");
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let sequences = prop::collection::vec(step(), 100);
    runner.run(&sequences, |steps| runtime.block_on(run(&steps))).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{operations} operations through restarts and days: the monitor is its model");
}
