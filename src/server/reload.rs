//! What a running server takes anew: the tokens, the rules file, the TLS certificate. Each is looked
//! at by the clock, and all are read again on SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::tls::Tls;
use crate::edge::Shared;
use crate::monitor::{Ending, ended};
use crate::tokens::Tokens;

/// Longest wait for the expiry of a token, so that a clock that is set meanwhile is noticed soon.
const EXPIRY_EVERY: Duration = Duration::from_secs(1);
/// How often the server looks whether the rules file or the certificate has changed.
const FILES_EVERY: Duration = Duration::from_millis(500);

/// Removes expired tokens, and takes changes of the tokens. Neither waits for the other one.
pub(super) async fn watch_tokens(tokens: Arc<Tokens>, mut ending: watch::Receiver<Ending>) {
    let expire = async {
        loop {
            tokio::time::sleep(tokens.next_expiry().map_or(EXPIRY_EVERY, |left| left.min(EXPIRY_EVERY))).await;
            tokens.expire();
        }
    };
    let reload = async {
        loop {
            tokens.due().await;
            if tokens.reload().await {
                tracing::info!("the tokens have changed; who came with an old one is sent away");
            }
        }
    };
    tokio::select! {
        () = expire => {}
        () = reload => {}
        () = ended(&mut ending) => {}
    }
}

/// Reads the rules file and the certificate again when they change, and them and the tokens when a
/// SIGHUP comes.
///
/// # Errors
/// The system gives no handler for the signal.
pub(super) fn watch_files(app: Shared, tls: Option<Arc<Tls>>) -> Result<impl Future<Output = ()>, String> {
    let mut asked = signal(SignalKind::hangup()).map_err(|error| format!("no handler for SIGHUP: {error}"))?;
    let mut ticks = tokio::time::interval(FILES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(async move {
        let mut ending = app.monitor.ending();
        loop {
            let again = tokio::select! {
                Some(()) = asked.recv() => true,
                _ = ticks.tick() => false,
                () = ended(&mut ending) => return,
            };
            let (monitor, tls) = (app.monitor.clone(), tls.clone());
            let read = move || {
                let now = monitor.now();
                if again {
                    monitor.rules().reload(now);
                } else {
                    monitor.rules().look(now);
                }
                match tls {
                    Some(tls) if again => tls.reload(),
                    Some(tls) => tls.look(),
                    None => {}
                }
            };
            let _ = tokio::task::spawn_blocking(read).await;
            if again {
                let changed = app.gate.tokens.reload().await;
                tracing::info!(tokens_changed = changed, "all files were read again, as SIGHUP asked");
            }
        }
    })
}
