//! What each rule has done, and its brake.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::decide::Judgement;
use crate::rules::{Limit, Rule, Then};

/// What one rule has done since this server reads it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct RuleCounts {
    /// Since when these numbers are counted.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Users that it has warned, or sessions that it has told its targets of.
    pub warned: u64,
    /// Sessions that it has asked to end.
    pub ended: u64,
    /// Sessions that it let go, since it no longer matched.
    pub called_off: u64,
    /// Since when its limit has stopped it; null while it acts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub braked: Option<Timestamp>,
}

/// The count of one rule.
pub(super) struct Tally {
    pub(super) rule: Arc<Rule>,
    pub(super) done: RuleCounts,
    /// When it began with sessions, within the time of its limit.
    begun: VecDeque<Timestamp>,
}

impl Tally {
    /// A rule that begins to count at `now`, after it has begun with sessions at these times.
    pub(super) fn new(rule: Arc<Rule>, now: Timestamp, begun: Vec<Timestamp>) -> Self {
        Self { rule, done: RuleCounts { since: now, ..RuleCounts::default() }, begun: begun.into() }
    }

    /// Whether the rule may do this now. One that would begin with more sessions than its limit allows is stopped from
    /// then on: a wrong rule must not end everybody.
    pub(super) fn may(&mut self, judgement: Judgement, now: Timestamp) -> bool {
        if self.done.braked.is_some() {
            return judgement == Judgement::CallOff;
        }
        let Limit { count, per } = self.rule.limit;
        while self.begun.front().is_some_and(|at| at.plus(per) <= now) {
            self.begun.pop_front();
        }
        if judgement == Judgement::Begin && self.begun.len() >= count as usize {
            self.done.braked = Some(now);
            return false;
        }
        true
    }

    /// Counts a beginning that the writer is asked for.
    pub(super) fn reserve(&mut self, now: Timestamp) {
        self.begun.push_back(now);
    }

    /// Takes back a beginning that the writer has not decided.
    pub(super) fn give_back(&mut self) {
        self.begun.pop_back();
    }

    /// Counts what the writer has decided.
    pub(super) fn count(&mut self, judgement: Judgement) {
        let at_once = self.rule.then == Then::Kill && self.rule.grace.is_zero();
        match judgement {
            Judgement::Wait(_) => {}
            Judgement::Begin if at_once => self.done.ended += 1,
            Judgement::Begin => self.done.warned += 1,
            Judgement::End => self.done.ended += 1,
            Judgement::CallOff => self.done.called_off += 1,
        }
    }

    /// Lets a stopped rule act again, with its whole limit.
    pub(super) fn release(&mut self) {
        self.done.braked = None;
        self.begun.clear();
    }
}
