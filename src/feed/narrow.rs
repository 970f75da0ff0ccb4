//! Dashboards of those who are limited to some apps. What the others get is encoded once for
//! all; these have frames of their own, out of what was published, in which no other app
//! shows: not by a session, nor by a frame that would tell them when something happened
//! elsewhere.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::join::Owed;
use super::{Feed, removed_json};
use crate::change::{Event, Kind};
use crate::clock::Timestamp;
use crate::scope::Scope;
use crate::session::Session;
use crate::wire::{self, RemovedJson};

/// What was published, before it is encoded; made only while somebody wants it.
pub(super) enum Raw {
    /// What happened up to `seq`, the newest first.
    Changes { seq: u64, at: Timestamp, told: Vec<Told> },
    /// Heartbeats that moved.
    Beats { at: Timestamp, moved: Vec<Arc<Session>> },
}

/// One thing that happened to a session.
pub(super) enum Told {
    Upserted(Arc<Session>),
    Removed(Arc<Session>, RemovedJson),
}

impl Told {
    fn session(&self) -> &Session {
        match self {
            Self::Upserted(session) | Self::Removed(session, _) => session,
        }
    }
}

impl Raw {
    pub(super) fn changes(seq: u64, at: Timestamp, events: &[&Event]) -> Self {
        let told = |event: &&Event| match event.kind {
            Kind::Removed => Told::Removed(event.session.clone(), removed_json(event)),
            _ => Told::Upserted(event.session.clone()),
        };
        let told = events.iter().rev().filter(|event| event.kind.changes_session()).map(told).collect();
        Self::Changes { seq, at, told }
    }
}

/// What a limited dashboard gets when it joins.
pub struct JoinedWithin {
    /// A snapshot of its apps.
    pub owed: Owed,
    /// What comes.
    pub frames: Frames,
    /// The position of the snapshot.
    pub seq: u64,
}

/// The frames of one limited dashboard.
pub struct Frames {
    scope: Scope,
    /// Where the frames so far lead to.
    seq: u64,
    receiver: broadcast::Receiver<Arc<Raw>>,
}

impl Frames {
    pub(super) fn new(scope: Scope, seq: u64, receiver: broadcast::Receiver<Arc<Raw>>) -> Self {
        Self { scope, seq, receiver }
    }

    /// The next frame in which something of its apps stands. Nothing is lost when this is
    /// dropped while it waits.
    ///
    /// # Errors
    /// It has missed some, or the server ends.
    pub async fn next(&mut self) -> Result<Utf8Bytes, RecvError> {
        loop {
            let raw = self.receiver.recv().await?;
            if let Some(frame) = self.encode(&raw) {
                return Ok(frame);
            }
        }
    }

    /// The next frame that is there already.
    pub fn try_next(&mut self) -> Option<Utf8Bytes> {
        loop {
            let raw = self.receiver.try_recv().ok()?;
            if let Some(frame) = self.encode(&raw) {
                return Some(frame);
            }
        }
    }

    fn encode(&mut self, raw: &Raw) -> Option<Utf8Bytes> {
        match raw {
            Raw::Changes { seq, at, told } => {
                // Each session at most once, as it was last in these apps: an id may have gone
                // from one of them and come back in another.
                let mut seen = HashSet::new();
                let (mut upserted, mut removed) = (Vec::new(), Vec::new());
                let ours = told.iter().filter(|told| self.scope.allows(&told.session().app));
                for told in ours.filter(|told| seen.insert(&told.session().id)) {
                    match told {
                        Told::Upserted(session) => upserted.push(&**session),
                        Told::Removed(_, gone) => removed.push(gone.clone()),
                    }
                }
                if seen.is_empty() {
                    return None;
                }
                let from = std::mem::replace(&mut self.seq, *seq);
                Some(wire::changes(from, *seq, *at, upserted.into_iter(), &removed).into())
            }
            Raw::Beats { at, moved } => {
                let ours: Vec<&Session> =
                    moved.iter().map(|session| &**session).filter(|session| self.scope.allows(&session.app)).collect();
                (!ours.is_empty()).then(|| wire::beats(*at, ours.into_iter()).into())
            }
        }
    }
}

impl Feed {
    /// Joins a dashboard that is limited to some apps, with a snapshot of these: it holds
    /// everything up to `at_least`.
    pub async fn join_within(&self, at_least: u64, scope: &Scope) -> JoinedWithin {
        let _ = self.published.subscribe().wait_for(|seq| *seq >= at_least).await;
        let place = self.place().await;
        let (view, receiver) = {
            let state = self.state.lock();
            (state.view.clone(), self.raw.subscribe())
        };
        let seq = view.seq;
        let snapshot = self.encode(view, scope.clone(), place).await;
        JoinedWithin {
            owed: Owed::snapshot(Arc::new(snapshot)),
            frames: Frames::new(scope.clone(), seq, receiver),
            seq,
        }
    }
}
