//! A dashboard's socket: connects, resumes after a break at the last position, and waits with jitter between attempts.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use super::{
    client::{Api, Socket},
    error::CliError,
    wire::{DashboardFrame, Position},
};
use crate::timing::random_part;

/// How often we send a ping.
const PING_EVERY: Duration = Duration::from_secs(15);
/// After this time without any frame, pongs included, we treat the connection as lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(40);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the feed passes on.
#[derive(Debug)]
pub enum Feed {
    /// A frame arrived.
    Frame(DashboardFrame),
    /// The connection was lost; the feed connects again after `pause`.
    Lost {
        /// Why.
        error: CliError,
        /// How long until the next attempt.
        pause: Duration,
    },
    /// The server refused us: the feed has ended.
    Refused(CliError),
}

/// Starts to follow the server's changes, until the receiver is dropped or the server refuses us.
///
/// After a break it resumes at the last position whose frames it passed on completely. What the frames mean is decided
/// by [`super::store::Store`].
#[must_use]
pub fn follow(api: Api) -> mpsc::Receiver<Feed> {
    let (frames, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut position = None;
        let mut failures = 0;
        while !frames.is_closed() {
            let error = match attempt(&api, &mut position, &mut failures, &frames).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if let CliError::Refused { status: 400..=499, .. } | CliError::Usage(_) = error {
                // Where the receiver is dropped, nobody needs the error.
                let _ = frames.send(Feed::Refused(error)).await;
                return;
            }
            let pause = pause(failures);
            failures += 1;
            if frames.send(Feed::Lost { error, pause }).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = frames.closed() => return,
            }
        }
    });
    receiver
}

/// One connection from opening to close; Ok when the receiver was dropped.
async fn attempt(
    api: &Api,
    position: &mut Option<Position>,
    failures: &mut u32,
    frames: &mpsc::Sender<Feed>,
) -> Result<(), CliError> {
    let resume = position.as_ref().map(|position| (position.epoch.clone(), position.seq.to_string()));
    let query: Vec<(&str, &str)> = match &resume {
        Some((epoch, seq)) => vec![("epoch", epoch), ("seq", seq)],
        None => Vec::new(),
    };
    let mut socket = tokio::select! {
        socket = api.socket(&["ws"], &query) => socket?,
        () = frames.closed() => return Ok(()),
    };
    let mut epoch = String::new();
    let mut heard = Instant::now();
    let mut ping = tokio::time::interval_at(heard + PING_EVERY, PING_EVERY);
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_LIMIT || socket.send(Message::Ping(Default::default())).await.is_err() {
                    return Err(lost(api, "the connection went silent"));
                }
                continue;
            }
            () = frames.closed() => return leave(&mut socket).await,
        };
        heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => {
                let frame: DashboardFrame = serde_json::from_str(&text).map_err(|error| CliError::Strange {
                    server: api.server(),
                    cause: format!("a frame that cannot be read: {error}"),
                })?;
                *failures = 0;
                match advance(position, &mut epoch, &frame) {
                    Step::Next if frames.send(Feed::Frame(frame)).await.is_err() => {
                        return leave(&mut socket).await;
                    }
                    Step::Next | Step::Known => {}
                    Step::Gap => return Err(lost(api, "a change was missed")),
                }
            }
            Some(Ok(Message::Close(close))) => return Err(closed(api, close)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(lost(api, &error.to_string())),
            None => return Err(lost(api, "the connection was cut")),
        }
    }
}

/// How a frame relates to the position reached before.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It comes next.
    Next,
    /// It was applied before.
    Known,
    /// Changes before it are missing: a new snapshot is needed.
    Gap,
}

/// Moves `position` past `frame`.
fn advance(position: &mut Option<Position>, epoch: &mut String, frame: &DashboardFrame) -> Step {
    match frame {
        DashboardFrame::Hello { epoch: current, .. } => {
            epoch.clone_from(current);
            if position.as_ref().is_some_and(|position| position.epoch != *current) {
                *position = None;
            }
        }
        DashboardFrame::Snapshot { part, parts, .. } if part < parts => *position = None,
        DashboardFrame::Snapshot { seq, .. } => {
            *position = Some(Position { epoch: epoch.clone(), seq: *seq });
        }
        DashboardFrame::Changes { from, seq, .. } => match position {
            Some(position) if position.seq == *from => position.seq = *seq,
            Some(position) if *seq <= position.seq => return Step::Known,
            _ => {
                *position = None;
                return Step::Gap;
            }
        },
        DashboardFrame::Beats { .. } | DashboardFrame::Unknown => {}
    }
    Step::Next
}

async fn leave(socket: &mut Socket) -> Result<(), CliError> {
    // The receiver was dropped. A clean close is polite, and may fail.
    let _ = tokio::time::timeout(Duration::from_millis(200), socket.close(None)).await;
    Ok(())
}

fn lost(api: &Api, cause: &str) -> CliError {
    CliError::Unreachable { server: api.server(), cause: cause.to_owned() }
}

/// The error that a close code stands for.
fn closed(api: &Api, close: Option<CloseFrame>) -> CliError {
    let Some(close) = close else {
        return lost(api, "the server closed the connection");
    };
    let detail = if close.reason.is_empty() {
        format!("The server closed the connection with code {}.", close.code)
    } else {
        close.reason.to_string()
    };
    match u16::from(close.code) {
        4401 => CliError::Refused { status: 401, detail },
        4403 => CliError::Refused { status: 403, detail },
        1012 => lost(api, "the server restarts"),
        _ => lost(api, &detail),
    }
}

/// The pause after `failures` failures in a row: doubled each time up to a limit, with jitter, so that not all clients
/// connect at the same moment.
pub(crate) fn pause(failures: u32) -> Duration {
    let longest = Duration::from_millis(250).saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    longest / 2 + random_part(longest / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::store::tests::frame;
    use serde_json::json;

    #[test]
    fn pauses_grow_up_to_a_limit_and_have_jitter() {
        for failures in 0..40 {
            let pause = pause(failures);
            assert!(pause >= Duration::from_millis(125) && pause <= LONGEST_PAUSE, "{pause:?} after {failures}");
        }
        assert!(pause(9) >= LONGEST_PAUSE / 2);
    }

    fn hello(epoch: &str) -> DashboardFrame {
        frame(json!({"type": "hello", "epoch": epoch, "seq": 3, "now": "2026-11-22T08:10:05.000Z"}))
    }

    fn snapshot(part: u32) -> DashboardFrame {
        frame(json!({"type": "snapshot", "seq": 3, "part": part, "parts": 2, "sessions": []}))
    }

    fn changes(from: u64, seq: u64) -> DashboardFrame {
        frame(json!({"type": "changes", "from": from, "seq": seq, "upserted": [], "removed": []}))
    }

    fn after_snapshot() -> (Option<Position>, String) {
        let (mut position, mut epoch) = (None, String::new());
        for frame in [hello("e"), snapshot(1), snapshot(2)] {
            assert_eq!(advance(&mut position, &mut epoch, &frame), Step::Next);
        }
        (position, epoch)
    }

    #[test]
    fn only_a_complete_snapshot_can_be_resumed_from() {
        let (mut position, mut epoch) = (None, String::new());
        advance(&mut position, &mut epoch, &hello("e"));
        advance(&mut position, &mut epoch, &snapshot(1));
        assert_eq!(position, None);
        assert_eq!(after_snapshot().0, Some(Position { epoch: "e".to_owned(), seq: 3 }));
    }

    #[test]
    fn a_gap_asks_for_a_new_snapshot() {
        let (mut position, mut epoch) = after_snapshot();
        assert_eq!(advance(&mut position, &mut epoch, &changes(3, 5)), Step::Next);
        assert_eq!(advance(&mut position, &mut epoch, &changes(2, 5)), Step::Known);
        assert_eq!(advance(&mut position, &mut epoch, &changes(6, 7)), Step::Gap);
        assert_eq!(position, None);
    }

    #[test]
    fn another_epoch_is_not_resumed() {
        let (mut position, mut epoch) = after_snapshot();
        advance(&mut position, &mut epoch, &hello("e"));
        assert!(position.is_some(), "the same history goes on");
        advance(&mut position, &mut epoch, &hello("other"));
        assert_eq!(position, None);
    }
}
