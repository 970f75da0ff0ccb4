//! A mark: one thing that a target is to be told of, or was told of. Marks are kept in the
//! store, so that a restart tells nothing twice and forgets no recovery.

use serde::{Deserialize, Serialize};

use super::raised::{RaisedAlert, Subject};
use crate::clock::Timestamp;
use crate::rules::Occasion;

/// One thing for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) occasion: Occasion,
    pub(super) target: String,
    pub(super) app: Option<String>,
    pub(super) what: Option<String>,
    /// When it may be told at the earliest.
    pub(super) due: Timestamp,
    /// How long further ones are gathered, in milliseconds.
    pub(super) group: i64,
    /// Whether its end is told.
    pub(super) recovered: bool,
    pub(super) subject: Subject,
    /// It was told.
    pub(super) told: bool,
    /// When it ended after it was told.
    pub(super) back: Option<Timestamp>,
}

impl Mark {
    pub(super) fn of(raised: &RaisedAlert, subject: Subject) -> Self {
        Self {
            at: raised.at,
            occasion: raised.occasion,
            target: raised.target.clone(),
            app: raised.app.clone(),
            what: raised.what.clone(),
            due: Timestamp(raised.at.0.saturating_add(raised.delay)),
            group: raised.group,
            recovered: raised.recovered,
            subject,
            told: false,
            back: None,
        }
    }

    /// Its key in the store; a later one with the same key is the same thing.
    pub(super) fn key(&self) -> String {
        let what = self.what.as_deref().unwrap_or_default();
        format!("mark/{}/{}/{}/{what}", self.occasion.as_str(), self.target, self.subject.id)
    }

    /// What it is gathered by.
    pub(super) fn heap(&self) -> Heap<'_> {
        Heap { target: &self.target, occasion: self.occasion, back: self.back.is_some(), what: self.what.as_deref() }
    }

    /// When it may be told; `None` while there is nothing to tell.
    pub(super) fn tell_from(&self) -> Option<Timestamp> {
        match self.told {
            true => self.back,
            false => Some(self.due),
        }
    }

    /// Whether it is kept after it was told: until it ends, which may be told too.
    pub(super) fn stays(&self) -> bool {
        match self.occasion {
            Occasion::Unconfirmed => true,
            Occasion::Server => self.subject.id == super::DISK || self.subject.id.starts_with(super::NODE),
            Occasion::Stale | Occasion::Absent => self.recovered,
            _ => false,
        }
    }
}

/// What may be told together; the apps in it are told apart where they are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heap<'a> {
    pub(super) target: &'a str,
    pub(super) occasion: Occasion,
    pub(super) back: bool,
    pub(super) what: Option<&'a str>,
}
