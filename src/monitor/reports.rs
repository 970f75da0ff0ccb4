//! Limits how often one session's reports are written. A session that reports faster than its
//! rate is not refused: its reports are merged, the newest values win, and the result is written
//! when the rate allows it. So an app that floods the monitor fills neither the queue nor the
//! disk, and a correct client never gets an error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::queue::{Job, Sender};
use super::{Ending, Monitor, ended};
use crate::change::{Authority, Change, Proof, Report};
use crate::clock::Now;
use crate::decide::Outcome;
use crate::error::Result;
use crate::registry::Registry;
use crate::session::{Session, SessionId};
use crate::timing::Timing;

/// How often the merged reports are checked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where a report goes.
pub(super) enum Way {
    /// To the writer, now.
    Direct(Report),
    /// It is merged with other reports of its session and written later.
    Merged(oneshot::Receiver<Result<Outcome>>),
}

/// The merged reports that wait for their session's rate; at most one for each live session.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Mutex<HashMap<SessionId, Waiting>>,
    count: AtomicUsize,
    news: Notify,
}

struct Waiting {
    report: Report,
    authority: Authority,
    replies: Vec<oneshot::Sender<Result<Outcome>>>,
}

impl Reports {
    /// Decides whether a report may be written now. A report without authority over the session goes
    /// to the writer, which refuses it: it does not use the session's rate.
    pub(super) fn take(
        &self,
        session: &Session,
        report: Report,
        authority: Authority,
        now: Now,
        timing: &Timing,
    ) -> Way {
        let (every, burst) = (timing.report_every, timing.report_burst);
        if every.is_zero() || !authority.holds_for(session) {
            return Way::Direct(report);
        }
        if self.count.load(Ordering::Acquire) == 0 && session.pulse.may_report(now.mono, every, burst) {
            return Way::Direct(report);
        }
        let mut waiting = self.waiting.lock();
        let (reply, pending) = oneshot::channel();
        if let Some(earlier) = waiting.get_mut(&session.id) {
            earlier.report.merge(report, &session.status);
            earlier.replies.retain(|reply| !reply.is_closed());
            earlier.replies.push(reply);
            return Way::Merged(pending);
        }
        if session.pulse.may_report(now.mono, every, burst) {
            return Way::Direct(report);
        }
        // The socket may close before the report is written; the report stays valid.
        let authority = session.token.map_or(authority, |token| Authority::Proof(Proof::Token(token)));
        waiting.insert(session.id.clone(), Waiting { report, authority, replies: vec![reply] });
        self.count.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.news.notify_one();
        Way::Merged(pending)
    }

    /// Queues the reports whose sessions' rates allow it, or all reports; returns how many. It holds
    /// the lock until they are queued, so that no later report of a session overtakes them.
    pub(super) fn pass_on(&self, registry: &Registry, now: Now, jobs: &Sender, all: bool) -> i64 {
        let (every, burst) = (registry.timing().report_every, registry.timing().report_burst);
        let mut passed = 0;
        let mut waiting = self.waiting.lock();
        let due = |id: &SessionId| {
            registry.get(id.as_str()).is_none_or(|session| session.pulse.may_report(now.mono, every, burst))
        };
        let ids: Vec<SessionId> = waiting.keys().filter(|id| all || due(id)).cloned().collect();
        for id in ids {
            let Some(Waiting { report, authority, replies }) = waiting.remove(&id) else { continue };
            let (reply, done) = oneshot::channel();
            let change = Change::Report(id.clone(), report.clone(), authority);
            if jobs.try_send(Job { change, now, reply: Some(reply) }).is_err() {
                // The queue is full: the report stays and is tried again.
                waiting.insert(id, Waiting { report, authority, replies });
                continue;
            }
            passed += 1;
            if replies.iter().any(|reply| !reply.is_closed()) {
                tokio::spawn(async move {
                    let Ok(outcome) = done.await else { return };
                    for reply in replies {
                        let _ = reply.send(outcome.clone());
                    }
                });
            }
        }
        self.count.store(waiting.len(), Ordering::Release);
        passed
    }
}

/// Checks the merged reports regularly, while there are any, until the monitor ends.
pub(super) async fn pass_on(reports: Arc<Reports>, monitor: Weak<Monitor>, mut ending: watch::Receiver<Ending>) {
    let looking = async {
        loop {
            while reports.count.load(Ordering::Acquire) == 0 {
                reports.news.notified().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(monitor) = monitor.upgrade() else { return };
            monitor.pass_on_reports(false);
        }
    };
    tokio::select! {
        () = looking => {}
        () = ended(&mut ending) => {}
    }
}
