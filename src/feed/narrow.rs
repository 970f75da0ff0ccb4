//! Frames for dashboards that are limited to some apps. These frames cannot be encoded once
//! for all: each such dashboard gets its own, with the sessions of its apps only. It also gets
//! no frame when only other apps changed, since an empty frame would reveal that.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::join::Backlog;
use super::{Feed, Frame, removed_json};
use crate::change::{Event, Kind};
use crate::clock::Timestamp;
use crate::nodes::Names;
use crate::scope::Scope;
use crate::session::Session;
use crate::wire::{self, RemovedJson};

/// A frame before it is encoded; made only while a limited dashboard is connected.
pub(super) enum Raw {
    /// The changes up to `seq`, the newest first.
    Changes { seq: u64, at: Timestamp, items: Vec<Item> },
    /// The sessions with a new heartbeat.
    Beats { at: Timestamp, moved: Vec<Arc<Session>> },
    /// Something of these apps has changed that is no session.
    Hint { frame: Frame, apps: Vec<Arc<str>> },
}

/// One change of a session.
pub(super) enum Item {
    Upserted(Arc<Session>),
    Removed(Arc<Session>, RemovedJson),
}

impl Item {
    fn session(&self) -> &Session {
        match self {
            Self::Upserted(session) | Self::Removed(session, _) => session,
        }
    }
}

impl Raw {
    pub(super) fn changes(seq: u64, at: Timestamp, events: &[&Event]) -> Self {
        let item = |event: &&Event| match event.kind {
            Kind::Removed => Item::Removed(event.session.clone(), removed_json(event)),
            _ => Item::Upserted(event.session.clone()),
        };
        let items = events.iter().rev().filter(|event| event.kind.changes_session()).map(item).collect();
        Self::Changes { seq, at, items }
    }
}

/// What a limited dashboard gets when it joins.
pub struct JoinedWithin {
    /// A snapshot of its apps.
    pub backlog: Backlog,
    /// The later frames.
    pub frames: Frames,
    /// The position of the snapshot.
    pub seq: u64,
}

/// The frames of one limited dashboard.
pub struct Frames {
    scope: Scope,
    names: Arc<Names>,
    /// The position after the last frame.
    seq: u64,
    receiver: broadcast::Receiver<Arc<Raw>>,
}

impl Frames {
    pub(super) fn new(scope: Scope, names: Arc<Names>, seq: u64, receiver: broadcast::Receiver<Arc<Raw>>) -> Self {
        Self { scope, names, seq, receiver }
    }

    /// Waits for the next frame with a change in its apps. It is cancel-safe: no frame is lost
    /// when the future is dropped.
    ///
    /// # Errors
    /// The dashboard lags too far behind, or the server ends.
    pub async fn next(&mut self) -> Result<Frame, RecvError> {
        loop {
            let raw = self.receiver.recv().await?;
            if let Some(frame) = self.encode(&raw) {
                return Ok(frame);
            }
        }
    }

    /// The next frame, if one is ready.
    pub fn try_next(&mut self) -> Option<Frame> {
        loop {
            let raw = self.receiver.try_recv().ok()?;
            if let Some(frame) = self.encode(&raw) {
                return Some(frame);
            }
        }
    }

    fn encode(&mut self, raw: &Raw) -> Option<Frame> {
        match raw {
            Raw::Changes { seq, at, items } => {
                // Each session at most once, in its newest version within these apps: an id may
                // have been removed in one app and registered again in another.
                let mut seen = HashSet::new();
                let (mut upserted, mut removed) = (Vec::new(), Vec::new());
                let ours = items.iter().filter(|item| self.scope.allows(&item.session().app));
                for item in ours.filter(|item| seen.insert(&item.session().id)) {
                    match item {
                        Item::Upserted(session) => upserted.push(&**session),
                        Item::Removed(_, gone) => removed.push(gone.clone()),
                    }
                }
                if seen.is_empty() {
                    return None;
                }
                let from = std::mem::replace(&mut self.seq, *seq);
                Some(Frame::new(&wire::changes(from, *seq, *at, &self.names.now(), upserted.into_iter(), &removed)))
            }
            Raw::Hint { frame, apps } => apps.iter().any(|app| self.scope.allows(app)).then(|| frame.clone()),
            Raw::Beats { at, moved } => {
                let ours: Vec<&Session> =
                    moved.iter().map(|session| &**session).filter(|session| self.scope.allows(&session.app)).collect();
                (!ours.is_empty()).then(|| Frame::new(&wire::beats(*at, ours.into_iter())))
            }
        }
    }
}

impl Feed {
    /// Joins a dashboard that is limited to some apps. Its snapshot contains all their events
    /// up to `at_least`.
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
            backlog: Backlog::snapshot(snapshot),
            frames: Frames::new(scope.clone(), self.names.clone(), seq, receiver),
            seq,
        }
    }
}
