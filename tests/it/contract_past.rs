//! The part of the contract suite that is about the past: what entries tell, and checkpoints.

use std::sync::Arc;

use sessionwatch::backend::{Backend, Keep};
use sessionwatch::change::{Event, Kind};
use sessionwatch::clock::Timestamp;
use sessionwatch::log::Query;
use sessionwatch::past::{Checkpoint, Encoder, Moment, Piece, Start, Table, decode};
use sessionwatch::registry::Counts;
use sessionwatch::session::{Session, SessionId, Status};
use sessionwatch::stats::Minute;

use crate::contract::{commit, event, keep, killed, session};

/// All that an entry may tell of a session.
fn told(session: &Session) -> Session {
    // The pulse, the token, its name and the socket are not in the log.
    let pulse = Arc::new(sessionwatch::session::Pulse::new(Timestamp(0), sessionwatch::clock::Mono(0)));
    Session { pulse, token: None, registered_by: None, socket: None, ..session.clone() }
}

fn all(table: &Table) -> Vec<String> {
    table.view(0).sessions().map(|session| format!("{:?}", told(session))).collect()
}

pub async fn each_entry_tells_what_changed(backend: &dyn Backend) {
    let first = session("a");
    let later = Session { task: None, status: Status::Idle, meta: None, client: None, ..session("a") };
    let versions = [
        (Kind::Registered, first),
        (Kind::StatusChanged, later.clone()),
        (Kind::Stale, Session { stale: true, ..later.clone() }),
        (Kind::Recovered, later.clone()),
        (Kind::Stayed, Session { marks: None, ..later }),
        (Kind::KillRequested, Session { marks: None, ..killed("a") }),
    ];
    let mut before: Option<Arc<Session>> = None;
    let mut expected = Vec::new();
    for (seq, (kind, version)) in (1..).zip(versions) {
        expected.push(format!("{:?}", told(&version)));
        let event = Event { before: before.take(), ..event(seq, kind, version) };
        before = Some(event.session.clone());
        commit(backend, vec![event]).await;
    }
    let entries = backend.events(Query { limit: 9, oldest_first: true, ..Query::default() }).await.expect("the log");
    let mut table = Table::default();
    for (entry, expected) in entries.iter().zip(expected) {
        table.take(entry);
        assert_eq!(all(&table), [expected], "{entry:?}");
    }
    let state = entries[3].state.as_deref().expect("it has one");
    assert_eq!(state, r#"{"stale":false}"#, "an entry tells what changed and no more");
    assert!(entries.iter().all(|entry| entry.state.as_deref().is_some_and(|state| !state.contains("token"))));
    commit(backend, vec![event(7, Kind::Removed, killed("a"))]).await;
    let last = backend.events(Query { limit: 1, after: Some(6), ..Query::default() }).await.expect("the log");
    table.take(&last[0]);
    assert!(table.is_empty());
    assert!(last[0].state.as_deref().is_some_and(|state| state.contains("js/0.1.0")), "the last one tells all");
}

pub async fn the_last_entry_until_a_time_is_found(backend: &dyn Backend) {
    assert_eq!(backend.past().last_until(Timestamp(5)).await.expect("it is read"), 0);
    // Two changes that came at nearly the same time are in the other order, and a number is missing.
    let times = [(1, 10), (2, 20), (3, 20), (4, 40), (5, 40), (6, 39), (7, 41), (8, 90)];
    // The log does not have number 4.
    let kind = |seq| if seq == 4 { Kind::Connection } else { Kind::StatusChanged };
    let at = |(seq, at)| Event { at: Timestamp(at), ..event(seq, kind(seq), session("a")) };
    for time in times {
        commit(backend, vec![at(time)]).await;
    }
    for (time, expected) in
        [(9, 0), (10, 1), (19, 1), (20, 3), (38, 3), (40, 6), (41, 7), (89, 7), (90, 8), (i64::MAX, 8)]
    {
        let found = backend.past().last_until(Timestamp(time)).await.expect("it is read");
        assert_eq!(found, expected, "at {time}");
    }
}

async fn take(backend: &dyn Backend, seq: u64, at: i64, pieces: u32) {
    for number in 0..pieces {
        let piece = Piece { number, body: vec![7; 1_000] };
        backend.past().put_piece(seq, piece).await.expect("it is written");
    }
    let bytes = u64::from(pieces) * 1_000;
    let checkpoint = Checkpoint { seq, at: Timestamp(at), pieces, sessions: 9, bytes };
    backend.past().finish(checkpoint).await.expect("it is written");
}

pub async fn a_checkpoint_is_there_when_it_is_whole_and_goes_with_its_entries(backend: &dyn Backend) {
    let past = backend.past();
    for seq in 1..=9 {
        commit(backend, vec![event(seq, Kind::StatusChanged, session("a"))]).await;
    }
    let sessions: Vec<Arc<Session>> = (0..2_500)
        .map(|n| Arc::new(Session { id: SessionId::parse(&format!("s{n}")).expect("an id"), ..killed("a") }))
        .collect();
    let at = Timestamp(4_500);
    let pieces: Vec<Piece> = Encoder::new(sessions.clone().into_iter(), at).collect();
    assert_eq!(pieces.len(), 3, "no row holds all of them");
    for piece in pieces {
        past.put_piece(4, piece).await.expect("it is written");
    }
    assert!(past.reach().await.expect("it is read").checkpoints.is_empty(), "it is not whole yet");
    let checkpoint = Checkpoint { seq: 4, at, pieces: 3, sessions: 2_500, bytes: 9 };
    past.finish(checkpoint).await.expect("it is written");
    let reach = past.reach().await.expect("it is read");
    assert_eq!((&reach.checkpoints[..], reach.last, reach.complete_after), (&[checkpoint][..], 9, 0));
    let mut read = Vec::new();
    for number in 0..3 {
        let body = past.piece(4, number).await.expect("it is read").expect("it is there");
        read.extend(decode(&body).expect("sessions"));
    }
    let text = |session: &Session| format!("{:?}", told(session));
    assert!(read.iter().map(text).eq(sessions.iter().map(|session| text(session))));
    assert!(past.piece(4, 3).await.expect("it is read").is_none());

    // The log has all entries: a moment before the checkpoint begins at nothing.
    assert_eq!(reach.start(3, Moment::After(3)), Some(Start::Nothing));
    assert_eq!(reach.start(7, Moment::After(7)), Some(Start::Checkpoint(checkpoint)));
    take(backend, 7, 7_500, 2).await;
    while backend.forget(keep(Timestamp(3_500), Timestamp(0))).await.expect("it forgets") {}
    let reach = past.reach().await.expect("it is read");
    assert_eq!((reach.complete_after, reach.checkpoints.len()), (3, 2), "both can be gone on from");
    assert_eq!((reach.start(3, Moment::After(3)), reach.since()), (None, Some(at)), "the log no longer reaches there");
    while backend.forget(keep(Timestamp(5_500), Timestamp(0))).await.expect("it forgets") {}
    let reach = past.reach().await.expect("it is read");
    assert_eq!((reach.complete_after, reach.checkpoints.len()), (5, 1));
    assert!(past.piece(4, 0).await.expect("it is read").is_none(), "its rows went with it");
    assert!(past.piece(7, 1).await.expect("it is read").is_some());
}

pub async fn checkpoints_over_the_limit_go_oldest_first(backend: &dyn Backend) {
    for seq in 1..=9 {
        commit(backend, vec![event(seq, Kind::StatusChanged, session("a"))]).await;
        take(backend, seq, 100_000, 10).await;
    }
    let forget = async |log_bytes| {
        let limit = Keep { events: Timestamp(0), tombstones: Timestamp(0), log_bytes };
        while backend.forget(limit).await.expect("it forgets") {}
        let reach = backend.past().reach().await.expect("it is read");
        reach.checkpoints.iter().map(|checkpoint| checkpoint.seq).collect::<Vec<_>>()
    };
    assert_eq!(forget(u64::MAX).await.len(), 9);
    // Half of the log's limit is theirs.
    assert_eq!(forget(80_000).await, [6, 7, 8, 9]);
    take(backend, 9, 100_000, 100).await;
    assert_eq!(forget(80_000).await, [9], "the newest one stays");
}

pub async fn counts_are_gathered_in_steps(backend: &dyn Backend) {
    for (at, idle) in [(0, 9), (60_000, 1), (120_000, 4), (180_000, 4), (600_000, 7)] {
        let counts = Counts { idle, running: 2, ..Counts::default() };
        let minute = Minute { at: Timestamp(at), counts, ended: 1, kills: 2 };
        backend.minute(minute).await.expect("it is written");
    }
    let told = async |since, step| {
        let minutes = backend.minutes(Timestamp(since), step).await.expect("they are read");
        minutes
            .iter()
            .map(|one| (one.at.0, one.counts.idle, one.counts.running, one.ended, one.kills))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(60_000, 300_000).await, [(0, 3, 2, 3, 6), (600_000, 7, 2, 1, 2)], "the first minute is older");
    assert_eq!(told(0, 60_000).await.len(), 5);
    assert_eq!(told(700_000, 60_000).await, []);
}
