//! Patches: what changed in a session, for dashboards that want no more than that. They are read from
//! the JSON of both versions, so a new field of a session needs no line here.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::nodes::Known;
use crate::registry::View;
use crate::session::{Session, SessionId};
use crate::wire::{self, RemovedJson};

/// A dashboard computes it from `start_time`; it changes all the time.
const COMPUTED: &str = "duration_seconds";
/// These are in every patch. The pulse is shared by both versions, so a heartbeat cannot be seen
/// by comparing them.
const ALWAYS: [&str; 2] = ["session_id", "last_heartbeat"];

/// The sessions as dashboards have them, while the frames of one publication are made.
pub(super) struct Before<'a> {
    view: &'a View,
    /// What the frames before changed; `None` is a session that they removed.
    newer: HashMap<&'a SessionId, Option<&'a Session>>,
}

impl<'a> Before<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        Self { view, newer: HashMap::new() }
    }

    /// Notes what a frame changes, once it is made.
    pub(super) fn note(&mut self, upserted: &[&'a Session], removed: impl Iterator<Item = &'a SessionId>) {
        self.newer.extend(upserted.iter().map(|session| (&session.id, Some(*session))));
        self.newer.extend(removed.map(|id| (id, None)));
    }

    /// The version of a session that dashboards have; `None` where they may have none.
    fn of(&self, session: &Session) -> Option<&Session> {
        match self.newer.get(&session.id) {
            Some(newer) => *newer,
            None => self.view.get(session.started_at, &session.id).map(|session| &**session),
        }
    }
}

/// The `changes` frame with patches; `None` where it would have none.
pub(super) fn changes(
    from: u64,
    seq: u64,
    now: Timestamp,
    known: &Known,
    before: &Before<'_>,
    upserted: &[&Session],
    removed: &[RemovedJson],
) -> Option<String> {
    let (mut whole, mut patches) = (Vec::new(), Vec::new());
    for session in upserted {
        match before.of(session).and_then(|before| patch(before, session, now, known)) {
            Some(patch) => patches.push(patch),
            None => whole.push(*session),
        }
    }
    if patches.is_empty() {
        return None;
    }
    let rest = wire::changes(from, seq, now, known, whole.into_iter(), removed);
    Some(format!(r#"{},"patched":[{}]}}"#, rest.strip_suffix('}')?, patches.join(",")))
}

/// What differs between two versions of a session.
fn patch(before: &Session, after: &Session, now: Timestamp, known: &Known) -> Option<String> {
    let (before, after) = (wire::session(before, now, known), wire::session(after, now, known));
    let before: BTreeMap<&str, &RawValue> = serde_json::from_str(&before).ok()?;
    let after: BTreeMap<&str, &RawValue> = serde_json::from_str(&after).ok()?;
    let differs = |name: &str, value: &RawValue| before.get(name).is_none_or(|before| before.get() != value.get());
    let changed = after
        .iter()
        .filter(|(name, value)| ALWAYS.contains(name) || **name != COMPUTED && differs(name, value))
        .collect::<BTreeMap<_, _>>();
    serde_json::to_string(&changed).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::session::{Input, Pulse, Status};

    fn session() -> Session {
        Session {
            id: SessionId::parse("s").expect("an id"),
            app: "shop".into(),
            user: Some("ana".into()),
            started_at: Timestamp(1_000),
            pulse: Arc::new(Pulse::new(Timestamp(2_000), crate::clock::Mono(0))),
            status: Status::Idle,
            status_since: Timestamp(1_000),
            task: Some("Q4".into()),
            task_started_at: Some(Timestamp(1_500)),
            visibility: None,
            input: Input::Unknown,
            heartbeat_interval: 30.0,
            client: None,
            remote_addr: None,
            meta: Some(r#"{"env":"prod"}"#.into()),
            kill: None,
            token: None,
            registered_by: None,
            stale: false,
            socket: None,
            marks: Default::default(),
        }
    }

    #[test]
    fn a_patch_has_only_what_changed_and_null_for_what_went_away() {
        let before = session();
        let after = Session { task: None, task_started_at: None, stale: true, ..session() };
        let text = patch(&before, &after, Timestamp(9_000), &Known::default()).expect("a patch");
        let patch: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "session_id": "s", "last_heartbeat": "1970-01-01T00:00:02.000Z", "status": "stale", "is_stale": true,
            "current_task": null, "task_started_at": null,
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn a_session_that_dashboards_do_not_have_is_sent_whole() {
        let (old, new) = (session(), Session { status: Status::Running, ..session() });
        let view = View::default();
        let mut before = Before::new(&view);
        let frame = |before: &Before<'_>| changes(0, 1, Timestamp(0), &Known::default(), before, &[&new], &[]);
        assert_eq!(frame(&before), None, "it is new");
        before.note(&[&old], std::iter::empty());
        let patched: Value = serde_json::from_str(&frame(&before).expect("patches")).expect("JSON");
        assert_eq!((&patched["upserted"], &patched["patched"][0]["status"]), (&json!([]), &json!("running")));
        before.note(&[], [&old.id].into_iter());
        assert_eq!(frame(&before), None, "it was removed in between");
    }
}
