//! What a rule does with a session, as a pure function: the writer decides by it, and the keeper and a rehearsal ask it
//! when to look again.

use crate::change::Judging;
use crate::clock::Timestamp;
use crate::filter::{Field, Moment, Row};
use crate::marks::Step;
use crate::nodes::Named;
use crate::session::Session;

/// What a rule does with a session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing; it may be otherwise at this time, even if the session stays as it is.
    Wait(Option<Timestamp>),
    /// It begins: it warns, tells its targets, or ends the session at once.
    Begin,
    /// The time that the user had is over: it ends the session.
    End,
    /// It no longer matches: what was noted is taken back.
    CallOff,
}

/// Judges a session at `now`. `heard` is its last sign of life; after a start of the server no earlier than that.
#[must_use]
pub fn judge(session: &Session, rule: &Judging, now: Timestamp, heard: Timestamp) -> Judgement {
    let mark = session.mark(&rule.name);
    if session.kill.is_some() {
        return Judgement::Wait(None);
    }
    let spared = mark.filter(|mark| mark.step == Step::Spared).map(|mark| mark.at);
    let row = Judged { row: Named { session, known: &rule.matching.known }, heard, spared };
    let holds = rule.matching.filter.matches(&row, now.0);
    let wait = |until: Option<Timestamp>| {
        let change = rule.matching.filter.next_change(&row, now.0).map(Timestamp);
        Judgement::Wait(until.into_iter().chain(change).min())
    };
    match (mark.map(|mark| mark.step), holds) {
        (None, false) => wait(None),
        (None, true) => Judgement::Begin,
        (Some(Step::Due(at)), true) if at <= now => Judgement::End,
        (Some(Step::Due(at)), true) => wait(Some(at)),
        (Some(Step::Due(_) | Step::Noted), false) => Judgement::CallOff,
        (Some(Step::Noted), true) => wait(None),
        // Staying counts as activity, so a rule that looks at idleness may begin again.
        (Some(Step::Spared), true) if rule.matching.filter.looks_at(Moment::Idle) => Judgement::Begin,
        (Some(Step::Spared), true) => wait(None),
        (Some(Step::Spared), false) => {
            let plain = Judged { spared: None, ..row };
            if rule.matching.filter.matches(&plain, now.0) { wait(None) } else { Judgement::CallOff }
        }
    }
}

/// A session as a rule sees it.
struct Judged<'a> {
    row: Named<'a>,
    heard: Timestamp,
    spared: Option<Timestamp>,
}

impl Row for Judged<'_> {
    fn text(&self, field: Field, now: i64) -> Option<&str> {
        self.row.text(field, now)
    }

    fn time(&self, moment: Moment) -> Option<i64> {
        match moment {
            Moment::Beat => Some(self.heard.0),
            Moment::Idle => {
                let idle = self.row.time(moment)?;
                Some(self.spared.map_or(idle, |spared| idle.max(spared.0)))
            }
            _ => self.row.time(moment),
        }
    }

    fn unconfirmed(&self, now: i64) -> bool {
        self.row.unconfirmed(now)
    }

    fn tags(&self, look: &mut dyn FnMut(&str, &str) -> bool) -> bool {
        self.row.tags(look)
    }
}
