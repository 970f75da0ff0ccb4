//! How many live sessions are in each state.

use crate::session::State;

/// How many live sessions are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// Idle, and the page is visible.
    pub idle: u64,
    /// At work.
    pub running: u64,
    /// Idle, and the page is hidden.
    pub hidden: u64,
    /// Silent for `stale_after`.
    pub stale: u64,
    /// With a kill request.
    pub ending: u64,
}

impl Counts {
    /// Counts one more session in this state.
    pub fn add(&mut self, state: State) {
        *self.of(state) += 1;
    }

    /// The count of one state.
    pub(super) fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Idle => &mut self.idle,
            State::Running => &mut self.running,
            State::Hidden => &mut self.hidden,
            State::Stale => &mut self.stale,
            State::Ending => &mut self.ending,
        }
    }
}
