//! Checks whether the writer answers, with a change that changes nothing.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Monitor;
use crate::change::{Actor, Change};
use crate::error::Result;

/// How long the writer may take to answer.
const WITHIN: Duration = Duration::from_secs(2);
/// How long an answer is used again: anybody may ask, and must not fill the queue.
const FRESH: Duration = Duration::from_millis(250);

/// The last answer, and when it came. Its lock is held while one caller asks; callers that come
/// meanwhile get the same answer.
#[derive(Default)]
pub(super) struct Probe(tokio::sync::Mutex<Option<(Instant, bool)>>);

impl Monitor {
    /// Records in the log that somebody has logged in.
    ///
    /// # Errors
    /// Store.
    pub async fn logged_in(&self, actor: Actor) -> Result<()> {
        self.ask(Change::LoggedIn(actor)).await.map(drop)
    }

    /// Whether the writer takes changes now; answers within 4 s.
    pub async fn answers(&self) -> bool {
        let asked = async {
            let mut last = self.probe.0.lock().await;
            if let Some((_, answer)) = last.filter(|(at, _)| at.elapsed() < FRESH) {
                return answer;
            }
            let answer = timeout(WITHIN, self.ask(Change::Probe)).await.is_ok_and(|done| done.is_ok());
            *last = Some((Instant::now(), answer));
            answer
        };
        timeout(WITHIN * 2, asked).await.unwrap_or(false)
    }
}
