//! The fan-out: a few tasks that send each new frame to all dashboards, one plain write after
//! another. The task of a dashboard's socket sleeps meanwhile; it is woken only where its
//! connection does not take a frame at once, so such a dashboard delays no other one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use super::{Frame, Lane};

/// The number of groups. Each has a task, so that idle cores can take over what a busy one has
/// not done yet.
const GROUPS: usize = 16;
/// A group is filled up to this many dashboards before the next one gets any.
const FILLED: usize = 32;

/// All dashboards that the fan-out writes to.
#[derive(Default)]
pub(super) struct Fanout {
    groups: [Group; GROUPS],
    /// The groups that have not sent everything yet.
    busy: Busy,
}

/// A count of groups.
#[derive(Default)]
struct Busy {
    count: AtomicUsize,
    none: Notify,
}

impl Busy {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    fn remove(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }
}

/// The dashboards that one task writes to.
#[derive(Default)]
struct Group {
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Their number.
    count: AtomicUsize,
    published: Notify,
    /// Whether it counts as busy.
    is_busy: AtomicBool,
}

impl Group {
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Lane>>)) {
        let mut lanes = self.lanes.lock();
        change(&mut lanes);
        self.count.store(lanes.len(), Ordering::Relaxed);
    }

    async fn run(&self, busy: &Busy) {
        loop {
            self.published.notified().await;
            // Before the walk: what is published during the walk makes it busy again.
            let was_busy = self.is_busy.swap(false, Ordering::AcqRel);
            let mut next = 0;
            while self.walk(&mut next) {
                tokio::task::yield_now().await;
            }
            if was_busy {
                busy.remove();
            }
        }
    }

    /// Sends to the next dashboards; returns whether there are more.
    fn walk(&self, next: &mut usize) -> bool {
        let lanes = self.lanes.lock();
        let some = lanes.get(*next..).unwrap_or_default();
        some.iter().take(FILLED).for_each(|lane| lane.push());
        *next += FILLED;
        *next < lanes.len()
    }
}

impl Fanout {
    /// Runs the tasks, until one ends.
    pub(super) async fn run(self: Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for group in 0..GROUPS {
            let fanout = self.clone();
            tasks.spawn(async move { fanout.groups[group].run(&fanout.busy).await });
        }
        drop(self);
        let _ = tasks.join_next().await;
    }

    /// To be called when a frame was published.
    pub(super) fn wake(&self) {
        for group in &self.groups {
            if group.count.load(Ordering::Relaxed) > 0 {
                if !group.is_busy.swap(true, Ordering::AcqRel) {
                    self.busy.add();
                }
                group.published.notify_one();
            }
        }
    }

    /// Waits until all frames so far were sent to everybody who takes them at once.
    pub(super) async fn sent(&self) {
        loop {
            let none = self.busy.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.busy.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }

    /// Sends these frames to a dashboard, until the result is dropped.
    pub(super) fn follow(self: &Arc<Self>, lane: Arc<Lane>, frames: broadcast::Receiver<Frame>) -> Following {
        let count = |group: &usize| self.groups[*group].count.load(Ordering::Relaxed);
        let with_room = (0..GROUPS).find(|group| count(group) < FILLED);
        let group = with_room.or_else(|| (0..GROUPS).min_by_key(count)).unwrap_or_default();
        lane.begin(frames);
        self.groups[group].change(|lanes| lanes.push(lane.clone()));
        // What was published before the group knew of it.
        lane.push();
        Following { lane, group, fanout: self.clone() }
    }
}

/// A dashboard that the fan-out writes to, until this is dropped.
pub struct Following {
    lane: Arc<Lane>,
    group: usize,
    fanout: Arc<Fanout>,
}

impl Drop for Following {
    fn drop(&mut self) {
        let lane = &self.lane;
        self.fanout.groups[self.group].change(|lanes| lanes.retain(|other| !Arc::ptr_eq(other, lane)));
        lane.end();
    }
}
