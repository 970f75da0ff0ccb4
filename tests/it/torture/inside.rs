//! The monitor in process, with the requests and answers of the model.

use std::sync::Arc;
use std::time::Duration;

use sessionwatch::backend::Backend;
use sessionwatch::change::{Actor, Authority, Cause, Proof, Registration, Report};
use sessionwatch::clock::Clock;
use sessionwatch::decide::Limits;
use sessionwatch::edge::problem::status_of;
use sessionwatch::error::Error;
use sessionwatch::log::Query;
use sessionwatch::monitor::Monitor;
use sessionwatch::session::{SessionId, Status};
use sessionwatch::timing::Timing;

use super::model::{Ask, Life, Log};

/// A monitor with a manual clock, after it has restored everything.
pub async fn start(store: Arc<dyn Backend>, clock: &Clock) -> Arc<Monitor> {
    // No rate limit, since the clock does not move.
    let timing = Timing { report_every: Duration::ZERO, ..Timing::default() };
    let monitor =
        Monitor::start(store, timing, clock.clone(), Limits::sessions(1_000_000)).await.expect("the store opens");
    monitor.restored().await.expect("the store is read");
    monitor
}

/// An id from a valid text.
pub fn id(text: &str) -> SessionId {
    SessionId::parse(text).expect("an id")
}

/// A registration by a trusted caller.
pub fn registration(id: &SessionId) -> Registration {
    Registration {
        id: id.clone(),
        app: "torture".into(),
        user: None,
        meta: None,
        heartbeat_interval: 30.0,
        status: None,
        task: None,
        visibility: None,
        no_input_for: None,
        client: None,
        remote_addr: None,
        proof: Proof::Trusted,
        fresh_token: [1; 32],
        scope: sessionwatch::scope::Scope::all(),
        registered_by: None,
        socket: None,
    }
}

/// Makes a request, and returns the HTTP status of the answer.
pub async fn ask(monitor: &Monitor, id: &SessionId, ask: Ask) -> u16 {
    let done = match ask {
        Ask::Register => match monitor.register(registration(id)).await {
            Ok(registered) if !registered.resumed => return 201,
            other => other.map(drop),
        },
        Ask::Status(task) => {
            let task = Some(Some(task.to_string().into()));
            let report = Report { status: Some(Status::Running), task, ..Report::default() };
            monitor.report(id.clone(), report, Authority::Server).await
        }
        Ask::Beat => monitor.heartbeat(id.as_str(), None, Authority::Server).await.map(drop),
        Ask::Kill => monitor.kill(id.clone(), None, None, Actor::default()).await.map(drop),
        Ask::Delete => monitor.remove(id.clone(), Cause::Deleted, Actor::default(), Authority::Server).await,
    };
    done.map_or_else(|error| status_of(&error).as_u16(), |()| 200)
}

/// The state of an id in the monitor.
pub fn life(monitor: &Monitor, id: &SessionId) -> Life {
    match monitor.session(id.as_str()) {
        Ok(session) => {
            let task = session.task.as_ref().map(|task| task.parse().expect("a number"));
            Life::Live { task, asked_to_end: session.kill.is_some() }
        }
        Err(Error::Gone { .. }) => Life::Killed,
        Err(_) => Life::Unknown,
    }
}

/// The log entries of an id in the monitor.
pub async fn log(monitor: &Monitor, id: &SessionId) -> Log {
    let query = Query { session_id: Some(id.to_string()), limit: 1_000_000, ..Query::default() };
    let lines = monitor.events(query).await.expect("the log");
    Log::of(lines.iter().map(|line| line.kind.as_str()))
}
