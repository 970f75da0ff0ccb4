//! What the system does, without everything that makes it fast or durable. One session is
//! a small state, and what is asked of it leads to the next one and to an answer.

/// One id, as far as the outside can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub life: Life,
    /// Lines in the log.
    pub log: Log,
}

/// Whether it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Nobody registered it, or it ended otherwise than by a kill: it may register.
    #[default]
    Unknown,
    /// It does what it said last.
    Live { task: Option<u64>, asked_to_end: bool },
    /// It was removed as killed and never comes back.
    Killed,
}

/// How many lines of each kind the log has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub registered: u64,
    pub status_changed: u64,
    pub kill_requested: u64,
    pub removed: u64,
}

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Register; here only asked of an id that does not live.
    Register,
    /// Running, with this task.
    Status(u64),
    /// An administrator ends it.
    Kill,
    /// It leaves.
    Delete,
}

impl Model {
    /// What comes of it, and the HTTP status that says so.
    pub fn after(mut self, ask: Ask) -> (Self, u16) {
        let answer = match (self.life, ask) {
            (Life::Killed, _) => 410,
            (Life::Unknown, Ask::Register) => {
                self.life = Life::Live { task: None, asked_to_end: false };
                self.log.registered += 1;
                201
            }
            (Life::Unknown, _) => 404,
            (Life::Live { .. }, Ask::Register) => 200,
            (Life::Live { task, asked_to_end }, Ask::Status(new)) => {
                if task != Some(new) {
                    self.log.status_changed += 1;
                }
                self.life = Life::Live { task: Some(new), asked_to_end };
                200
            }
            (Life::Live { task, asked_to_end }, Ask::Kill) => {
                if !asked_to_end {
                    self.log.kill_requested += 1;
                }
                self.life = Life::Live { task, asked_to_end: true };
                200
            }
            (Life::Live { asked_to_end, .. }, Ask::Delete) => {
                self.log.removed += 1;
                self.life = if asked_to_end { Life::Killed } else { Life::Unknown };
                200
            }
        };
        (self, answer)
    }
}
