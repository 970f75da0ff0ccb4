//! The past: the table of any moment is what the live table was then, on every store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sessionwatch::backend::Backend;
use sessionwatch::backend::memory::Memory;
use sessionwatch::backend::postgres::Postgres;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::change::{Actor, Authority, Cause, Change, Proof, Registration, Report};
use sessionwatch::clock::{Clock, Timestamp};
use sessionwatch::decide::Limits;
use sessionwatch::log::Query;
use sessionwatch::monitor::Monitor;
use sessionwatch::past::Moment;
use sessionwatch::scope::Scope;
use sessionwatch::session::{Session, SessionId, Status, Visibility};
use sessionwatch::timing::Timing;
use tokio::runtime::Runtime;

use crate::torture::count;

const IDS: u64 = 6;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Register {
        id: u64,
        user: Option<u64>,
        tags: u64,
        client: u64,
    },
    Report {
        id: u64,
        status: u64,
        task: Option<u64>,
        seen: u64,
        idle: Option<u64>,
    },
    Beat(u64),
    Kill(u64),
    Remove(u64),
    /// The client has received its kill request, or has cleaned up.
    Deliver(u64, bool),
    Pass(u64),
    /// The keeper takes a checkpoint, if one is due.
    Checkpoint,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..IDS;
    prop_oneof![
        5 => (id(), prop::option::of(0..3_u64), 0..3_u64, 0..2_u64)
            .prop_map(|(id, user, tags, client)| Step::Register { id, user, tags, client }),
        6 => (id(), 0..3_u64, prop::option::of(0..3_u64), 0..5_u64, prop::option::of(0..90_u64))
            .prop_map(|(id, status, task, seen, idle)| Step::Report { id, status, task, seen, idle }),
        2 => id().prop_map(Step::Beat),
        2 => id().prop_map(Step::Kill),
        2 => id().prop_map(Step::Remove),
        1 => (id(), any::<bool>()).prop_map(|(id, done)| Step::Deliver(id, done)),
        5 => prop::sample::select(vec![1_u64, 40, 130_000, 500_000, 700_000, 7 * 3_600_000]).prop_map(Step::Pass),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

fn id(number: u64) -> SessionId {
    SessionId::parse(&format!("s{number}")).expect("an id")
}

async fn start(store: Arc<dyn Backend>, clock: &Clock) -> Arc<Monitor> {
    let timing = Timing { report_every: Duration::ZERO, ..Timing::default() };
    let monitor = Monitor::start(store, timing, clock.clone(), Limits::sessions(10_000)).await.expect("it starts");
    monitor.restored().await.expect("the store is read");
    monitor
}

fn registration(number: u64, user: Option<u64>, tags: u64, client: u64) -> Registration {
    Registration {
        id: id(number),
        app: format!("app{}", number % 2).into(),
        user: user.map(|user| format!("user{user}").into()),
        meta: (tags > 0).then(|| format!(r#"{{"env":"e{tags}","n":{tags}}}"#).into()),
        heartbeat_interval: if tags == 1 { 12.5 } else { 30.0 },
        status: (tags == 2).then(|| Status::Other("waiting".into())),
        task: (tags == 2).then(|| "first \"task\"".into()),
        visibility: (client == 1).then_some(Visibility::Hidden),
        no_input_for: None,
        client: (client == 1).then(|| "js/9".into()),
        remote_addr: Some(format!("192.0.2.{client}").into()),
        proof: Proof::Trusted,
        fresh_token: [1; 32],
        scope: Scope::all(),
        registered_by: None,
        socket: None,
    }
}

fn report(status: u64, task: Option<u64>, seen: u64, idle: Option<u64>) -> Report {
    Report {
        status: [Some(Status::Idle), Some(Status::Running), None][status as usize].clone(),
        task: task.map(|task| (task > 0).then(|| format!("task {task}").into())),
        visibility: [None, Some(Visibility::Visible), Some(Visibility::Hidden), Some(Visibility::Frozen), None]
            [seen as usize],
        no_input_for: idle.map(Duration::from_secs),
        meta: (seen == 4).then_some(None),
    }
}

async fn act(monitor: &Monitor, step: &Step) {
    // Whatever is refused changes nothing; the live table tells.
    match step {
        Step::Register { id, user, tags, client } => {
            drop(monitor.register(registration(*id, *user, *tags, *client)).await);
        }
        Step::Report { id: number, status, task, seen, idle } => {
            drop(monitor.report(id(*number), report(*status, *task, *seen, *idle), Authority::Server).await);
        }
        Step::Beat(number) => drop(monitor.heartbeat(id(*number).as_str(), None, Authority::Server).await),
        Step::Kill(number) => {
            let actor = Actor { by: Some("ana".into()), ..Actor::default() };
            drop(monitor.kill(id(*number), Some("because".into()), None, actor).await);
        }
        Step::Remove(number) => {
            drop(monitor.remove(id(*number), Cause::Deleted, Actor::default(), Authority::Server).await);
        }
        Step::Deliver(number, done) => {
            if let Ok(session) = monitor.session(id(*number).as_str())
                && let Some(kill) = &session.kill
            {
                let (id, kill_id) = (id(*number), kill.kill_id.clone());
                let change = match done {
                    false => Change::KillDelivered(id, kill_id, Authority::Server),
                    true => Change::KillAcknowledged(id, kill_id, Authority::Server),
                };
                settle(monitor, change).await;
            }
        }
        Step::Pass(_) | Step::Checkpoint | Step::Restart => unreachable!("the test does it"),
    }
}

/// Everything of a session that the past tells.
fn told(session: &Session) -> String {
    let Session { id, app, user, started_at, status, status_since, task, task_started_at, .. } = session;
    let Session { visibility, input, heartbeat_interval, client, remote_addr, meta, kill, stale, marks, .. } = session;
    format!(
        "{id} {app} {user:?} {started_at} {status:?} {status_since} {task:?} {task_started_at:?} {visibility:?} {input:?} \
         {heartbeat_interval} {client:?} {remote_addr:?} {meta:?} {kill:?} {stale} {marks:?}"
    )
}

/// Waits until the writer has done this and all that came before.
async fn settle(monitor: &Monitor, change: Change) {
    drop(monitor.submit(change).await.expect("it is queued").done().await);
}

fn live(monitor: &Monitor) -> Vec<String> {
    monitor.snapshot().view.sessions().map(|session| told(session)).collect()
}

/// Opens the store, again after each restart.
type Open = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Backend>>>;

/// Remembers the live table at each moment, and compares all of them at the end.
async fn run(open: &Open, steps: &[Step]) -> Result<(), TestCaseError> {
    let clock = Clock::manual();
    let mut monitor = start(open().await, &clock).await;
    let mut remembered: BTreeMap<Timestamp, Vec<String>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Pass(millis) => {
                clock.advance(Duration::from_millis(*millis));
                monitor.sweep().await;
            }
            Step::Checkpoint => drop(monitor.take_checkpoint().await.expect("it is written")),
            Step::Restart => {
                monitor.shutdown().await;
                // The file is locked for as long as anybody has the store.
                drop(monitor);
                monitor = start(open().await, &clock).await;
            }
            step => act(&monitor, step).await,
        }
        settle(&monitor, Change::Probe).await;
        remembered.insert(clock.now().wall, live(&monitor));
        // Each step has a moment of its own.
        clock.advance(Duration::from_millis(1));
    }
    let moments: Vec<Timestamp> = remembered.keys().copied().collect();
    // Forwards and backwards, since a table that was rebuilt is the start of the next one.
    for at in moments.iter().chain(moments.iter().rev().step_by(3)) {
        let then = monitor.then(Moment::At(*at), &Scope::all()).await.expect("it is told");
        let table: Vec<String> = then.view.sessions().map(|session| told(session)).collect();
        prop_assert!(then.complete);
        prop_assert_eq!(&table, &remembered[at], "at {}", at);
    }
    // And after each entry, which is what stepping from event to event asks for.
    let entries = monitor.events(Query { limit: 50, ..Query::default() }).await.expect("the log");
    for pair in entries.windows(2).filter(|pair| pair[0].at != pair[1].at) {
        let then = monitor.then(Moment::After(pair[1].seq), &Scope::all()).await.expect("it is told");
        let table: Vec<String> = then.view.sessions().map(|session| told(session)).collect();
        prop_assert_eq!(Some(&table), remembered.range(pair[1].at..).next().map(|(_, table)| table));
    }
    monitor.shutdown().await;
    Ok(())
}

/// Runs random histories of this length, each on a store of its own.
fn compare(cases: u64, length: usize, make: impl Fn(&Runtime) -> Open) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let config =
        Config { cases: u32::try_from(cases).expect("a number"), failure_persistence: None, ..Config::default() };
    let run = |steps: Vec<Step>| runtime.block_on(run(&make(&runtime), &steps));
    let done = TestRunner::new(config).run(&prop::collection::vec(step(), length), run);
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn in_memory_any_moment_is_what_the_live_table_was() {
    compare(count("PASTS", 30) as u64, 120, |_| {
        let store: Arc<dyn Backend> = Arc::new(Memory::new());
        Box::new(move || ready(store.clone()).boxed())
    });
}

#[test]
fn on_sqlite_any_moment_is_what_the_live_table_was() {
    compare(count("PASTS", 30) as u64 / 6, 100, |_| {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Box::new(move || {
            let folder = folder.clone();
            async move {
                let store = Sqlite::open(&folder.path().join("past.db")).await.expect("it opens");
                Arc::new(store) as Arc<dyn Backend>
            }
            .boxed()
        })
    });
}

#[test]
fn on_postgres_any_moment_is_what_the_live_table_was() {
    compare(count("PASTS", 30) as u64 / 10, 60, |runtime| {
        let url = runtime.block_on(crate::postgres::database());
        Box::new(move || {
            let url = url.clone();
            async move { Arc::new(Postgres::open(&url, "one", None).await.expect("it opens")) as Arc<dyn Backend> }
                .boxed()
        })
    });
}
