//! An alert on its way to one target.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::raised::Subject;
use crate::clock::Timestamp;
use crate::rules::Occasion;

/// How long an alert is tried.
pub const TRY_FOR: Duration = Duration::from_secs(24 * 3_600);
/// The wait after the first try that failed; twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Longest answer that is kept, in characters.
const ANSWER_MAX: usize = 200;

/// How far an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its first or next try.
    Waiting,
    /// The target has taken it.
    Delivered,
    /// It was given up.
    Failed,
}

/// An alert for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alert {
    /// Its id: every try carries the same one. Later alerts have later ids in the order of text.
    pub id: String,
    /// The name of the target.
    pub target: String,
    /// The occasion.
    #[schema(value_type = String)]
    pub occasion: Occasion,
    /// It tells the end of what was told before.
    pub recovered: bool,
    /// The app; null where it is about several apps or about the server.
    pub app_name: Option<String>,
    /// What happened, in one line.
    pub title: String,
    /// How many sessions it is about.
    pub count: u64,
    /// The first of these.
    #[schema(value_type = Vec<Object>)]
    pub subjects: Vec<Subject>,
    /// When it happened first.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When the alert was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it is tried next, while it waits.
    #[schema(value_type = String, format = DateTime)]
    pub next_try: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// What the target answered last, or why it could not be asked.
    pub answer: Option<String>,
    /// How far it is.
    pub state: State,
    /// Only to see whether it arrives.
    #[serde(default)]
    pub test: bool,
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the target has taken the alert.
    pub taken: bool,
    /// Its answer, or why it could not be asked; without secrets.
    pub text: String,
}

impl Alert {
    /// Takes what came of a try. `jitter` from 0 to 1 spreads the next one.
    pub fn answered(&mut self, answer: &Answer, now: Timestamp, jitter: f64) {
        self.tries = self.tries.saturating_add(1);
        self.answer = Some(crate::fields::clean(&answer.text, ANSWER_MAX));
        self.next_try = now.plus(backoff(self.tries, jitter));
        self.state = match answer.taken {
            true => State::Delivered,
            false if self.next_try > self.created.plus(TRY_FOR) => State::Failed,
            false => State::Waiting,
        };
    }

    /// Gives it up.
    pub fn give_up(&mut self, why: &str) {
        self.state = State::Failed;
        self.answer = Some(why.to_owned());
    }
}

/// How long to wait after so many tries that failed: between three quarters and five quarters
/// of a wait that doubles.
#[must_use]
pub fn backoff(tries: u32, jitter: f64) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(12)).min(LONGEST_WAIT);
    wait.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
}
