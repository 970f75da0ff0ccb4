//! When the expected apps were seen last, and which of them are absent.

use std::collections::{BTreeMap, HashSet};

use super::arise::of_app;
use super::book::Book;
use super::raised::Subject;
use crate::clock::Timestamp;
use crate::rules::{Occasion, RulesFile};

/// The expected apps, by app: two lines for one app may have different names, but the app is
/// seen for both.
#[derive(Default)]
pub(super) struct Expected {
    seen: BTreeMap<String, Timestamp>,
    absent: HashSet<String>,
    changed: HashSet<String>,
}

impl Expected {
    /// Takes a note of the store; returns whether it is one of these.
    pub(super) fn restore(&mut self, key: &str, json: &str) -> bool {
        if let (Some(app), Ok(at)) = (key.strip_prefix("seen/"), serde_json::from_str(json)) {
            self.seen.insert(app.to_owned(), at);
        } else if let Some(name) = key.strip_prefix("absent/") {
            self.absent.insert(name.to_owned());
        } else {
            return false;
        }
        true
    }

    pub(super) fn changes(&mut self) -> Vec<(String, Option<String>)> {
        let json = |key: &str| {
            if let Some(app) = key.strip_prefix("seen/") {
                return self.seen.get(app).and_then(|at| serde_json::to_string(at).ok());
            }
            let name = key.strip_prefix("absent/").unwrap_or_default();
            self.absent.contains(name).then(|| "true".to_owned())
        };
        let changes = self.changed.iter().map(|key| (key.clone(), json(key))).collect();
        self.changed.clear();
        changes
    }
}

impl Book {
    /// Whether it has an expected app.
    #[must_use]
    pub fn expects(&self) -> bool {
        !self.expected.seen.is_empty()
    }

    /// An expected app was seen.
    pub(super) fn seen(&mut self, app: &str, at: Timestamp) {
        let known = self.expected.seen.entry(app.to_owned()).or_insert(at);
        *known = at.max(*known);
        self.expected.changed.insert(format!("seen/{app}"));
    }

    /// Looks which of the expected apps are absent. `last` tells the last beat of an app's live
    /// sessions; it is asked only for an app that seems to be absent.
    pub fn expect(&mut self, now: Timestamp, file: &RulesFile, last: impl Fn(&str) -> Option<Timestamp>) {
        for expect in &file.expect {
            let (app, name) = (&*expect.app, &*expect.name);
            if !self.expected.seen.contains_key(app) {
                // From now on it is waited for.
                self.seen(app, now);
            }
            let is_late = |seen: Timestamp| expect.due(seen).is_some_and(|due| due.plus(expect.grace) < now);
            let mut seen = self.expected.seen.get(app).copied().unwrap_or(now);
            if is_late(seen)
                && let Some(last) = last(app).filter(|last| *last > seen)
            {
                self.seen(app, last);
                seen = last;
            }
            let was_absent = self.expected.absent.contains(name);
            if is_late(seen) && !was_absent {
                self.expected.absent.insert(name.to_owned());
                let subject = Subject { reason: Some(format!("seen last at {seen}")), ..Subject::named(name) };
                of_app(file, Occasion::Absent, app, &subject, now).iter().for_each(|raised| self.mark(raised));
            } else if !is_late(seen) && was_absent {
                self.expected.absent.remove(name);
                self.end_of(Occasion::Absent, name, now);
            } else {
                continue;
            }
            self.expected.changed.insert(format!("absent/{name}"));
        }
        self.drop_unexpected(file);
    }

    /// Forgets the apps that the file no longer expects.
    fn drop_unexpected(&mut self, file: &RulesFile) {
        let expected = &mut self.expected;
        let gone: Vec<String> =
            expected.seen.keys().filter(|app| !file.expect.iter().any(|e| *e.app == ***app)).cloned().collect();
        for app in gone {
            expected.seen.remove(&app);
            expected.changed.insert(format!("seen/{app}"));
        }
        let gone: Vec<String> =
            expected.absent.iter().filter(|name| !file.expect.iter().any(|e| *e.name == ***name)).cloned().collect();
        for name in gone {
            expected.absent.remove(&name);
            expected.changed.insert(format!("absent/{name}"));
        }
    }
}
