//! Judges the rules: which sessions each rule warns and ends. Only sessions that have changed are judged, and those for
//! which time alone may change something, when it may. The writer decides; this only asks it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::tally::{RuleCounts, Tally};
use super::{Monitor, Pending, fresh_id};
use crate::alerts;
use crate::change::{Change, Event, Judging, Kind, Matching};
use crate::clock::{Now, Timestamp};
use crate::deadlines::Agenda;
use crate::decide::{Judgement, Outcome, judge};
use crate::error::{Error, Result};
use crate::log::{Entry, Query};
use crate::nodes::Known;
use crate::rehearsal::{self, Rehearsal};
use crate::rules::{Rule, RulesFile, Then};
use crate::session::{Session, SessionId};

/// How often the rules are judged.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// Sessions that are judged at once; more are judged in further slices, so that other tasks run in between.
const SLICE: usize = 1_000;
/// Sessions that are judged in one call at most.
const AT_ONCE: usize = 10_000;
/// What rules do in one call at most; the rest waits for the next.
const ACTIONS: usize = 1_000;
/// Log entries that are read to learn what a rule did before this server became the keeper.
const LOOKED_BACK: usize = 1_000;

/// Log entries that are read at once for a rehearsal, and at most.
const PAGE: usize = 5_000;
const REHEARSED: usize = 200_000;

/// The sessions that have to be judged, and when.
pub(super) struct Judge {
    /// One rehearsal at a time.
    rehearsing: Semaphore,
    active: AtomicBool,
    changed: Mutex<HashSet<SessionId>>,
    state: tokio::sync::Mutex<State>,
    /// What each rule has done, for readers.
    done: Mutex<Vec<(Arc<Rule>, RuleCounts)>>,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            rehearsing: Semaphore::new(1),
            active: AtomicBool::default(),
            changed: Mutex::default(),
            state: tokio::sync::Mutex::default(),
            done: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct State {
    /// The file that `tallies` are of.
    file: Option<Arc<RulesFile>>,
    is_keeper: bool,
    tallies: Vec<Tally>,
    /// When each session has to be judged again, though nothing has changed.
    agenda: Agenda,
}

/// One thing that a rule wants to do.
struct Wanted {
    tally: usize,
    id: SessionId,
    judgement: Judgement,
}

impl Judge {
    /// Notes the sessions that events have changed.
    pub(super) fn note(&self, events: &[Event]) {
        if self.active.load(Ordering::Relaxed) {
            let changed = events.iter().filter(|event| event.kind.changes_session());
            self.changed.lock().extend(changed.map(|event| event.session.id.clone()));
        }
    }
}

impl State {
    /// Takes the sessions whose time has come.
    fn due(&mut self, now: Timestamp, most: usize) -> Vec<SessionId> {
        std::iter::from_fn(|| self.agenda.take_due(now)).take(most).map(|(_, id)| id).collect()
    }
}

/// A rule as the writer needs it.
fn judging(rule: &Rule, known: Arc<Known>) -> Judging {
    Judging {
        name: rule.name.clone(),
        matching: Matching { filter: rule.when.clone(), known },
        warn: rule.warn.clone(),
        grace: rule.grace,
        ends: rule.then == Then::Kill,
        reason: rule.reason.clone(),
        id: fresh_id(),
    }
}

impl Monitor {
    /// Judges the rules once. The server calls this by the clock; a test calls it after it has moved its own clock.
    pub async fn judge(&self) {
        let mut state = self.judge.state.lock().await;
        if !self.take_file(&mut state).await {
            return;
        }
        let now = self.clock.now();
        let rules: Vec<Arc<Judging>> = {
            let known = self.names();
            state.tallies.iter().map(|tally| Arc::new(judging(&tally.rule, known.clone()))).collect()
        };
        let mut ids = self.changed(AT_ONCE);
        let room = AT_ONCE - ids.len();
        ids.extend(state.due(now.wall, room));
        let mut wanted = Vec::new();
        for slice in ids.chunks(SLICE) {
            for id in slice {
                let next = self.look(id, &rules, now, &mut wanted);
                state.agenda.set(id, next);
            }
            tokio::task::yield_now().await;
        }
        self.act(&mut state, &rules, wanted, now.wall).await;
        let done = state.tallies.iter().map(|tally| (tally.rule.clone(), tally.done.clone())).collect();
        *self.judge.done.lock() = done;
    }

    /// Takes the rules in force; false where there is nothing to judge here.
    async fn take_file(&self, state: &mut State) -> bool {
        let (file, is_keeper) = (self.rules.now(), self.backend.is_keeper());
        let was = std::mem::replace(&mut state.is_keeper, is_keeper);
        let same = state.file.as_ref().is_some_and(|before| Arc::ptr_eq(before, &file));
        if same && was == is_keeper {
            return is_keeper && !file.rules.is_empty();
        }
        self.judge.active.store(is_keeper && !file.rules.is_empty(), Ordering::Relaxed);
        let now = self.now();
        // What another keeper did counts too.
        let begun = if file.rules.is_empty() || !is_keeper { Ok(HashMap::new()) } else { self.begun(&file, now).await };
        let Ok(mut begun) = begun else {
            // The log cannot be read: it is tried again at the next call.
            state.is_keeper = false;
            return false;
        };
        let mut before = std::mem::take(&mut state.tallies);
        for rule in &file.rules {
            let kept = before.iter().position(|tally| was && *tally.rule == *rule);
            state.tallies.push(match kept {
                Some(at) => before.swap_remove(at),
                None => Tally::new(Arc::new(rule.clone()), now, begun.remove(&rule.name).unwrap_or_default()),
            });
        }
        state.file = Some(file.clone());
        state.agenda = Agenda::default();
        let every = self.registry.view();
        *self.judge.changed.lock() = every.sessions().map(|session| session.id.clone()).collect();
        *self.judge.done.lock() = Vec::new();
        is_keeper && !file.rules.is_empty()
    }

    /// When each rule began with sessions within the time of its limit, from the log.
    async fn begun(&self, file: &RulesFile, now: Timestamp) -> Result<HashMap<Arc<str>, Vec<Timestamp>>> {
        let kinds = [Kind::Warned, Kind::KillRequested].map(|kind| kind.as_str().to_owned()).to_vec();
        let entries = self.events(Query { kinds, limit: LOOKED_BACK, ..Query::default() }).await?;
        let mut begun: HashMap<Arc<str>, Vec<Timestamp>> = HashMap::new();
        for rule in &file.rules {
            let by = format!("rule {}", rule.name);
            let recent = |at: &Timestamp| at.plus(rule.limit.per) > now;
            let own = entries.iter().filter(|entry| entry.by.as_deref() == Some(&by) && recent(&entry.at));
            // A session that was warned and then ended counts once.
            let first: HashMap<&str, Timestamp> = own.map(|entry| (entry.session_id.as_str(), entry.at)).collect();
            let mut times: Vec<Timestamp> = first.into_values().collect();
            times.sort_unstable();
            begun.insert(rule.name.clone(), times);
        }
        Ok(begun)
    }

    /// Takes the sessions that have changed.
    fn changed(&self, most: usize) -> Vec<SessionId> {
        let mut changed = self.judge.changed.lock();
        if changed.len() <= most {
            return std::mem::take(&mut *changed).into_iter().collect();
        }
        let taken: Vec<SessionId> = changed.iter().take(most).cloned().collect();
        taken.iter().for_each(|id| {
            changed.remove(id);
        });
        taken
    }

    /// Judges one session by each rule; returns when it has to be judged again.
    fn look(&self, id: &SessionId, rules: &[Arc<Judging>], now: Now, wanted: &mut Vec<Wanted>) -> Option<Timestamp> {
        let session = self.registry.get(id.as_str())?;
        if let Some(wait) = self.unheard(&session, now) {
            return Some(now.wall.plus(wait));
        }
        let heard = now.wall.minus(self.registry.silence(&session.pulse, now));
        let mut next: Option<Timestamp> = None;
        for (tally, rule) in rules.iter().enumerate() {
            match judge(&session, rule, now.wall, heard) {
                Judgement::Wait(at) => next = next.into_iter().chain(at).min(),
                judgement => wanted.push(Wanted { tally, id: id.clone(), judgement }),
            }
        }
        next
    }

    /// How long to wait with a session that was not heard of since the server started or was blind: what its client did
    /// meanwhile is not known yet.
    fn unheard(&self, session: &Session, now: Now) -> Option<Duration> {
        let floor = self.registry.floor();
        let until = floor.plus(self.timing().stale_after);
        let unheard = session.pulse.mono() <= floor && !session.connected();
        (unheard && now.mono < until).then(|| until.since(now.mono))
    }

    /// Asks the writer for what the rules want, as far as their limits allow.
    async fn act(&self, state: &mut State, rules: &[Arc<Judging>], mut wanted: Vec<Wanted>, now: Timestamp) {
        // What was begun is brought to its end before anything else begins, which may stop the rule.
        wanted.sort_by_key(|wanted| wanted.judgement == Judgement::Begin);
        let mut asked: Vec<(Wanted, Result<Pending>)> = Vec::new();
        let mut stopped: Vec<(Arc<Rule>, SessionId)> = Vec::new();
        for wanted in wanted {
            let tally = &mut state.tallies[wanted.tally];
            let braked = tally.done.braked.is_some();
            if asked.len() >= ACTIONS {
                self.judge.changed.lock().insert(wanted.id);
                continue;
            }
            if !tally.may(wanted.judgement, now) {
                if !braked && tally.done.braked.is_some() {
                    stopped.push((tally.rule.clone(), wanted.id));
                    tracing::error!(
                        rule = &*tally.rule.name,
                        limit = tally.rule.limit.count,
                        "a rule has reached its limit and is stopped; look at it, then release it on the page or change the file"
                    );
                }
                continue;
            }
            // The times of this round count for the limit before the writer has answered.
            if wanted.judgement == Judgement::Begin {
                tally.reserve(now);
            }
            // Each judgement has an id of its own, for its message or its kill request.
            let rule = Judging { id: fresh_id(), ..(*rules[wanted.tally]).clone() };
            let pending = self.submit(Change::Judge(wanted.id.clone(), Arc::new(rule))).await;
            asked.push((wanted, pending));
        }
        for (rule, id) in stopped {
            self.tell_stopped(&rule, &id, now).await;
        }
        for (wanted, pending) in asked {
            let outcome = match pending {
                Ok(pending) => pending.done().await,
                Err(error) => Err(error),
            };
            let tally = &mut state.tallies[wanted.tally];
            let judged = match outcome {
                Ok(Outcome::Judged(judged)) => Some(judged),
                _ => None,
            };
            if wanted.judgement == Judgement::Begin && judged != Some(Judgement::Begin) {
                tally.give_back();
            }
            match judged {
                Some(judged) => tally.count(judged),
                // It could not be committed; it is judged again.
                None => {
                    self.judge.changed.lock().insert(wanted.id);
                }
            }
        }
    }

    /// Tells the targets of a rule that its limit has stopped it. `id` is the session that it would have begun with.
    async fn tell_stopped(&self, rule: &Rule, id: &SessionId, now: Timestamp) {
        let Some(session) = self.registry.get(id.as_str()) else { return };
        let what = "stopped by its limit";
        for raised in alerts::by_rule(&self.rules.now(), rule, &session, what, &self.names(), now) {
            if let Err(error) = self.backend.outbox().raise(raised).await {
                tracing::warn!(%error, "the targets of a rule could not be told that its limit has stopped it");
            }
        }
        self.raised.notify_one();
    }

    /// What a rule would have done since `since`, by the log and the live sessions.
    ///
    /// # Errors
    /// It cannot be rehearsed; the store; another rehearsal runs.
    pub async fn rehearse(&self, rule: Rule, since: Timestamp) -> Result<(Rehearsal, Timestamp)> {
        let Ok(_place) = self.judge.rehearsing.try_acquire() else {
            return Err(Error::Busy("another rule is being rehearsed; try again in a moment".to_owned()));
        };
        let (mut entries, mut before) = (Vec::new(), None);
        let kinds =
            [Kind::Registered, Kind::StatusChanged, Kind::Stale, Kind::Recovered, Kind::KillRequested, Kind::Removed];
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let mut since = since;
        let live: Vec<Arc<Session>> = self.registry.view().sessions().cloned().collect();
        let until = self.now();
        loop {
            let query = Query { kinds: kinds.clone(), before, limit: PAGE, ..Query::default() };
            let page = self.events(query).await?;
            let is_last = page.len() < PAGE;
            before = page.last().map(|entry| entry.seq);
            let in_time = page.into_iter().take_while(|entry| entry.at >= since);
            let read = entries.len();
            entries.extend(in_time);
            if is_last || entries.len() < read + PAGE {
                break;
            }
            if entries.len() >= REHEARSED {
                since = entries.last().map_or(since, |entry: &Entry| entry.at);
                break;
            }
        }
        entries.reverse();
        let rule_of = Arc::new(judging(&rule, self.names()));
        let limit = (rule.limit.count as usize, rule.limit.per);
        let run = move || rehearsal::rehearse(&rule_of, limit, &entries, &live, since, until);
        let done = tokio::task::spawn_blocking(run).await.map_err(|error| Error::Storage(error.to_string()))?;
        Ok((done.map_err(Error::Invalid)?, since))
    }

    /// What each rule has done; empty on a server that is not the keeper.
    #[must_use]
    pub fn rules_done(&self) -> Vec<(Arc<Rule>, RuleCounts)> {
        self.judge.done.lock().clone()
    }

    /// Lets a rule that its limit has stopped act again.
    ///
    /// # Errors
    /// There is no such rule, or this server does not judge the rules.
    pub async fn release_rule(&self, name: &str) -> Result<()> {
        let mut state = self.judge.state.lock().await;
        if !state.is_keeper {
            return Err(Error::Busy(
                "another server judges the rules; release the rule there (GET /nodes shows the keeper)".to_owned(),
            ));
        }
        let Some(tally) = state.tallies.iter_mut().find(|tally| *tally.rule.name == *name) else {
            return Err(Error::Invalid(format!("there is no rule {name:?}; GET /rules lists them")));
        };
        tally.release();
        let every = self.registry.view();
        self.judge.changed.lock().extend(every.sessions().map(|session| session.id.clone()));
        Ok(())
    }
}
