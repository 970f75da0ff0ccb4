//! The part of the contract suite of the stores that is about alerts; `contract.rs` runs it for
//! every store.

use std::sync::Arc;

use sessionwatch::alerts::{Alert, Raised, RaisedAlert, Settled, State, Subject};
use sessionwatch::backend::{AlertQuery, Backend};
use sessionwatch::change::{Event, Kind};
use sessionwatch::clock::Timestamp;
use sessionwatch::rules::Occasion;
use sessionwatch::scope::Scope;

use crate::contract::{event, session};
use crate::support::until;

fn raised(id: &str) -> Raised {
    Raised::Alert(RaisedAlert {
        at: Timestamp(1_000),
        occasion: Occasion::Stale,
        target: "ops".to_owned(),
        app: Some("risk".to_owned()),
        what: None,
        delay: 0,
        group: 10_000,
        recovered: true,
        subjects: vec![Subject { user: Some("ana \"\u{0}\"".to_owned()), ..Subject::named(id) }],
    })
}

async fn commit(backend: &dyn Backend, events: Vec<Event>, rows: Vec<Raised>) {
    let position = events.first().map_or(0, |event| event.seq - 1);
    let mut turn = backend.begin(position).await.expect("a turn");
    turn.raise(rows);
    turn.commit(Arc::new(events)).await.expect("it commits");
}

/// Of several servers only the keeper may settle; the only one becomes it within a moment.
async fn keeper(backend: &dyn Backend) {
    until("the server is the keeper", || async { backend.is_keeper() }).await;
}

pub async fn what_is_raised_is_stored_with_its_events_and_taken_once(backend: &dyn Backend) {
    keeper(backend).await;
    commit(backend, vec![event(1, Kind::Stale, session("a"))], vec![raised("a"), raised("b")]).await;
    {
        let mut turn = backend.begin(1).await.expect("a turn");
        turn.raise(vec![raised("dropped")]);
    }
    let mut turn = backend.begin(1).await.expect("a turn");
    turn.raise(vec![Raised::Seen { app: "backup".to_owned(), at: Timestamp(7) }]);
    turn.commit(Arc::new(Vec::new())).await.expect("rows without an event");
    backend.outbox().raise(raised("c")).await.expect("a row without a turn");
    let rows = backend.outbox().raised(9).await.expect("the rows");
    let seen = Raised::Seen { app: "backup".to_owned(), at: Timestamp(7) };
    let only: Vec<Raised> = rows.iter().map(|(_, row)| row.clone()).collect();
    assert_eq!(only, [raised("a"), raised("b"), seen, raised("c")]);
    assert_eq!(backend.outbox().raised(1).await.expect("the rows"), rows[..1]);
    let taken = vec![rows[0].0, rows[1].0];
    backend.outbox().settle(Settled { taken: taken.clone(), ..Settled::default() }).await.expect("it settles");
    assert_eq!(backend.outbox().raised(9).await.expect("the rows"), rows[2..]);
    assert_eq!(backend.load(Timestamp(9)).await.expect("it loads").seq, 1, "rows take no position");
}

pub async fn rows_that_another_server_has_taken_settle_nothing(backend: &dyn Backend) {
    keeper(backend).await;
    let notes = vec![("a".to_owned(), Some("1".to_owned()))];
    let settled = Settled { taken: vec![77], notes, alerts: Vec::new() };
    // A file of one server cannot lose a row to another one, and need not look.
    if backend.outbox().settle(settled).await.is_err() {
        assert!(backend.outbox().kept().await.expect("the book").notes.is_empty());
    }
}

fn alert(number: u64, app: Option<&str>, state: State) -> Alert {
    Alert {
        id: format!("msg_{number:04}"),
        target: if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
        occasion: Occasion::Stale,
        recovered: false,
        app_name: app.map(str::to_owned),
        title: "1 session went stale".to_owned(),
        count: 1,
        subjects: vec![Subject::named("a")],
        at: Timestamp(1),
        created: Timestamp(number as i64 * 1_000),
        next_try: Timestamp(5),
        tries: 2,
        answer: Some("503 \"busy\"".to_owned()),
        state,
        test: false,
    }
}

async fn ids(backend: &dyn Backend, query: AlertQuery) -> Vec<String> {
    let found = backend.outbox().alerts(AlertQuery { limit: 9.min(query.limit.max(1)), ..query }).await;
    found.expect("the alerts").into_iter().map(|alert| alert.id).collect()
}

pub async fn a_book_comes_back_as_it_was_settled(backend: &dyn Backend) {
    keeper(backend).await;
    let note = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let settled = Settled {
        taken: Vec::new(),
        notes: vec![note("a", Some("1")), note("b", Some("2")), note("c", None)],
        alerts: vec![alert(1, Some("risk"), State::Waiting), alert(2, None, State::Delivered)],
    };
    backend.outbox().settle(settled).await.expect("it settles");
    let change = Settled {
        notes: vec![note("a", None), note("b", Some("3"))],
        alerts: vec![alert(3, Some("shop"), State::Waiting)],
        ..Settled::default()
    };
    backend.outbox().settle(change).await.expect("it settles");
    let kept = backend.outbox().kept().await.expect("the book");
    assert_eq!(kept.notes, [("b".to_owned(), "3".to_owned())]);
    assert_eq!(kept.alerts, [alert(1, Some("risk"), State::Waiting), alert(3, Some("shop"), State::Waiting)]);
    backend
        .outbox()
        .settle(Settled { alerts: vec![alert(1, Some("risk"), State::Failed)], ..Settled::default() })
        .await
        .expect("it settles");
    assert_eq!(backend.outbox().kept().await.expect("the book").alerts.len(), 1);
}

pub async fn alerts_are_read_by_app_and_target_and_forgotten_when_they_are_done(backend: &dyn Backend) {
    keeper(backend).await;
    let states = [State::Delivered, State::Failed, State::Waiting, State::Delivered, State::Delivered];
    let apps = [Some("risk"), Some("shop"), Some("risk"), None, Some("risk")];
    let alerts = (1..).zip(apps).zip(states).map(|((number, app), state)| alert(number, app, state)).collect();
    backend.outbox().settle(Settled { alerts, ..Settled::default() }).await.expect("it settles");
    let all = || AlertQuery { limit: 9, ..AlertQuery::default() };
    assert_eq!(ids(backend, all()).await, ["msg_0005", "msg_0004", "msg_0003", "msg_0002", "msg_0001"]);
    let of_risk = || AlertQuery { scope: Scope::only(["risk"]), ..all() };
    assert_eq!(ids(backend, of_risk()).await, ["msg_0005", "msg_0003", "msg_0001"]);
    assert_eq!(ids(backend, AlertQuery { limit: 1, ..of_risk() }).await, ["msg_0005"]);
    let before = AlertQuery { before: Some("msg_0005".to_owned()), ..of_risk() };
    assert_eq!(ids(backend, before).await, ["msg_0003", "msg_0001"]);
    assert_eq!(ids(backend, AlertQuery { target: Some("even".to_owned()), ..all() }).await, ["msg_0004", "msg_0002"]);
    let nothing = AlertQuery { scope: Scope::only(Vec::<Arc<str>>::new()), ..all() };
    assert!(ids(backend, nothing).await.is_empty());
    assert!(ids(backend, AlertQuery { target: Some("a\0".to_owned()), ..all() }).await.is_empty());
    backend.outbox().forget_alerts(Timestamp(2_000), 2).await.expect("it forgets");
    assert_eq!(ids(backend, all()).await, ["msg_0005", "msg_0004", "msg_0003"], "one is too old, one too many");
    backend.outbox().forget_alerts(Timestamp(9_000), 9).await.expect("it forgets");
    assert_eq!(ids(backend, all()).await, ["msg_0003"], "it waits");
}
