//! What the keeper finds by looking, not by an event: kills that did not work, absent apps, the
//! disk, servers that are lost.

use std::path::Path;

use crate::alerts::{Book, DISK, Look, NODE, Subject, of_server, of_session};
use crate::clock::Timestamp;
use crate::monitor::Monitor;
use crate::rules::{Occasion, RulesFile};

/// The disk is nearly full below this share of it, and below this many bytes.
const FREE_PART: u64 = 20;
const FREE_BYTES: u64 = 5 << 30;

/// How a session is now.
pub(super) fn look(monitor: &Monitor, id: &str) -> Option<Look> {
    let session = monitor.session(id).ok()?;
    let ending = session.kill.is_some();
    Some(Look { stale: session.stale, last: session.pulse.wall(), ending })
}

/// Notes the kills that did not work.
pub(super) fn unconfirmed(book: &mut Book, monitor: &Monitor, file: &RulesFile, now: Timestamp) {
    let is_told = file.notify.iter().flat_map(|target| &target.on).any(|on| on.occasion == Occasion::Unconfirmed);
    if !is_told || monitor.counts().ending == 0 {
        return;
    }
    let known = monitor.names();
    for session in monitor.snapshot().view.sessions() {
        if session.kill.as_ref().is_some_and(|kill| kill.confirm_by < now) {
            let raised = of_session(file, Occasion::Unconfirmed, session, &Subject::of(session), &known, now);
            raised.iter().for_each(|raised| book.mark(raised));
        }
    }
}

/// Notes the absent apps, and those that were seen again.
pub(super) fn absent(book: &mut Book, monitor: &Monitor, file: &RulesFile, now: Timestamp) {
    if file.expect.is_empty() && !book.expects() {
        return;
    }
    let last = |app: &str| {
        let view = monitor.snapshot().view;
        view.sessions().filter(|session| &*session.app == app).map(|session| session.pulse.wall()).max()
    };
    book.expect(now, file, last);
}

/// Notes a disk that is nearly full, or that has room again.
pub(super) fn disk(book: &mut Book, folder: &Path, file: &RulesFile, now: Timestamp) {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return };
    let (free, size) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    if free < size / FREE_PART && free < FREE_BYTES {
        let what = format!("the disk of the database is nearly full: {} MiB are free", free >> 20);
        of_server(file, DISK, &what, now).iter().for_each(|raised| book.mark(raised));
    } else {
        book.end_of(Occasion::Server, DISK, now);
    }
}

/// Notes servers of the cluster that were lost: one that ends by itself says so.
pub(super) fn servers(book: &mut Book, monitor: &Monitor, file: &RulesFile, now: Timestamp) {
    let servers = monitor.servers();
    book.keep_nodes(&servers.iter().map(|server| format!("{NODE}{}", server.node)).collect());
    for server in servers {
        let id = format!("{NODE}{}", server.node);
        // Not one that was lost before anybody was to be told.
        let recent = now.since(server.seen_at) < 60_000;
        if server.gone && !server.left && recent {
            let what = format!("the server {} (node {}) is lost", server.name, server.node);
            of_server(file, &id, &what, now).iter().for_each(|raised| book.mark(raised));
        }
    }
}
