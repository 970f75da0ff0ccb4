//! What systemd is told, where it has started the server (`Type=notify`): that it is ready, that it
//! lives, that it ends.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::monitor::{Monitor, ended};
use crate::timing::Timing;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the server is");
    }
}

/// Tells that the server is ready, and then as often as the unit's `WatchdogSec=` asks that it
/// lives. It does not ask the database, since a
/// restart would not bring that back.
pub(super) async fn report(monitor: Arc<Monitor>) {
    tell(&[NotifyState::Ready]);
    let mut ending = monitor.ending();
    let Some(within) = sd_notify::watchdog_enabled() else {
        return ended(&mut ending).await;
    };
    let mut ticks = tokio::time::interval(within / 3);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ended(&mut ending) => return,
        }
        tell(&[NotifyState::Watchdog]);
    }
}

/// Tells that the server ends, and how long this may take.
pub(super) fn ending(drain: Duration) {
    let most = drain + Timing::SHUTDOWN_WITHIN * 2;
    let micros = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}
