//! A dashboard's subscription: where it joins, and the frames that follow.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Monitor;
use crate::feed::{self, Backlog, Feed, Following, Form, Frame, JoinedWithin, Lane};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::scope::Scope;

/// The subscription of one dashboard. It counts in the metrics until it is dropped.
pub struct Subscription {
    registry: Arc<Registry>,
    feed: Arc<Feed>,
    metrics: Arc<Metrics>,
    scope: Scope,
    wants_patches: bool,
}

/// A dashboard that has joined at one position: first it has to send all of [`Joined::next`], then
/// [`Joined::frames`].
///
/// It keeps memory alive, as a [`Backlog`] does.
pub struct Joined {
    feed: Arc<Feed>,
    backlog: Backlog,
    frames: Option<Frames>,
    /// The position of the snapshot, or after the changes that were missed.
    pub seq: u64,
}

impl Joined {
    /// The next frame of the backlog: a part of a snapshot, or what the dashboard has missed. Waits
    /// until it is encoded. `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = self.backlog.next().await;
        if next.is_some() || self.frames.is_some() {
            return next;
        }
        // The snapshot is sent; now what has changed since.
        let feed::Joined { backlog, receiver, .. } = self.feed.after(&self.backlog)?;
        self.backlog = backlog;
        self.frames = receiver.map(Frames::All);
        self.backlog.next().await
    }

    /// The frames that follow the backlog, once all of it was sent; `None` where the dashboard has to
    /// join again.
    #[must_use]
    pub fn frames(self) -> Option<Frames> {
        self.frames
    }

    /// Whether it has waited for so long that the dashboard has to join again.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.backlog.is_overdue(&self.feed)
    }
}

/// The frames of all apps, or of the apps that a dashboard is limited to.
pub enum Frames {
    /// Of all apps.
    All(broadcast::Receiver<Frame>),
    /// Of some apps.
    Within(feed::Frames),
}

impl Monitor {
    /// Subscribes a dashboard that may see the sessions in `scope`, and wants frames in this form. A
    /// limited one gets no patches: a patch would need to know what it has seen of a session whose
    /// id was in another app before.
    #[must_use]
    pub fn subscribe(&self, scope: Scope, form: Form) -> Subscription {
        let (registry, feed, metrics) = (self.registry.clone(), self.feed.clone(), self.metrics.clone());
        metrics.dashboards(1);
        let wants_patches = form.is_patched && scope.is_all();
        if wants_patches {
            feed.want_patches(1);
        }
        Subscription { registry, feed, metrics, scope, wants_patches }
    }
}

impl Subscription {
    /// Goes on at the position where the dashboard was; `None` if it needs a snapshot.
    ///
    /// A dashboard that is limited to some apps always needs one: the ring does not tell which
    /// app a session was in before its id came back in another app.
    #[must_use]
    pub fn resume(&self, epoch: &str, seq: u64) -> Option<Joined> {
        if !self.scope.is_all() || *epoch != *self.registry.epoch() {
            return None;
        }
        self.feed.resume(seq).map(|joined| self.joined(joined))
    }

    /// Joins with a snapshot that contains everything that is committed now.
    pub async fn join(&self) -> Joined {
        let at_least = self.registry.seq();
        if self.scope.is_all() {
            return self.joined(self.feed.join(at_least).await);
        }
        let JoinedWithin { backlog, frames, seq } = self.feed.join_within(at_least, &self.scope).await;
        Joined { feed: self.feed.clone(), backlog, frames: Some(Frames::Within(frames)), seq }
    }

    fn joined(&self, feed::Joined { backlog, receiver, seq }: feed::Joined) -> Joined {
        Joined { feed: self.feed.clone(), backlog, frames: receiver.map(Frames::All), seq }
    }

    /// Lets the fan-out send the frames into a lane, until the result is dropped. Gives them back
    /// where it cannot: to a connection that is not plain, and those of a limited dashboard.
    pub fn fan_out(&self, lane: &Arc<Lane>, frames: Frames) -> std::result::Result<Following, Frames> {
        match frames {
            Frames::All(receiver) if lane.is_plain() => Ok(self.feed.follow(lane.clone(), receiver)),
            frames => Err(frames),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.metrics.dashboards(-1);
        if self.wants_patches {
            self.feed.want_patches(-1);
        }
    }
}

impl Frames {
    /// Waits for the next frame.
    ///
    /// # Errors
    /// The dashboard is too far behind and has missed frames, or the server ends.
    pub async fn recv(&mut self) -> Result<Frame, RecvError> {
        match self {
            Self::All(receiver) => receiver.recv().await,
            Self::Within(frames) => frames.next().await,
        }
    }

    /// The next frame, if one is there.
    ///
    /// # Errors
    /// None is there, or as [`Frames::recv`].
    pub fn try_recv(&mut self) -> Result<Frame, TryRecvError> {
        match self {
            Self::All(receiver) => receiver.try_recv(),
            Self::Within(frames) => frames.try_next().ok_or(TryRecvError::Empty),
        }
    }
}
