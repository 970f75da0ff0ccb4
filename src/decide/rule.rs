//! What rules do to sessions, and users who stay.

use std::sync::Arc;

use super::draft::Draft;
use super::judge::{Judgement, judge};
use super::outcome::Outcome;
use crate::change::{Actor, Authority, Judging, Kind, Message};
use crate::clock::Now;
use crate::error::Result;
use crate::marks::{Mark, Step};
use crate::session::{Session, SessionId};

impl Draft<'_> {
    /// Lets a rule act on a session, if it still has reason to.
    pub(super) fn judge(&mut self, id: &SessionId, rule: &Judging, now: Now) -> Outcome {
        let Some(session) = self.get(id) else { return Outcome::Judged(Judgement::Wait(None)) };
        let heard = now.wall.minus(self.registry.silence(&session.pulse, now));
        let judgement = judge(&session, rule, now.wall, heard);
        let actor = Actor { by: Some(format!("rule {}", rule.name).into()), ..Actor::default() };
        match judgement {
            Judgement::Wait(_) => {}
            Judgement::Begin if !rule.ends => self.note(&session, rule, Step::Noted, actor, now),
            Judgement::Begin if !rule.grace.is_zero() => {
                self.note(&session, rule, Step::Due(now.wall.plus(rule.grace)), actor, now);
            }
            Judgement::Begin | Judgement::End => {
                let kill_id: Arc<str> = rule.id.clone();
                self.request_kill(&session, kill_id, rule.reason.as_ref(), &actor, now);
            }
            Judgement::CallOff => {
                let after = without_mark(&session, &rule.name);
                self.push(Kind::Stayed, after, actor, now).reason = Some("no longer matches".into());
            }
        }
        Outcome::Judged(judgement)
    }

    /// Notes a step of a rule, and tells the user where the rule has a text for that.
    fn note(&mut self, session: &Session, rule: &Judging, step: Step, actor: Actor, now: Now) {
        let by = actor.by.clone();
        let event = self.push(Kind::Warned, with_mark(session, &rule.name, step, now), actor, now);
        event.reason.clone_from(&rule.reason);
        if let (Step::Due(ends_at), Some(text)) = (step, &rule.warn) {
            event.message = Some(Arc::new(Message {
                message_id: rule.id.clone(),
                text: text.clone(),
                level: "warning",
                by,
                warning: Some((rule.name.clone(), ends_at)),
            }));
        }
    }

    /// Calls off what rules are about to do with a session.
    pub(super) fn stay(&mut self, id: &SessionId, actor: &Actor, authority: &Authority, now: Now) -> Result<Outcome> {
        self.within(id, actor)?;
        let session = self.authorized(id, authority)?;
        let due = |mark: &Mark| matches!(mark.step, Step::Due(_));
        let called_off: Vec<Arc<str>> =
            session.marks().iter().filter(|mark| due(mark)).map(|mark| mark.rule.clone()).collect();
        if !called_off.is_empty() {
            let spare = |mark: &Mark| {
                if due(mark) { Mark { step: Step::Spared, at: now.wall, ..mark.clone() } } else { mark.clone() }
            };
            let marks = session.marks().iter().map(spare).collect();
            let after = Session { marks: Some(marks), ..(*session).clone() };
            let event = self.push(Kind::Stayed, after, actor.clone(), now);
            event.reason = Some(called_off.join(", ").into());
        }
        Ok(Outcome::Stayed(called_off))
    }
}

/// The session without what a rule has noted.
fn without_mark(session: &Session, rule: &str) -> Session {
    let marks: Arc<[Mark]> = session.marks().iter().filter(|mark| *mark.rule != *rule).cloned().collect();
    Session { marks: (!marks.is_empty()).then_some(marks), ..session.clone() }
}

fn with_mark(session: &Session, rule: &Arc<str>, step: Step, now: Now) -> Session {
    let others = session.marks().iter().filter(|mark| mark.rule != *rule).cloned();
    let mark = Mark { rule: rule.clone(), at: now.wall, step };
    Session { marks: Some(others.chain([mark]).collect()), ..session.clone() }
}
