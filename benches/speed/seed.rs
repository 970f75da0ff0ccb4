//! Makes many sessions with the library: decided, committed and applied like in the server,
//! but without a million requests.

use std::path::Path;
use std::sync::Arc;

use sessionwatch::backend::Backend;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::change::{Change, Proof, Registration};
use sessionwatch::clock::Now;
use sessionwatch::decide::{Draft, Limits};
use sessionwatch::registry::Registry;
use sessionwatch::session::SessionId;
use sessionwatch::timing::Timing;

const BATCH: usize = 20_000;

/// The registration of the session with this number.
pub fn registration(index: usize) -> Change {
    Change::Register(Box::new(Registration {
        id: id(index),
        app: "risk".into(),
        user: Some(format!("user{index}").into()),
        meta: None,
        heartbeat_interval: 30.0,
        status: None,
        task: None,
        visibility: None,
        no_input_for: None,
        client: Some("js/0.1.0".into()),
        remote_addr: Some("127.0.0.1".into()),
        proof: Proof::Trusted,
        fresh_token: [7; 32],
        scope: sessionwatch::scope::Scope::all(),
        registered_by: None,
        socket: None,
    }))
}

/// The id of the session with this number.
pub fn id(index: usize) -> SessionId {
    SessionId::parse(&format!("s{index}")).expect("an id")
}

/// Makes a registry with the sessions `s0` to `s{count-1}`, and stores them if there is a store.
pub async fn sessions(count: usize, now: Now, store: Option<&Sqlite>) -> Registry {
    let registry = Registry::new(Timing::default(), 0);
    for from in (0..count).step_by(BATCH) {
        let mut draft = Draft::new(&registry, Limits::sessions(usize::MAX));
        for index in from..count.min(from + BATCH) {
            draft.decide(&registration(index), now).expect("the session registers");
        }
        let events = Arc::new(draft.into_events());
        if let Some(store) = store {
            let turn = store.begin(registry.seq()).await.expect("a turn");
            turn.commit(events.clone()).await.expect("the store takes it");
        }
        registry.apply(&events, now);
    }
    registry
}

/// Makes the database that [`crate::process::Process::sessionwatch`] opens in this folder, with
/// this many sessions.
pub async fn database(folder: &Path, count: usize) {
    let store = Sqlite::open(&folder.join("bench.db")).await.expect("the database opens");
    let now = sessionwatch::clock::Clock::system().now();
    store.load(now.wall).await.expect("it is empty");
    drop(sessions(count, now, Some(&store)).await);
    store.close().await.expect("it closes");
}
