//! A kill request as it goes on: delivered, acknowledged, gone, or not confirmed in time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::{
    text::{escape, millis},
    wire::{Kill, Session},
};

/// Where the server names no `confirm_by`, how long to wait for the end of the session.
const CONFIRM_LIMIT: TimeDelta = TimeDelta::seconds(60);
/// How long after `confirm_by` the news of a removal may still be on its way to us.
const NEWS_LIMIT: TimeDelta = TimeDelta::milliseconds(500);

/// The body of a kill request.
pub(in crate::cli) fn body(reason: Option<&str>, by: Option<&str>) -> Value {
    json!({ "reason": reason, "by": by.filter(|by| !by.is_empty()) })
}

/// One kill request, followed until the session is gone.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    name: String,
    requested: DateTime<Utc>,
    kill: Option<Kill>,
    outcome: Option<Outcome>,
    /// How long to wait, where the user says so.
    within: Option<TimeDelta>,
}

/// How a kill request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Outcome {
    /// The session is gone.
    Gone,
    /// The time to confirm has passed. The request stands, and the session may still go.
    Unconfirmed,
}

impl Progress {
    /// A request made at `now` by the server's clock; `session` is what is known of the session with this id.
    pub(in crate::cli) fn new(id: &str, session: Option<&Session>, now: DateTime<Utc>) -> Self {
        Self { name: name(id, session), requested: now, kill: None, outcome: None, within: None }
    }

    /// The same, but given up after this time and not by the server's.
    pub(in crate::cli) fn within(self, limit: Option<Duration>) -> Self {
        Self { within: limit.map(|limit| TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX)), ..self }
    }

    /// The session's id, app and user, for messages.
    pub(in crate::cli) fn name(&self) -> &str {
        &self.name
    }

    /// How it went; none while it goes on.
    pub(in crate::cli) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Takes in the kill as the session carries it now; the steps that are new.
    pub(in crate::cli) fn update(&mut self, kill: Kill) -> Vec<String> {
        let after = |at: DateTime<Utc>| millis((at - kill.requested_at).num_milliseconds());
        let known = self.kill.as_ref();
        let mut steps = Vec::new();
        if let (Some(at), None) = (kill.delivered_at, known.and_then(|known| known.delivered_at)) {
            steps.push(format!("delivered {}", after(at)));
        }
        if let (Some(at), None) = (kill.acknowledged_at, known.and_then(|known| known.acknowledged_at)) {
            steps.push(format!("acknowledged {}", after(at)));
        }
        self.kill = Some(kill);
        steps
    }

    /// When the session has failed to confirm.
    pub(in crate::cli) fn deadline(&self) -> DateTime<Utc> {
        if let Some(limit) = self.within {
            return self.requested.checked_add_signed(limit).unwrap_or(DateTime::<Utc>::MAX_UTC);
        }
        let confirm_by = self.kill.as_ref().and_then(|kill| kill.confirm_by);
        let (from, limit) = confirm_by.map_or((self.requested, CONFIRM_LIMIT), |by| (by, NEWS_LIMIT));
        from.checked_add_signed(limit).unwrap_or(from)
    }

    /// Whether it goes on and its deadline has passed.
    pub(in crate::cli) fn is_overdue(&self, now: DateTime<Utc>) -> bool {
        self.outcome.is_none() && self.deadline() <= now
    }

    /// Records that the session is gone.
    pub(in crate::cli) fn gone(&mut self) {
        self.outcome = Some(Outcome::Gone);
    }

    /// Records that the deadline has passed while the session is still there, and says how far the kill got.
    pub(in crate::cli) fn unconfirmed(&mut self) -> String {
        self.outcome = Some(Outcome::Unconfirmed);
        let far = match &self.kill {
            Some(kill) if kill.acknowledged_at.is_some() => "acknowledged, but not gone",
            Some(kill) if kill.delivered_at.is_some() => "delivered, but not acknowledged",
            _ => "not delivered yet",
        };
        format!("unconfirmed: {far} in time; the request stands")
    }
}

/// A session's id, app and user as messages name it.
pub(in crate::cli) fn name(id: &str, session: Option<&Session>) -> String {
    let app = session.map(|session| session.app_name.as_str());
    let user = session.and_then(|session| session.user_id.as_deref());
    [Some(id), app, user].into_iter().flatten().map(escape).collect::<Vec<_>>().join("  ")
}

/// All steps of a finished kill, from the session's events:
/// `gone: delivered 3 ms, acknowledged 41 ms, removed 43 ms (killed)`.
pub(in crate::cli) fn story(events: &[Value]) -> String {
    let text = |event: &Value, name: &str| event.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let at = |event: &Value| text(event, "at").and_then(|at| at.parse::<DateTime<Utc>>().ok());
    // The same id may have been registered before: only what follows its last registration counts.
    let from = events.iter().rposition(|event| text(event, "kind").as_deref() == Some("registered")).unwrap_or(0);
    let events = &events[from..];
    let find = |kind: &str| events.iter().find(|event| text(event, "kind").as_deref() == Some(kind));
    let Some(requested) = find("kill_requested").and_then(at) else {
        return "gone".to_owned();
    };
    let after = |event: &Value| at(event).map(|at| millis((at - requested).num_milliseconds()));
    let mut said = Vec::new();
    for (kind, word) in [("kill_delivered", "delivered"), ("kill_acknowledged", "acknowledged")] {
        match find(kind).and_then(after) {
            Some(after) => said.push(format!("{word} {after}")),
            None => said.push(format!("not {word}")),
        }
    }
    if let Some(event) = find("removed") {
        let cause = text(event, "cause").unwrap_or_default();
        said.push(format!("removed {} ({})", after(event).unwrap_or_default(), escape(&cause)));
    }
    format!("gone: {}", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::store::tests::time;

    fn event(kind: &str, at: &str) -> Value {
        json!({"kind": kind, "at": format!("2026-11-22T08:10:{at}Z"), "cause": if kind == "removed" { Some("killed") } else { None }})
    }

    #[test]
    fn the_steps_come_with_their_milliseconds() {
        let events = [
            event("registered", "00.000"),
            event("kill_requested", "01.000"),
            event("kill_delivered", "01.003"),
            event("kill_acknowledged", "01.041"),
            event("removed", "01.043"),
        ];
        assert_eq!(story(&events), "gone: delivered 3 ms, acknowledged 41 ms, removed 43 ms (killed)");
        assert_eq!(
            story(&[events[1].clone(), events[4].clone()]),
            "gone: not delivered, not acknowledged, removed 43 ms (killed)"
        );
    }

    #[test]
    fn what_came_before_the_last_registration_does_not_count() {
        let events = [
            event("kill_requested", "00.000"),
            event("removed", "00.500"),
            event("registered", "01.000"),
            event("removed", "02.000"),
        ];
        assert_eq!(story(&events), "gone");
    }

    #[test]
    fn each_step_is_told_once_and_the_deadline_is_the_servers() {
        let kill = |delivered: Option<&str>, acknowledged: Option<&str>| Kill {
            kill_id: "k".to_owned(),
            requested_at: time("2026-11-22T08:10:00.000Z"),
            requested_by: None,
            reason: None,
            delivered_at: delivered.map(time),
            acknowledged_at: acknowledged.map(time),
            confirm_by: Some(time("2026-11-22T08:10:03Z")),
        };
        let mut progress = Progress::new("a1", None, time("2026-11-22T08:10:00Z"));
        assert_eq!(progress.deadline(), time("2026-11-22T08:11:00Z"));
        assert_eq!(progress.update(kill(None, None)), Vec::<String>::new());
        assert_eq!(progress.deadline(), time("2026-11-22T08:10:03.500Z"));
        let delivered = "2026-11-22T08:10:00.003Z";
        assert_eq!(progress.update(kill(Some(delivered), None)), ["delivered 3 ms"]);
        assert_eq!(progress.update(kill(Some(delivered), Some("2026-11-22T08:10:00.041Z"))), ["acknowledged 41 ms"]);
        assert!(!progress.is_overdue(time("2026-11-22T08:10:03Z")));
        assert!(progress.is_overdue(time("2026-11-22T08:10:04Z")));
        assert!(progress.unconfirmed().starts_with("unconfirmed: acknowledged, but not gone"));
        assert!(!progress.is_overdue(time("2026-11-22T08:10:04Z")), "it is told once");
    }
}
