//! The live sessions as a dashboard knows them: takes in frames and tells what changed. No I/O, no clock.
//!
//! The frames come from [`super::feed`], which passes on only frames that continue the last position.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::wire::{DashboardFrame, Removal, Session};

/// A session, and the JSON that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What the terminal shows of it.
    pub session: Session,
    /// All of it, for `--json`.
    pub raw: Value,
}

impl Row {
    /// Reads a session; none where `raw` is not one.
    #[must_use]
    pub fn new(raw: Value) -> Option<Self> {
        let session = Session::deserialize(&raw).ok()?;
        Some(Self { session, raw })
    }
}

/// A change of the live sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// The session was there in the first snapshot.
    Present(Box<Row>),
    /// The session is new or has changed.
    Upserted {
        /// As it was before; none where it is new.
        before: Option<Session>,
        /// As it is now.
        row: Box<Row>,
    },
    /// The session is gone.
    Removed {
        /// As it was before, where we knew it.
        before: Option<Session>,
        /// Why and when it was removed; without cause and time where that happened while we were not connected.
        removal: Removal,
    },
}

/// The live sessions.
#[derive(Debug, Default)]
pub struct Store {
    rows: HashMap<String, Row>,
    /// A snapshot that is not complete yet. The server may send a shared snapshot that is a little old, and right after
    /// it the changes since. Until those have come too, `rows` stays as it was.
    staged: Option<HashMap<String, Row>>,
    /// The server's position in its hello.
    current: u64,
    /// Whether a snapshot was ever complete.
    filled: bool,
    /// How far the server's clock is ahead of ours.
    clock_ahead: chrono::TimeDelta,
}

impl Store {
    /// The live sessions, in no order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// One live session.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Row> {
        self.rows.get(id)
    }

    /// Whether a snapshot was ever complete.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// The time by the server's clock when ours shows `local`; `local` where that time cannot be represented.
    #[must_use]
    pub fn server_time(&self, local: DateTime<Utc>) -> DateTime<Utc> {
        local.checked_add_signed(self.clock_ahead).unwrap_or(local)
    }

    /// Takes in a frame that arrived at `local` by our clock; the changes that it brought.
    pub fn apply(&mut self, frame: DashboardFrame, local: DateTime<Utc>) -> Vec<Delta> {
        match frame {
            DashboardFrame::Hello { seq, now, .. } => {
                self.clock_ahead = now - local;
                self.current = seq;
                Vec::new()
            }
            DashboardFrame::Snapshot { seq, part, parts, sessions } => {
                if part <= 1 {
                    self.staged = None;
                }
                let staged = self.staged.get_or_insert_default();
                staged.extend(sessions.into_iter().filter_map(Row::new).map(keyed));
                if part < parts { Vec::new() } else { self.settle(seq) }
            }
            DashboardFrame::Changes { seq, upserted, removed, .. } => {
                let upserted = upserted.into_iter().filter_map(Row::new);
                if let Some(staged) = &mut self.staged {
                    staged.extend(upserted.map(keyed));
                    for removal in &removed {
                        staged.remove(&removal.session_id);
                    }
                    return self.settle(seq);
                }
                let mut deltas: Vec<Delta> = upserted.filter_map(|row| self.upsert(row)).collect();
                deltas.extend(removed.into_iter().map(|removal| self.remove(removal)));
                deltas
            }
            DashboardFrame::Beats { beats, .. } => {
                for (id, at) in beats {
                    if let Some(row) = self.rows.get_mut(&id) {
                        row.session.last_heartbeat = row.session.last_heartbeat.max(at);
                    }
                }
                Vec::new()
            }
            DashboardFrame::Unknown => Vec::new(),
        }
    }

    /// Makes the staged snapshot the live view, if `seq` has reached the position of the hello; the changes between the
    /// two.
    fn settle(&mut self, seq: u64) -> Vec<Delta> {
        let Some(fresh) = self.staged.take_if(|_| seq >= self.current) else { return Vec::new() };
        if !self.filled {
            self.filled = true;
            self.rows = fresh;
            let mut present: Vec<&Row> = self.rows.values().collect();
            present.sort_by(|a, b| {
                (a.session.start_time, &a.session.session_id).cmp(&(b.session.start_time, &b.session.session_id))
            });
            return present.into_iter().cloned().map(Box::new).map(Delta::Present).collect();
        }
        let missing: Vec<String> = self.rows.keys().filter(|id| !fresh.contains_key(*id)).cloned().collect();
        let gone =
            missing.into_iter().map(|session_id| Removal { session_id, cause: None, at: None, by: None, reason: None });
        let mut deltas: Vec<Delta> = gone.map(|removal| self.remove(removal)).collect();
        deltas.extend(fresh.into_values().filter_map(|row| self.upsert(row)));
        deltas
    }

    fn upsert(&mut self, row: Row) -> Option<Delta> {
        let before = self.rows.insert(row.session.session_id.clone(), row.clone());
        if before.as_ref() == Some(&row) {
            return None;
        }
        Some(Delta::Upserted { before: before.map(|row| row.session), row: Box::new(row) })
    }

    fn remove(&mut self, removal: Removal) -> Delta {
        let before = self.rows.remove(&removal.session_id).map(|row| row.session);
        Delta::Removed { before, removal }
    }
}

fn keyed(row: Row) -> (String, Row) {
    (row.session.session_id.clone(), row)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn session(id: &str, more: Value) -> Value {
        let mut session = json!({
            "session_id": id, "app_name": "risk", "user_id": "ana", "start_time": "2026-11-22T08:00:00.000Z",
            "last_heartbeat": "2026-11-22T08:10:00.000Z", "duration_seconds": 600, "status": "idle", "current_task": null,
            "is_stale": false, "kill_requested": false, "reported_status": "idle", "task_started_at": null,
            "connected": true, "visibility": null, "heartbeat_interval": 30, "client": null, "remote_addr": null,
            "meta": {}, "kill": null
        });
        if let (Some(fields), Value::Object(more)) = (session.as_object_mut(), more) {
            fields.extend(more);
        }
        session
    }

    pub(crate) fn frame(value: Value) -> DashboardFrame {
        match serde_json::from_value(value) {
            Ok(frame) => frame,
            Err(error) => panic!("a frame of the contract: {error}"),
        }
    }

    pub(crate) fn time(text: &str) -> DateTime<Utc> {
        match text.parse() {
            Ok(time) => time,
            Err(error) => panic!("{text} is no time: {error}"),
        }
    }

    /// One session of the app `risk` in each state, each with its state in its id.
    pub(crate) fn every_state() -> Store {
        let kill = |confirm_by: &str| {
            json!({"kill_requested": true, "kill": {"kill_id": "k", "requested_at": "2026-11-22T08:10:00.000Z",
                "requested_by": "eve", "reason": null, "delivered_at": "2026-11-22T08:10:00.003Z",
                "acknowledged_at": null, "confirm_by": confirm_by}})
        };
        let sessions = [
            session("idle-1", json!({})),
            session("hidden-1", json!({"visibility": "hidden", "meta": {"env": "prod"}})),
            session(
                "running-1",
                json!({"reported_status": "running", "current_task": "Monte Carlo", "task_started_at": "2026-11-22T08:06:49.000Z"}),
            ),
            session(
                "stale-1",
                json!({"is_stale": true, "status": "stale", "last_heartbeat": "2026-11-22T08:08:00.000Z", "current_task": "a\u{1b}[2J"}),
            ),
            session("ending-1", kill("2026-11-22T08:10:12.000Z")),
            session("unconfirmed-1", kill("2026-11-22T08:10:03.000Z")),
        ];
        let mut store = Store::default();
        let snapshot = json!({"type": "snapshot", "seq": 1, "part": 1, "parts": 1, "sessions": sessions});
        store.apply(frame(snapshot), time("2026-11-22T08:10:10Z"));
        store
    }

    fn apply(store: &mut Store, value: Value) -> Vec<Delta> {
        store.apply(frame(value), time("2026-11-22T08:10:00Z"))
    }

    fn hello(epoch: &str) -> Value {
        json!({"type": "hello", "protocol": 1, "server": "sessionwatch 0.1.0", "epoch": epoch, "seq": 7,
               "now": "2026-11-22T08:10:05.000Z", "role": "admin", "stale_after": 120, "expire_after": 600})
    }

    fn ids(store: &Store) -> Vec<&str> {
        let mut ids: Vec<&str> = store.rows().map(|row| row.session.session_id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn filled() -> Store {
        let mut store = Store::default();
        apply(&mut store, hello("e"));
        apply(
            &mut store,
            json!({"type": "snapshot", "seq": 7, "part": 1, "parts": 2, "sessions": [session("a", json!({}))]}),
        );
        assert!(!store.is_filled() && ids(&store).is_empty(), "half a snapshot is none");
        let present = apply(
            &mut store,
            json!({"type": "snapshot", "seq": 7, "part": 2, "parts": 2, "sessions": [session("b", json!({}))]}),
        );
        assert_eq!(present.len(), 2);
        store
    }

    #[test]
    fn a_snapshot_counts_only_when_it_is_complete() {
        let store = filled();
        assert!(store.is_filled());
        assert_eq!(ids(&store), ["a", "b"]);
    }

    #[test]
    fn changes_move_the_view_and_say_what_was_before() {
        let mut store = filled();
        let deltas = apply(
            &mut store,
            json!({"type": "changes", "from": 7, "seq": 9, "at": "2026-11-22T08:10:06.000Z",
            "upserted": [session("a", json!({"reported_status": "running"})), session("c", json!({}))],
            "removed": [{"session_id": "b", "cause": "killed", "at": "2026-11-22T08:10:06.000Z", "by": "eve", "reason": null}]}),
        );
        assert_eq!(ids(&store), ["a", "c"]);
        let told: Vec<(bool, &str)> = deltas
            .iter()
            .map(|delta| match delta {
                Delta::Present(row) => (true, row.session.session_id.as_str()),
                Delta::Upserted { before, row } => (before.is_some(), row.session.session_id.as_str()),
                Delta::Removed { before, removal } => (before.is_some(), removal.session_id.as_str()),
            })
            .collect();
        assert_eq!(told, [(true, "a"), (false, "c"), (true, "b")]);
    }

    #[test]
    fn a_shared_snapshot_counts_only_with_what_has_happened_since() {
        let mut store = Store::default();
        apply(&mut store, hello("e"));
        let old = json!({"type": "snapshot", "seq": 5, "part": 1, "parts": 1, "sessions": [session("a", json!({})), session("b", json!({}))]});
        assert!(apply(&mut store, old).is_empty() && !store.is_filled());
        let since = json!({"type": "changes", "from": 5, "seq": 7, "upserted": [session("c", json!({}))],
            "removed": [{"session_id": "b", "cause": "done", "at": "2026-11-22T08:10:01.000Z"}]});
        assert_eq!(apply(&mut store, since).len(), 2);
        assert_eq!(ids(&store), ["a", "c"], "who had gone before we came is never seen");
    }

    #[test]
    fn a_second_snapshot_tells_only_the_difference() {
        let mut store = filled();
        apply(&mut store, hello("other"));
        let deltas = apply(
            &mut store,
            json!({"type": "snapshot", "seq": 7, "part": 1, "parts": 1,
            "sessions": [session("a", json!({})), session("c", json!({}))]}),
        );
        assert_eq!(ids(&store), ["a", "c"]);
        assert_eq!(deltas.len(), 2, "b is gone, c is new, a is as it was: {deltas:?}");
    }

    #[test]
    fn beats_only_move_forward_and_the_servers_clock_is_used() {
        let mut store = filled();
        let beats = json!({"type": "beats", "at": "2026-11-22T08:10:07.000Z",
            "beats": {"a": "2026-11-22T08:10:06.000Z", "b": "2026-11-22T08:09:00.000Z", "gone": "2026-11-22T08:09:00.000Z"}});
        assert!(apply(&mut store, beats).is_empty());
        let beat = |id: &str| store.get(id).map(|row| row.session.last_heartbeat);
        assert_eq!(beat("a"), Some(time("2026-11-22T08:10:06Z")));
        assert_eq!(beat("b"), Some(time("2026-11-22T08:10:00Z")));
        assert_eq!(store.server_time(time("2026-11-22T08:10:00Z")), time("2026-11-22T08:10:05Z"));
    }

    #[test]
    fn a_server_time_out_of_range_is_ignored() {
        for end in ["+262142-12-31T23:59:59.999Z", "-262143-01-01T00:00:00.000Z"] {
            let mut store = filled();
            apply(&mut store, json!({"type": "hello", "epoch": "e", "seq": 7, "now": end}));
            for local in ["2026-11-22T08:09:00Z", "2026-11-22T08:11:00Z"] {
                let _ = store.server_time(time(local));
            }
        }
    }

    #[test]
    fn a_frame_of_a_later_version_is_skipped() {
        assert!(apply(&mut filled(), json!({"type": "weather", "of": "tomorrow"})).is_empty());
    }
}
