//! The keeper's book: what waits to be told, what was told and may end, and the alerts that
//! are not delivered yet. All of it is in the store; the book is the copy in memory of the one
//! server that delivers.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::alert::{Alert, Answer, State, TRY_FOR};
use super::expected::Expected;
use super::mark::{Heap, Mark};
use super::raised::{Raised, RaisedAlert, Subject};
use super::text::title;
use crate::clock::Timestamp;
use crate::rules::{Occasion, RulesFile};

/// Most things that wait to be told or may end.
pub(super) const MARKS_MAX: usize = 20_000;
/// Most alerts for one target that wait to be delivered.
pub(super) const WAITING_MAX: usize = 1_000;
/// Most subjects that an alert lists.
const LISTED: usize = 10;
/// Most apps of one heap that are told apart.
const APPS: usize = 5;

/// What the store keeps of a book.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Keys and their JSON.
    pub notes: Vec<(String, String)>,
    /// The alerts that wait.
    pub alerts: Vec<Alert>,
}

/// What changed in a book and is to be stored in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// The numbers of the raised rows that are in the book now.
    pub taken: Vec<i64>,
    /// Keys with their JSON; `None` deletes one.
    pub notes: Vec<(String, Option<String>)>,
    /// Alerts that are new or have changed.
    pub alerts: Vec<Alert>,
}

impl Settled {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.notes.is_empty() && self.alerts.is_empty()
    }
}

/// How a session is now, as far as it decides whether something has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// It is stale.
    pub stale: bool,
    /// Its last sign of life.
    pub last: Timestamp,
    /// It has a kill request that is not done.
    pub ending: bool,
}

/// The book.
#[derive(Default)]
pub struct Book {
    marks: HashMap<String, Mark>,
    alerts: BTreeMap<String, Alert>,
    pub(super) expected: Expected,
    /// Further notes: the secrets that were made, and whether the server runs.
    notes: BTreeMap<String, String>,
    changed_marks: HashSet<String>,
    changed_notes: HashSet<String>,
    changed_alerts: HashMap<String, Alert>,
    taken: Vec<i64>,
    made: u64,
}

impl Book {
    /// A book as the store keeps it. What cannot be read is passed over.
    #[must_use]
    pub fn open(kept: Kept) -> Self {
        let mut book = Self::default();
        for (key, json) in kept.notes {
            if key.starts_with("mark/") {
                if let Ok(mark) = serde_json::from_str(&json) {
                    book.marks.insert(key, mark);
                }
            } else if !book.expected.restore(&key, &json) {
                book.notes.insert(key, json);
            }
        }
        book.alerts = kept.alerts.into_iter().map(|alert| (alert.id.clone(), alert)).collect();
        book
    }

    /// Takes rows that were raised.
    pub fn take(&mut self, rows: Vec<(i64, Raised)>, file: &RulesFile) {
        for (number, raised) in rows {
            self.taken.push(number);
            match raised {
                Raised::Alert(raised) => self.mark(&raised),
                Raised::Seen { app, at } => self.seen(&app, at),
                Raised::Test { target, id, at } => self.test(&target, id, at, file),
                Raised::Unread => {}
            }
        }
    }

    /// Notes what a target is to be told of. What is known already stays as it is.
    pub fn mark(&mut self, raised: &RaisedAlert) {
        let mut dropped = 0;
        for subject in &raised.subjects {
            let mark = Mark::of(raised, subject.clone());
            let key = mark.key();
            if self.marks.contains_key(&key) {
                continue;
            }
            if self.marks.len() >= MARKS_MAX {
                dropped += 1;
                continue;
            }
            self.changed_marks.insert(key.clone());
            self.marks.insert(key, mark);
        }
        if dropped > 0 {
            tracing::warn!(
                dropped,
                target = raised.target,
                "too much waits to be told or to end; these are left out of the alerts"
            );
        }
    }

    /// Looks which of the things that were noted have ended: what was told is told to have
    /// ended, and what has not lasted for its delay is not told at all.
    pub fn end(&mut self, now: Timestamp, look: impl Fn(&str) -> Option<Look>) {
        let mut over = Vec::new();
        for (key, mark) in &mut self.marks {
            if mark.back.is_some() {
                continue;
            }
            let session = look(&mark.subject.id);
            let ended = match (mark.occasion, session) {
                // The last beat, not the state: after a restart no session is stale at first.
                (Occasion::Stale, Some(look)) => !look.stale && look.last > mark.at,
                (Occasion::Unconfirmed, look) => look.is_none_or(|look| !look.ending),
                _ => false,
            };
            let gone = mark.occasion == Occasion::Stale && session.is_none();
            if ended && mark.told && mark.recovered {
                mark.back = Some(now);
                self.changed_marks.insert(key.clone());
            } else if (ended && (mark.told || now < mark.due)) || (gone && mark.told) {
                over.push(key.clone());
            }
        }
        for key in over {
            self.forget(&key);
        }
    }

    /// Notes the end of something that is no session: of one occasion, with this id.
    pub fn end_of(&mut self, occasion: Occasion, id: &str, now: Timestamp) {
        let mut over = Vec::new();
        for (key, mark) in &mut self.marks {
            if mark.occasion == occasion && mark.subject.id == id && mark.back.is_none() {
                if mark.told && mark.recovered {
                    mark.back = Some(now);
                    self.changed_marks.insert(key.clone());
                } else if mark.told || now < mark.due {
                    over.push(key.clone());
                }
            }
        }
        for key in over {
            self.forget(&key);
        }
    }

    /// Forgets the servers that were lost and are listed no longer.
    pub fn keep_nodes(&mut self, listed: &HashSet<String>) {
        let is_over = |mark: &Mark| mark.subject.id.starts_with(super::NODE) && !listed.contains(&mark.subject.id);
        let over: Vec<String> = self
            .marks
            .iter()
            .filter(|(_, mark)| mark.occasion == Occasion::Server && mark.told && is_over(mark))
            .map(|(key, _)| key.clone())
            .collect();
        over.iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: &str) {
        self.marks.remove(key);
        self.changed_marks.insert(key.to_owned());
    }

    /// Makes alerts of what has been gathered for long enough.
    pub fn gather(&mut self, now: Timestamp, file: &RulesFile) {
        let mut heaps: BTreeMap<Heap<'_>, Vec<&Mark>> = BTreeMap::new();
        for mark in self.marks.values().filter(|mark| mark.tell_from().is_some_and(|from| from <= now)) {
            heaps.entry(mark.heap()).or_default().push(mark);
        }
        let mut made: Vec<(Alert, Vec<String>)> = Vec::new();
        for (heap, marks) in heaps {
            let opened = marks.iter().filter_map(|mark| Some(mark.tell_from()?.0.saturating_add(mark.group))).min();
            if opened.is_none_or(|opened| opened > now.0) {
                continue;
            }
            let mut apps: BTreeMap<Option<&str>, Vec<&Mark>> = BTreeMap::new();
            for mark in &marks {
                apps.entry(mark.app.as_deref()).or_default().push(mark);
            }
            let count = apps.len();
            let parts = if count > APPS { vec![(None, marks)] } else { apps.into_iter().collect() };
            for (app, mut marks) in parts {
                marks.sort_by(|one, other| (one.at, &one.subject.id).cmp(&(other.at, &other.subject.id)));
                let title = title(heap.occasion, heap.back, heap.what, app, count, marks.len() as u64);
                let at = marks.first().map_or(now, |mark| mark.back.unwrap_or(mark.at));
                let subjects = marks.iter().take(LISTED).map(|mark| mark.subject.clone()).collect();
                let alert = Alert {
                    target: heap.target.to_owned(),
                    occasion: heap.occasion,
                    recovered: heap.back,
                    app_name: app.map(str::to_owned),
                    count: marks.len() as u64,
                    subjects,
                    ..Alert::new(&title, at, now, self.made + made.len() as u64)
                };
                made.push((alert, marks.iter().map(|mark| mark.key()).collect()));
            }
        }
        for (alert, keys) in made {
            for key in keys {
                self.told(&key);
            }
            self.put(alert, file);
        }
    }

    /// A mark has been told.
    fn told(&mut self, key: &str) {
        match self.marks.get_mut(key) {
            Some(mark) if !mark.told && mark.stays() => {
                mark.told = true;
                self.changed_marks.insert(key.to_owned());
            }
            _ => self.forget(key),
        }
    }

    /// Adds an alert that only shows whether it arrives.
    pub fn test(&mut self, target: &str, id: String, now: Timestamp, file: &RulesFile) {
        let alert = Alert {
            id,
            target: target.to_owned(),
            test: true,
            ..Alert::new("a test: alerts of sessionwatch arrive here", now, now, self.made)
        };
        self.put(alert, file);
    }

    fn put(&mut self, mut alert: Alert, file: &RulesFile) {
        self.made += 1;
        if file.target(&alert.target).is_none() {
            alert.give_up("there is no target of this name in the rules file any more");
            tracing::warn!(target = alert.target, title = alert.title, "an alert for a target that is gone");
        }
        let waiting = self.alerts.values().filter(|known| known.target == alert.target);
        if let Some(oldest) =
            (waiting.clone().count() >= WAITING_MAX).then(|| waiting.map(|known| &known.id).min()).flatten()
        {
            let oldest = oldest.clone();
            tracing::warn!(target = alert.target, "too many alerts wait for this target; the oldest is given up");
            self.change(&oldest, |alert| alert.give_up("given up: too many waited for this target"));
        }
        self.changed_alerts.insert(alert.id.clone(), alert.clone());
        if alert.state == State::Waiting {
            self.alerts.insert(alert.id.clone(), alert);
        }
    }

    /// Gives up what waits for targets that are no longer in the file, and what is too old.
    pub fn give_up(&mut self, now: Timestamp, file: &RulesFile) {
        let over: Vec<(String, bool)> = self
            .alerts
            .values()
            .map(|alert| (alert, file.target(&alert.target).is_none()))
            .filter(|(alert, orphan)| *orphan || now > alert.created.plus(TRY_FOR))
            .map(|(alert, orphan)| (alert.id.clone(), orphan))
            .collect();
        for (id, orphan) in over {
            let why = if orphan {
                "there is no target of this name in the rules file any more"
            } else {
                "given up after 24 hours"
            };
            self.change(&id, |alert| alert.give_up(why));
        }
    }

    /// The alert for this target that is due, the one that waits for longest first.
    #[must_use]
    pub fn due(&self, target: &str, now: Timestamp) -> Option<&Alert> {
        let waiting = self.alerts.values().filter(|alert| alert.target == target && alert.next_try <= now);
        waiting.min_by_key(|alert| (alert.next_try, &alert.id))
    }

    /// Takes what came of a try.
    pub fn answered(&mut self, id: &str, answer: &Answer, now: Timestamp, jitter: f64) {
        self.change(id, |alert| alert.answered(answer, now, jitter));
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Alert)) {
        let Some(alert) = self.alerts.get_mut(id) else { return };
        change(alert);
        self.changed_alerts.insert(id.to_owned(), alert.clone());
        if alert.state != State::Waiting {
            self.alerts.remove(id);
        }
    }

    /// How many alerts wait for each target.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for alert in self.alerts.values() {
            *counts.entry(alert.target.clone()).or_default() += 1;
        }
        counts
    }

    /// A note.
    #[must_use]
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// Keeps a note, or deletes it.
    pub fn keep_note(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.notes.insert(key.to_owned(), value.to_owned()),
            None => self.notes.remove(key),
        };
        self.changed_notes.insert(key.to_owned());
    }

    /// What has changed since the last call.
    pub fn changes(&mut self) -> Settled {
        let mut notes: Vec<(String, Option<String>)> = self
            .changed_marks
            .drain()
            .map(|key| {
                let json = self.marks.get(&key).and_then(|mark| serde_json::to_string(mark).ok());
                (key, json)
            })
            .collect();
        notes.extend(self.expected.changes());
        notes.extend(self.changed_notes.drain().map(|key| (key.clone(), self.notes.get(&key).cloned())));
        let mut alerts: Vec<Alert> = self.changed_alerts.drain().map(|(_, alert)| alert).collect();
        alerts.sort_by(|one, other| one.id.cmp(&other.id));
        Settled { taken: std::mem::take(&mut self.taken), notes, alerts }
    }
}

impl Alert {
    /// A fresh id: ids are in the order in which they are made, also by different servers.
    #[must_use]
    pub fn fresh_id(now: Timestamp, number: u64) -> String {
        let random = uuid::Uuid::new_v4().simple().to_string();
        format!("msg_{:012x}{:06x}{}", now.0.max(0), number & 0xff_ffff, &random[..12])
    }

    /// A waiting alert; its target and what it is about are still to be set.
    fn new(title: &str, at: Timestamp, now: Timestamp, number: u64) -> Self {
        Self {
            id: Self::fresh_id(now, number),
            target: String::new(),
            occasion: Occasion::Server,
            recovered: false,
            app_name: None,
            title: title.to_owned(),
            count: 0,
            subjects: Vec::<Subject>::new(),
            at,
            created: now,
            next_try: now,
            tries: 0,
            answer: None,
            state: State::Waiting,
            test: false,
        }
    }
}
