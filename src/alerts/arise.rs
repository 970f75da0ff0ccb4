//! What events raise for the targets of the rules file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::raised::{Raised, RaisedAlert, Subject};
use crate::change::{Cause, Event, Kind};
use crate::clock::{Timestamp, signed_millis};
use crate::filter::{Field, Moment, Row};
use crate::nodes::{Known, Named};
use crate::rules::{Notify, Occasion, On, Rule, RulesFile};
use crate::session::Session;

/// What events that are about to be committed raise: one row for each target, occasion and
/// app, and one for each expected app that was seen.
#[must_use]
pub fn arise(events: &[Event], file: &RulesFile, known: &Known) -> Vec<Raised> {
    let mut alerts: Vec<RaisedAlert> = Vec::new();
    if file.notify.is_empty() && file.expect.is_empty() {
        return Vec::new();
    }
    let mut seen: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for event in events {
        if let Some(occasion) = occasion_of(event) {
            let mut subject = Subject::of(&event.session);
            if let Some(lock) = &event.lock {
                subject = Subject { id: lock.lock_id.to_string(), ..subject };
            }
            let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
            subject.reason = text(&event.reason).or(subject.reason);
            subject.by = text(&event.actor.by).or(subject.by);
            for one in of_session(file, occasion, &event.session, &subject, known, event.at) {
                let what = match event.kind {
                    Kind::Locked => Some("set".to_owned()),
                    Kind::Unlocked => Some("lifted".to_owned()),
                    _ => None,
                };
                put(&mut alerts, RaisedAlert { what, ..one });
            }
        }
        if let Some((rule, what)) = rule_of(event, file) {
            for one in by_rule(file, rule, &event.session, what, known, event.at) {
                if let Raised::Alert(one) = one {
                    put(&mut alerts, one);
                }
            }
        }
        if event.kind == Kind::Registered && file.expect.iter().any(|expect| expect.app == event.session.app) {
            seen.insert(&event.session.app, event.at);
        }
    }
    let mut raised: Vec<Raised> = alerts.into_iter().map(Raised::Alert).collect();
    raised.extend(seen.into_iter().map(|(app, at)| Raised::Seen { app: app.to_owned(), at }));
    raised
}

/// The rule that has made an event, and what it did. Requests of people come from an address.
fn rule_of<'a>(event: &Event, file: &'a RulesFile) -> Option<(&'a Rule, &'static str)> {
    let what = match event.kind {
        Kind::Warned if event.message.is_some() => "warned",
        Kind::Warned => "matches",
        Kind::KillRequested => "ended",
        _ => return None,
    };
    let by = event.actor.by.as_deref().filter(|_| event.actor.from.is_none())?;
    let name = by.strip_prefix("rule ")?;
    Some((file.rules.iter().find(|rule| *rule.name == *name)?, what))
}

fn occasion_of(event: &Event) -> Option<Occasion> {
    match event.kind {
        Kind::Stale => Some(Occasion::Stale),
        Kind::Removed if event.cause == Some(Cause::Failed) => Some(Occasion::Failed),
        Kind::Locked | Kind::Unlocked => Some(Occasion::Lock),
        _ => None,
    }
}

/// Adds to a row that is there already, or a row.
fn put(raised: &mut Vec<RaisedAlert>, one: RaisedAlert) {
    match raised.iter_mut().find(|known| known.fits(&one)) {
        Some(known) => known.subjects.extend(one.subjects),
        None => raised.push(one),
    }
}

fn on(target: &Notify, occasion: Occasion) -> impl Iterator<Item = &On> {
    target.on.iter().filter(move |on| on.occasion == occasion)
}

/// What an occasion of one session raises: for each target with a line that fits.
#[must_use]
pub fn of_session(
    file: &RulesFile,
    occasion: Occasion,
    session: &Session,
    subject: &Subject,
    known: &Known,
    at: Timestamp,
) -> Vec<RaisedAlert> {
    matching(file, occasion, &Named { session, known }, at)
        .map(|one| RaisedAlert {
            app: Some(session.app.to_string()).filter(|app| !app.is_empty()),
            subjects: vec![subject.clone()],
            ..one
        })
        .collect()
}

fn matching<'a>(
    file: &'a RulesFile,
    occasion: Occasion,
    row: &'a (impl Row + 'a),
    at: Timestamp,
) -> impl Iterator<Item = RaisedAlert> + 'a {
    file.notify.iter().filter_map(move |target| {
        let fits = |on: &&On| on.filter.as_ref().is_none_or(|filter| filter.matches(row, at.0));
        Some(RaisedAlert::of(&target.name, on(target, occasion).find(fits)?, at))
    })
}

/// An app without a session: a filter can look only at its name.
struct App<'a>(&'a str);

impl Row for App<'_> {
    fn text(&self, field: Field, _now: i64) -> Option<&str> {
        (field == Field::App).then_some(self.0)
    }

    fn time(&self, _moment: Moment) -> Option<i64> {
        None
    }
}

/// What an occasion of an app raises that is about no session.
#[must_use]
pub fn of_app(file: &RulesFile, occasion: Occasion, app: &str, subject: &Subject, at: Timestamp) -> Vec<RaisedAlert> {
    matching(file, occasion, &App(app), at)
        .map(|one| RaisedAlert { app: Some(app.to_owned()), subjects: vec![subject.clone()], ..one })
        .collect()
}

/// What an occasion of the server itself raises. `id` names it, `what` tells it.
#[must_use]
pub fn of_server(file: &RulesFile, id: &str, what: &str, at: Timestamp) -> Vec<RaisedAlert> {
    matching(file, Occasion::Server, &App(""), at)
        .map(|one| RaisedAlert { what: Some(what.to_owned()), subjects: vec![Subject::named(id)], ..one })
        .collect()
}

/// What a rule's action raises: for the targets that the rule names, and for those that are
/// told of every rule. `what` tells the action, like `warned` or `ended`; the same words
/// are gathered into one alert.
#[must_use]
pub fn by_rule(
    file: &RulesFile,
    rule: &Rule,
    session: &Session,
    what: &str,
    known: &Known,
    at: Timestamp,
) -> Vec<Raised> {
    let row = Named { session, known };
    let usual = || On {
        occasion: Occasion::Rule,
        filter: None,
        delay: std::time::Duration::ZERO,
        group: On::GROUP,
        recovered: false,
    };
    let told = file.notify.iter().filter_map(|target| {
        let fits = |on: &&On| on.filter.as_ref().is_none_or(|filter| filter.matches(&row, at.0));
        let line = on(target, Occasion::Rule).find(fits).cloned();
        line.or_else(|| rule.notify.contains(&target.name).then(usual)).map(|line| (target, line))
    });
    told.map(|(target, line)| {
        Raised::Alert(RaisedAlert {
            app: Some(session.app.to_string()).filter(|app| !app.is_empty()),
            what: Some(format!("rule {}: {what}", rule.name)),
            delay: signed_millis(line.delay),
            recovered: false,
            subjects: vec![Subject::of(session)],
            ..RaisedAlert::of(&target.name, &line, at)
        })
    })
    .collect()
}
