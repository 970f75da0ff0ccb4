//! The contract suite of the stores: tests each guarantee in the comments of the trait
//! `Backend`, for every implementation.

use std::sync::Arc;

use sessionwatch::backend::memory::Memory;
use sessionwatch::backend::postgres::Postgres;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::backend::{Backend, Keep, Stored};
use sessionwatch::change::{Actor, Cause, Event, Kind};
use sessionwatch::clock::{Mono, Timestamp};
use sessionwatch::filter::Filter;
use sessionwatch::lock::{Lock, Who};
use sessionwatch::log::Query;
use sessionwatch::marks::{Mark, Step};
use sessionwatch::registry::Counts;
use sessionwatch::scope::Scope;
use sessionwatch::session::{Input, Kill, Pulse, Session, SessionId, SocketId, Status, Visibility};
use sessionwatch::stats::Minute;

use crate::contract_alerts::{
    a_book_comes_back_as_it_was_settled, alerts_are_read_by_app_and_target_and_forgotten_when_they_are_done,
    rows_that_another_server_has_taken_settle_nothing, what_is_raised_is_stored_with_its_events_and_taken_once,
};
use crate::contract_past::{
    a_checkpoint_is_there_when_it_is_whole_and_goes_with_its_entries, checkpoints_over_the_limit_go_oldest_first,
    counts_are_gathered_in_steps, each_entry_tells_what_changed, the_last_entry_until_a_time_is_found,
};

/// What rules have noted: one of each step.
fn marks() -> Vec<Mark> {
    let mark = |rule: &str, step| Mark { rule: rule.into(), at: Timestamp(1_600), step };
    vec![mark("idle \"desks\"", Step::Due(Timestamp(9_000))), mark("long", Step::Noted), mark("old", Step::Spared)]
}

pub fn session(id: &str) -> Session {
    Session {
        id: if id.is_empty() { SessionId::none() } else { SessionId::parse(id).expect("an id") },
        app: "risk".into(),
        user: Some("ana".into()),
        started_at: Timestamp(1_000),
        pulse: Arc::new(Pulse::new(Timestamp(2_000), Mono(0))),
        status: Status::Other("waiting".into()),
        status_since: Timestamp(1_500),
        task: Some("Q4 \"report\"".into()),
        task_started_at: Some(Timestamp(1_500)),
        visibility: Some(Visibility::Hidden),
        input: Input::NoneSince(Timestamp(1_700)),
        heartbeat_interval: 12.5,
        client: Some("js/0.1.0".into()),
        remote_addr: Some("127.0.0.1".into()),
        meta: Some(r#"{"env":"prod"}"#.into()),
        kill: None,
        token: Some([7; 32]),
        registered_by: Some("ingest".into()),
        stale: false,
        marks: Some(marks().into()),
        socket: Some(SocketId::new(0, 3)),
    }
}

pub fn event(seq: u64, kind: Kind, session: Session) -> Event {
    Event {
        seq,
        at: Timestamp(seq as i64 * 1_000),
        kind,
        session: Arc::new(session),
        before: None,
        actor: Actor { by: Some("bob".into()), from: Some("::1".into()), ..Actor::default() },
        reason: Some("because".into()),
        cause: (kind == Kind::Removed).then_some(Cause::Ended),
        message: None,
        lock: None,
    }
}

pub fn killed(id: &str) -> Session {
    let kill = Kill {
        kill_id: "k1".into(),
        requested_at: Timestamp(5),
        requested_by: "bob".into(),
        reason: Some("because".into()),
        delivered_at: Some(Timestamp(6)),
        acknowledged_at: None,
        confirm_by: Timestamp(9),
    };
    Session { kill: Some(Arc::new(kill)), ..session(id) }
}

async fn load(backend: &dyn Backend) -> Stored {
    backend.load(Timestamp(100_000)).await.expect("it loads")
}

pub async fn commit(backend: &dyn Backend, events: Vec<Event>) {
    let position = events.first().map_or(0, |event| event.seq - 1);
    let mut turn = backend.begin(position).await.expect("a turn");
    assert!(turn.missed().is_empty(), "nobody else writes here");
    turn.commit(Arc::new(events)).await.expect("it commits");
}

async fn an_empty_store_is_at_zero(backend: &dyn Backend) {
    let stored = load(backend).await;
    assert_eq!((stored.seq, stored.sessions.len(), stored.tombstones.len()), (0, 0, 0));
}

async fn a_session_comes_back_as_it_was_but_for_its_socket(backend: &dyn Backend) {
    commit(backend, vec![event(1, Kind::Registered, killed("a"))]).await;
    let stored = load(backend).await;
    assert_eq!(stored.seq, 1);
    let expected = Session { socket: None, ..killed("a") };
    assert_eq!(format!("{:?}", stored.sessions), format!("{:?}", [&expected]));
    let alone = backend.session(expected.id.clone()).await.expect("it is read");
    assert_eq!(format!("{alone:?}"), format!("{:?}", Some(expected)));
    assert!(backend.session(SessionId::parse("nobody").expect("an id")).await.expect("it is read").is_none());
}

async fn of_several_versions_in_one_batch_the_last_one_counts(backend: &dyn Backend) {
    let later = Session { task: Some("later".into()), ..session("a") };
    let batch = vec![
        event(1, Kind::Registered, session("a")),
        event(2, Kind::Registered, session("b")),
        event(3, Kind::StatusChanged, later),
        event(4, Kind::Removed, session("b")),
    ];
    commit(backend, batch).await;
    let stored = load(backend).await;
    assert_eq!(stored.sessions.len(), 1);
    assert_eq!(stored.sessions[0].task.as_deref(), Some("later"));
    assert_eq!(stored.seq, 4);
}

async fn a_killed_session_leaves_a_tombstone_and_an_ended_one_does_not(backend: &dyn Backend) {
    let mut gone = event(2, Kind::Removed, killed("a"));
    gone.cause = Some(Cause::Killed);
    commit(backend, vec![event(1, Kind::Registered, session("a")), gone]).await;
    commit(backend, vec![event(3, Kind::Registered, session("b")), event(4, Kind::Removed, session("b"))]).await;
    let stored = load(backend).await;
    assert!(stored.sessions.is_empty());
    assert_eq!(stored.tombstones.len(), 1);
    assert_eq!(stored.tombstones[0].0.as_str(), "a");
    assert_eq!(&*stored.tombstones[0].1.kill_id, "k1");
    backend.forget(keep(Timestamp(0), Timestamp(2_001))).await.expect("it forgets");
    assert!(load(backend).await.tombstones.is_empty());
}

async fn locks_come_back_as_their_last_versions_until_they_are_lifted(backend: &dyn Backend) {
    let lock = |id: &str, reason: &str| Lock {
        lock_id: id.into(),
        who: Who {
            app_name: Some("risk".into()),
            filter: Some(Arc::new(Filter::sessions("meta.env:test").expect("a filter"))),
            ..Who::default()
        },
        reason: reason.into(),
        from: Some(Timestamp(60_000)),
        until: None,
        by: "bob".into(),
        created_at: Timestamp(7_000),
        announced_at: None,
    };
    let about = |seq, kind, lock: &Lock| Event { lock: Some(Arc::new(lock.clone())), ..event(seq, kind, session("")) };
    let (first, later, other) = (lock("a", "audit"), lock("a", "still \"audit\""), lock("b", "audit"));
    let batch = vec![
        about(1, Kind::Locked, &first),
        about(2, Kind::Locked, &other),
        about(3, Kind::LockAnnounced, &later),
        event(4, Kind::Registered, session("s")),
    ];
    commit(backend, batch).await;
    let mut locks = load(backend).await.locks;
    locks.sort_by(|one, two| one.lock_id.cmp(&two.lock_id));
    assert_eq!(locks, [later.clone(), other.clone()]);
    commit(backend, vec![about(5, Kind::Unlocked, &later), about(6, Kind::Locked, &first)]).await;
    commit(backend, vec![about(7, Kind::Locked, &other), about(8, Kind::Unlocked, &other)]).await;
    let stored = load(backend).await;
    assert_eq!((stored.locks, stored.sessions.len()), (vec![first], 1));
    let entry = backend.events(Query { limit: 1, ..Query::default() }).await.expect("the log").remove(0);
    assert_eq!((entry.kind.as_str(), entry.details.lock_id.as_deref()), ("unlocked", Some("b")));
    assert_eq!(entry.details.locked_from.as_deref(), Some("1970-01-01T00:01:00.000Z"));
}

async fn an_event_that_is_not_logged_adds_no_entry(backend: &dyn Backend) {
    commit(backend, vec![event(1, Kind::Registered, session("a")), event(2, Kind::Connection, session("a"))]).await;
    let all = backend.events(Query { limit: 9, ..Query::default() }).await.expect("the log");
    assert_eq!(all.len(), 1);
}

async fn the_log_is_read_back_whole_and_filtered(backend: &dyn Backend) {
    for seq in 1..=6 {
        let id = if seq % 2 == 0 { "even" } else { "odd" };
        let kind = if seq < 3 { Kind::Registered } else { Kind::KillRequested };
        commit(backend, vec![event(seq, kind, killed(id))]).await;
    }
    let seqs = async |query: Query| {
        let found = backend.events(Query { limit: 3, ..query }).await.expect("the log");
        found.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(Query::default()).await, [6, 5, 4]);
    assert_eq!(seqs(Query { before: Some(4), ..Query::default() }).await, [3, 2, 1]);
    assert_eq!(seqs(Query { oldest_first: true, ..Query::default() }).await, [1, 2, 3]);
    assert_eq!(seqs(Query { session_id: Some("even".into()), ..Query::default() }).await, [6, 4, 2]);
    assert_eq!(seqs(Query { kinds: vec!["registered".into()], ..Query::default() }).await, [2, 1]);
    assert_eq!(seqs(Query { app_name: Some("shop".into()), ..Query::default() }).await, [] as [u64; 0]);
    let entry = backend.events(Query { limit: 1, ..Query::default() }).await.expect("the log").remove(0);
    assert_eq!((entry.kind.as_str(), entry.by.as_deref()), ("kill_requested", Some("bob")));
    assert_eq!((entry.reason.as_deref(), entry.from.as_deref()), (Some("because"), Some("::1")));
    assert_eq!(entry.details.kill_id.as_deref(), Some("k1"));
}

async fn the_log_of_some_apps_is_theirs_alone_and_in_order(backend: &dyn Backend) {
    for seq in 1..=30_u64 {
        let app = ["a", "b", "c"][(seq % 3) as usize];
        let kind = if seq.is_multiple_of(2) { Kind::StatusChanged } else { Kind::KillRequested };
        let session = Session { app: app.into(), ..killed(&format!("{app}{}", seq % 2)) };
        commit(backend, vec![event(seq, kind, session)]).await;
    }
    let app_of = |seq: u64| ["a", "b", "c"][(seq % 3) as usize];
    let kind_of = |seq: u64| if seq.is_multiple_of(2) { "status_changed" } else { "kill_requested" };
    let scopes = [Scope::all(), Scope::only(["a"]), Scope::only(["a", "c"]), Scope::only(Vec::<String>::new())];
    for scope in scopes {
        for app_name in [None, Some("a"), Some("b")] {
            for kinds in [&[][..], &["kill_requested"], &["kill_requested", "status_changed"]] {
                for session_id in [None, Some("a0"), Some("b1")] {
                    for oldest_first in [false, true] {
                        let query = Query {
                            app_name: app_name.map(str::to_owned),
                            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                            session_id: session_id.map(str::to_owned),
                            scope: scope.clone(),
                            before: Some(25),
                            after: None,
                            limit: 4,
                            oldest_first,
                        };
                        let fits = |seq: &u64| {
                            let (app, id) = (app_of(*seq), format!("{}{}", app_of(*seq), seq % 2));
                            scope.allows(app)
                                && app_name.is_none_or(|asked| asked == app)
                                && (kinds.is_empty() || kinds.contains(&kind_of(*seq)))
                                && session_id.is_none_or(|asked| asked == id)
                        };
                        let mut expected: Vec<u64> = (1..25).filter(fits).collect();
                        if !oldest_first {
                            expected.reverse();
                        }
                        expected.truncate(4);
                        let what = format!("{query:?}");
                        let found = backend.events(query).await.expect("the log");
                        let found: Vec<u64> = found.iter().map(|entry| entry.seq).collect();
                        assert_eq!(found, expected, "{what}");
                    }
                }
            }
        }
    }
}

async fn heartbeats_change_known_sessions_only(backend: &dyn Backend) {
    commit(backend, vec![event(1, Kind::Registered, session("a"))]).await;
    let beats = ["a", "nobody"].map(|id| (SessionId::parse(id).expect("an id"), Timestamp(9_000)));
    backend.beats(beats.to_vec()).await.expect("they are written");
    assert_eq!(load(backend).await.sessions[0].pulse.wall(), Timestamp(9_000));
}

async fn counts_and_starts_of_the_last_day_come_back(backend: &dyn Backend) {
    let minute =
        |at, idle| Minute { at: Timestamp(at), counts: Counts { idle, ..Counts::default() }, ended: 1, kills: 2 };
    for minute in [minute(60_000, 1), minute(0, 9), minute(60_000, 3)] {
        backend.minute(minute).await.expect("it is written");
    }
    load(backend).await;
    let stored = backend.load(Timestamp(200_000)).await.expect("it loads");
    assert_eq!(stored.minutes, [minute(0, 9), minute(60_000, 3)]);
    assert_eq!(stored.starts, [Timestamp(100_000)]);
}

async fn events_after_the_last_stored_counts_are_counted_from_the_log(backend: &dyn Backend) {
    backend.minute(Minute { at: Timestamp(0), ..Minute::default() }).await.expect("it is written");
    let at = |seq, kind, at| Event { at: Timestamp(at), ..event(seq, kind, session("a")) };
    let batch = vec![
        at(1, Kind::Registered, 1_000),
        at(2, Kind::KillRequested, 2_000),
        at(3, Kind::Removed, 59_000),
        at(4, Kind::Registered, 61_000),
        at(5, Kind::Removed, 62_000),
    ];
    commit(backend, batch).await;
    let minutes = load(backend).await.minutes;
    let told: Vec<_> = minutes.iter().map(|minute| (minute.at.0, minute.ended, minute.kills)).collect();
    assert_eq!(told, [(0, 1, 1), (60_000, 1, 0)]);
}

async fn forgetting_keeps_the_last_seq(backend: &dyn Backend) {
    for seq in 1..=5 {
        commit(backend, vec![event(seq, Kind::StatusChanged, session("a"))]).await;
    }
    while backend.forget(keep(Timestamp(i64::MAX), Timestamp(0))).await.expect("it forgets") {}
    let seq = load(backend).await.seq;
    assert_eq!(seq, 5, "the next event must not take an old one's place");
}

pub fn keep(events: Timestamp, tombstones: Timestamp) -> Keep {
    Keep { events, tombstones, log_bytes: u64::MAX }
}

async fn a_log_that_is_too_large_loses_its_oldest_lines_and_kills_last(backend: &dyn Backend) {
    for seq in 1..=200 {
        let kind = if seq % 10 == 0 { Kind::KillRequested } else { Kind::StatusChanged };
        // Nothing of the session changes, so that a line is as short as one can be.
        let same = || Some(Arc::new(session("a")));
        let line = |seq| Event { before: same(), ..event(seq, kind, session("a")) };
        let batch = (0..100).map(|index| line((seq - 1) * 100 + index + 1)).collect();
        commit(backend, batch).await;
    }
    let all = Keep { events: Timestamp(0), tombstones: Timestamp(0), log_bytes: 20_000_000 };
    assert!(!backend.forget(all).await.expect("it forgets"), "it fits");
    let lines = async |kind: &str| {
        let query = Query { limit: 100_000, kinds: vec![kind.to_owned()], ..Query::default() };
        backend.events(query).await.expect("the log")
    };
    let (changes, kills) = (lines("status_changed").await.len(), lines("kill_requested").await.len());
    assert_eq!((changes, kills), (18_000, 2_000));
    let some = Keep { log_bytes: 2_000_000, ..all };
    while backend.forget(some).await.expect("it forgets") {}
    let kept = lines("status_changed").await;
    assert!((1..18_000).contains(&kept.len()), "{} lines are kept", kept.len());
    assert_eq!(kept[0].seq, 19_900, "the newest are");
    assert_eq!(lines("kill_requested").await.len(), 2_000, "and all the kills");
    let few = Keep { log_bytes: 100_000, ..all };
    while backend.forget(few).await.expect("it forgets") {}
    assert_eq!(lines("status_changed").await.len(), 0);
    let kills = lines("kill_requested").await;
    assert!((1..2_000).contains(&kills.len()), "{} kills are kept", kills.len());
    assert_eq!(kills[0].seq, 20_000);
}

async fn a_query_with_a_nul_finds_nothing(backend: &dyn Backend) {
    commit(backend, vec![event(1, Kind::Registered, session("a"))]).await;
    let nul = Some("a\0".to_owned());
    for query in [
        Query { session_id: nul.clone(), limit: 9, ..Query::default() },
        Query { app_name: nul, limit: 9, ..Query::default() },
    ] {
        assert!(backend.events(query).await.expect("an answer").is_empty());
    }
}

/// Runs every test for every backend.
macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $promise() { super::$promise(&super::Memory::new()).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $promise() {
                let folder = tempfile::tempdir().expect("a folder");
                let store = super::Sqlite::open(&folder.path().join("c.db")).await.expect("it opens");
                super::$promise(&store).await;
            })*
        }
        mod postgres {
            $(#[tokio::test] async fn $promise() {
                let url = crate::postgres::database().await;
                let store = super::Postgres::open(&url, "one", None).await.expect("it opens");
                super::$promise(&store).await;
            })*
        }
    };
}

contract!(
    counts_are_gathered_in_steps,
    each_entry_tells_what_changed,
    the_last_entry_until_a_time_is_found,
    a_checkpoint_is_there_when_it_is_whole_and_goes_with_its_entries,
    checkpoints_over_the_limit_go_oldest_first,
    what_is_raised_is_stored_with_its_events_and_taken_once,
    rows_that_another_server_has_taken_settle_nothing,
    a_book_comes_back_as_it_was_settled,
    alerts_are_read_by_app_and_target_and_forgotten_when_they_are_done,
    a_query_with_a_nul_finds_nothing,
    an_empty_store_is_at_zero,
    a_session_comes_back_as_it_was_but_for_its_socket,
    of_several_versions_in_one_batch_the_last_one_counts,
    a_killed_session_leaves_a_tombstone_and_an_ended_one_does_not,
    an_event_that_is_not_logged_adds_no_entry,
    locks_come_back_as_their_last_versions_until_they_are_lifted,
    the_log_is_read_back_whole_and_filtered,
    the_log_of_some_apps_is_theirs_alone_and_in_order,
    heartbeats_change_known_sessions_only,
    counts_and_starts_of_the_last_day_come_back,
    events_after_the_last_stored_counts_are_counted_from_the_log,
    forgetting_keeps_the_last_seq,
    a_log_that_is_too_large_loses_its_oldest_lines_and_kills_last,
);
