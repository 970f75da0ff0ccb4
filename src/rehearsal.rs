//! A rehearsal: what a rule would have done, by the log and the live sessions. It runs the same judgement as the server,
//! so that a rule that is switched on afterwards does the same.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::change::{Judging, Kind};
use crate::clock::{Mono, Timestamp};
use crate::deadlines::Agenda;
use crate::decide::{Judgement, judge};
use crate::fields;
use crate::filter::{Field, Moment};
use crate::log::Entry;
use crate::marks::{Mark, Step};
use crate::session::{Input, Kill, Pulse, Session, SessionId, Status, Visibility};

/// Most sessions that are listed; all are counted.
const LISTED: usize = 1_000;
/// What the log does not tell of sessions that have ended.
const UNTOLD: [Field; 3] = [Field::Client, Field::Addr, Field::Reason];

/// What a rule would have done to one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Act {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The session.
    pub session_id: String,
    /// Its app.
    #[schema(value_type = String)]
    pub app_name: Arc<str>,
    /// Its user.
    #[schema(value_type = Option<String>)]
    pub user_id: Option<Arc<str>>,
    /// The task that ran.
    #[schema(value_type = Option<String>)]
    pub current_task: Option<Arc<str>>,
}

/// What a rule would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rehearsal {
    /// How many users it would have warned, or sessions it would have told its targets of.
    pub warned_count: usize,
    /// How many sessions it would have ended.
    pub ended_count: usize,
    /// How often it would have let a session go.
    pub called_off: usize,
    /// How many of the ended ones were at work.
    pub tasks_cut: usize,
    /// When its limit would have stopped it; from then on it does nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub braked: Option<Timestamp>,
    /// The first of those that it would have warned.
    pub warned: Vec<Act>,
    /// The first of those that it would have ended.
    pub ended: Vec<Act>,
    /// Sessions that could not be judged from their beginning, since the log does not tell it.
    pub unknown: usize,
    /// What the log does not tell, where the rule looks at it.
    pub notes: Vec<String>,
}

/// A rehearsal while it runs.
struct Stage<'a> {
    rule: &'a Judging,
    limit: (usize, std::time::Duration),
    sessions: HashMap<SessionId, Session>,
    agenda: Agenda,
    begun: VecDeque<Timestamp>,
    /// Those that the rule has ended: what the log tells of them later does not happen.
    gone: HashSet<SessionId>,
    done: Rehearsal,
}

/// Rehearses a rule with the entries of the log since `since`, oldest first, and the sessions that are live at `until`.
///
/// # Errors
/// The rule looks at something that the log does not have at all.
pub fn rehearse(
    rule: &Judging,
    limit: (usize, std::time::Duration),
    entries: &[Entry],
    live: &[Arc<Session>],
    since: Timestamp,
    until: Timestamp,
) -> Result<Rehearsal, String> {
    let filter = &rule.matching.filter;
    if filter.looks_at(Moment::Beat) || filter.reads(Field::Connected) || filter.reads(Field::Node) {
        return Err(
            "the log has no heartbeats and no sockets, so a rule with silent:, connected: or node: cannot be rehearsed"
                .to_owned(),
        );
    }
    let mut stage = Stage {
        rule,
        limit,
        sessions: HashMap::new(),
        agenda: Agenda::default(),
        begun: VecDeque::new(),
        gone: HashSet::new(),
        done: Rehearsal::default(),
    };
    if filter.reads_tags() || UNTOLD.iter().any(|field| filter.reads(*field)) {
        let note =
            "of sessions that have ended the log tells no tags, client, address or reason; they count as without";
        stage.done.notes.push(note.to_owned());
    }
    let by_id: HashMap<&str, &Arc<Session>> = live.iter().map(|session| (session.id.as_str(), session)).collect();
    let told: HashSet<&str> = entries.iter().map(|entry| entry.session_id.as_str()).collect();
    // Of a session that the log does not name, nothing has changed in all the time.
    for session in live.iter().filter(|session| !told.contains(session.id.as_str())) {
        stage.put(Session { marks: None, ..(**session).clone() }, since.max(session.started_at));
    }
    for entry in entries {
        stage.pass(entry.at);
        stage.take(entry, &by_id);
    }
    stage.pass(until);
    Ok(stage.done)
}

impl Stage<'_> {
    /// Lets time pass up to `until`.
    fn pass(&mut self, until: Timestamp) {
        while let Some((at, id)) = self.agenda.take_due(until) {
            self.look(&id, at);
        }
    }

    fn put(&mut self, session: Session, at: Timestamp) {
        let id = session.id.clone();
        self.sessions.insert(id.clone(), session);
        self.look(&id, at);
    }

    fn remove(&mut self, id: &SessionId) {
        self.sessions.remove(id);
        self.agenda.set(id, None);
    }

    /// Judges a session until it waits.
    fn look(&mut self, id: &SessionId, now: Timestamp) {
        loop {
            let Some(session) = self.sessions.get(id) else { return };
            let judgement = judge(session, self.rule, now, now);
            let next = match judgement {
                Judgement::Wait(at) => Some(at),
                // A rule that is stopped does nothing more.
                _ if self.done.braked.is_some() && judgement != Judgement::CallOff => Some(None),
                Judgement::Begin if !self.may_begin(now) => Some(None),
                _ => None,
            };
            if let Some(next) = next {
                self.agenda.set(id, next);
                return;
            }
            self.act(id, judgement, now);
        }
    }

    fn may_begin(&mut self, now: Timestamp) -> bool {
        while self.begun.front().is_some_and(|at| at.plus(self.limit.1) <= now) {
            self.begun.pop_front();
        }
        if self.begun.len() >= self.limit.0 {
            self.done.braked = Some(now);
            return false;
        }
        self.begun.push_back(now);
        true
    }

    fn act(&mut self, id: &SessionId, judgement: Judgement, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let act = Act {
            at: now,
            session_id: session.id.to_string(),
            app_name: session.app.clone(),
            user_id: session.user.clone(),
            current_task: session.task.clone(),
        };
        let mark = |step| Some(Arc::from([Mark { rule: self.rule.name.clone(), at: now, step }]));
        let step = match judgement {
            Judgement::CallOff => {
                session.marks = None;
                self.done.called_off += 1;
                return;
            }
            Judgement::Begin if !self.rule.ends => Some(Step::Noted),
            Judgement::Begin if !self.rule.grace.is_zero() => Some(Step::Due(now.plus(self.rule.grace))),
            _ => None,
        };
        let (count, list) = match step {
            Some(step) => {
                session.marks = mark(step);
                (&mut self.done.warned_count, &mut self.done.warned)
            }
            None => {
                self.done.tasks_cut += usize::from(session.task.is_some() || session.status != Status::Idle);
                self.gone.insert(id.clone());
                (&mut self.done.ended_count, &mut self.done.ended)
            }
        };
        *count += 1;
        if list.len() < LISTED {
            list.push(act);
        }
        if step.is_none() {
            self.remove(id);
        }
    }

    /// Takes what the log tells.
    fn take(&mut self, entry: &Entry, live: &HashMap<&str, &Arc<Session>>) {
        let (Some(id), Some(kind)) = (SessionId::parse(&entry.session_id), Kind::parse(&entry.kind)) else { return };
        match kind {
            Kind::Registered => {
                self.gone.remove(&id);
                self.put(registered(id, entry, live), entry.at);
            }
            Kind::Removed => self.remove(&id),
            Kind::StatusChanged | Kind::Recovered | Kind::Stale | Kind::KillRequested => {
                let before = match self.sessions.remove(&id) {
                    Some(before) => before,
                    None if self.gone.contains(&id) => return,
                    None => {
                        self.done.unknown += 1;
                        registered(id, entry, live)
                    }
                };
                self.put(changed(before, kind, entry), entry.at);
            }
            _ => {}
        }
    }
}

/// A session as the log tells its beginning; what the log does not have is that of the live one.
fn registered(id: SessionId, entry: &Entry, live: &HashMap<&str, &Arc<Session>>) -> Session {
    let same = live.get(id.as_str()).filter(|session| session.started_at == entry.at);
    let session = Session {
        id,
        app: entry.app_name.as_str().into(),
        user: entry.user_id.as_deref().map(Into::into),
        started_at: entry.at,
        pulse: Arc::new(Pulse::new(entry.at, Mono::default())),
        status: Status::default(),
        status_since: entry.at,
        task: None,
        task_started_at: None,
        visibility: None,
        input: crate::session::Input::Unknown,
        heartbeat_interval: 0.0,
        client: same.and_then(|session| session.client.clone()),
        remote_addr: same.and_then(|session| session.remote_addr.clone()),
        meta: same.and_then(|session| session.meta.clone()),
        kill: None,
        token: None,
        registered_by: None,
        stale: false,
        marks: None,
        socket: None,
    };
    reported(session, entry)
}

/// The session after an entry.
fn changed(before: Session, kind: Kind, entry: &Entry) -> Session {
    match kind {
        Kind::Stale => Session { stale: true, ..before },
        Kind::KillRequested => {
            let kill = Kill {
                kill_id: "".into(),
                requested_at: entry.at,
                requested_by: "".into(),
                reason: None,
                delivered_at: None,
                acknowledged_at: None,
                confirm_by: entry.at,
            };
            Session { kill: Some(Arc::new(kill)), ..before }
        }
        _ => Session { stale: false, ..reported(before, entry) },
    }
}

/// The session with the status, the task and the visibility of an entry.
fn reported(before: Session, entry: &Entry) -> Session {
    let status = entry.details.status.as_deref().and_then(|status| fields::status(status).ok());
    let status = status.unwrap_or_else(|| before.status.clone());
    let task: Option<Arc<str>> = entry.details.current_task.as_deref().map(Into::into);
    let (is_other, is_new) = (status != before.status, task != before.task);
    let begins = is_new || (is_other && before.status == Status::Idle);
    Session {
        status_since: if is_other || is_new { entry.at } else { before.status_since },
        task_started_at: task.as_ref().and(if begins { Some(entry.at) } else { before.task_started_at }),
        input: told_input(entry).unwrap_or(before.input),
        visibility: entry.details.visibility.as_deref().and_then(Visibility::parse),
        status,
        task,
        ..before
    }
}

/// What an entry tells of the user's input.
fn told_input(entry: &Entry) -> Option<Input> {
    match entry.details.input.as_deref()? {
        "active" => Some(Input::Active),
        since => {
            let at = chrono::DateTime::parse_from_rfc3339(since).ok()?;
            Some(Input::NoneSince(Timestamp(at.timestamp_millis())))
        }
    }
}
