//! What the system does, without everything that makes it fast or durable. One session is
//! a small state, and what is asked of it leads to the next one and to an answer.

use std::time::Duration;

/// One id, as far as the outside can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub life: Life,
    /// Lines in the log.
    pub log: Log,
    /// Time since its last sign of life, or since it was removed as killed.
    pub since: Duration,
}

/// Whether it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Nobody registered it, or it ended otherwise than by a kill: it may register.
    #[default]
    Unknown,
    /// It does what it said last.
    Live { task: Option<u64>, asked_to_end: bool },
    /// It was removed as killed and is not let in for a day.
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
    /// Register, or resume.
    Register,
    /// Running, with this task.
    Status(u64),
    /// A sign of life.
    Beat,
    /// An administrator ends it.
    Kill,
    /// It leaves.
    Delete,
}

/// Silence after which a session is removed.
const EXPIRE_AFTER: Duration = Duration::from_secs(600);
/// How long a killed id is refused.
const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3_600);

impl Model {
    /// What comes of it, and the HTTP status that says so.
    pub fn after(mut self, ask: Ask) -> (Self, u16) {
        let answer = match (self.life, ask) {
            (Life::Killed, _) => 410,
            (Life::Unknown, Ask::Register) => {
                self.life = Life::Live { task: None, asked_to_end: false };
                self.log.registered += 1;
                self.since = Duration::ZERO;
                201
            }
            (Life::Unknown, _) => 404,
            (Life::Live { .. }, Ask::Register | Ask::Beat) => {
                self.since = Duration::ZERO;
                200
            }
            (Life::Live { task, asked_to_end }, Ask::Status(new)) => {
                self.log.status_changed += u64::from(task != Some(new));
                self.life = Life::Live { task: Some(new), asked_to_end };
                self.since = Duration::ZERO;
                200
            }
            (Life::Live { task, asked_to_end }, Ask::Kill) => {
                self.log.kill_requested += u64::from(!asked_to_end);
                self.life = Life::Live { task, asked_to_end: true };
                200
            }
            (Life::Live { asked_to_end, .. }, Ask::Delete) => {
                self.leave(asked_to_end);
                200
            }
        };
        (self, answer)
    }

    /// What comes of nobody's asking anything for a while.
    pub fn after_silence(mut self, time: Duration) -> Self {
        self.since += time;
        match self.life {
            Life::Live { asked_to_end, .. } if self.since >= EXPIRE_AFTER => self.leave(asked_to_end),
            Life::Killed if self.since >= TOMBSTONE_TTL => self.life = Life::Unknown,
            _ => {}
        }
        self
    }

    /// Whether, after so much more silence, its time will have been up for less than `slack`.
    pub fn is_just_due_after(&self, silence: Duration, slack: Duration) -> bool {
        let over = (self.since + silence).checked_sub(EXPIRE_AFTER);
        matches!(self.life, Life::Live { .. }) && over.is_some_and(|over| over < slack)
    }

    /// The server was away: everybody gets the full time anew, the killed stay as they are.
    pub fn restarted(&mut self) {
        if let Life::Live { .. } = self.life {
            self.since = Duration::ZERO;
        }
    }

    fn leave(&mut self, asked_to_end: bool) {
        self.log.removed += 1;
        self.life = if asked_to_end { Life::Killed } else { Life::Unknown };
        self.since = Duration::ZERO;
    }
}

impl Log {
    /// The lines of these kinds; what the server notes of its own accord is left out.
    pub fn of<'a>(kinds: impl Iterator<Item = &'a str>) -> Self {
        let mut log = Self::default();
        kinds.for_each(|kind| log.add(kind));
        log
    }

    /// One line more.
    pub fn add(&mut self, kind: &str) {
        match kind {
            "registered" => self.registered += 1,
            "status_changed" => self.status_changed += 1,
            "kill_requested" => self.kill_requested += 1,
            "removed" => self.removed += 1,
            "kill_delivered" | "stale" | "recovered" => {}
            other => panic!("nobody asked for {other}"),
        }
    }

    /// All of them.
    pub fn lines(&self) -> u64 {
        self.registered + self.status_changed + self.kill_requested + self.removed
    }
}
