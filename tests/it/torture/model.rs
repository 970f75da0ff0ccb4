//! A model of the system: the same behaviour, without the parts that make it fast or durable.
//! A session is a small state; each request gives the next state and an answer.

use std::time::Duration;

/// An id as clients see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub life: Life,
    /// Lines in the log.
    pub log: Log,
    /// Time since its last sign of life, or since it was removed as killed.
    pub since: Duration,
}

/// The state of an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It is not registered, or ended but not by a kill: it may register.
    #[default]
    Unknown,
    /// It is live, with its last report.
    Live { task: Option<u64>, asked_to_end: bool },
    /// It was removed as killed, and is refused for a day.
    Killed,
}

/// The number of its log entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub registered: u64,
    pub status_changed: u64,
    pub kill_requested: u64,
    pub removed: u64,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Register, or resume.
    Register,
    /// Report `running` with this task.
    Status(u64),
    /// A heartbeat.
    Beat,
    /// An administrator requests a kill.
    Kill,
    /// It leaves.
    Delete,
}

/// Time without a sign of life after which a session is removed.
const EXPIRE_AFTER: Duration = Duration::from_secs(600);
/// How long a killed id is refused.
const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 3_600);

impl Model {
    /// Applies a request; returns the HTTP status of the answer.
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

    /// Applies a time without requests.
    pub fn after_silence(mut self, time: Duration) -> Self {
        self.since += time;
        match self.life {
            Life::Live { asked_to_end, .. } if self.since >= EXPIRE_AFTER => self.leave(asked_to_end),
            Life::Killed if self.since >= TOMBSTONE_TTL => self.life = Life::Unknown,
            _ => {}
        }
        self
    }

    /// Whether, after this much more time, a deadline will have passed by less than `slack`.
    pub fn is_just_due_after(&self, silence: Duration, slack: Duration) -> bool {
        let over = (self.since + silence).checked_sub(EXPIRE_AFTER);
        matches!(self.life, Life::Live { .. }) && over.is_some_and(|over| over < slack)
    }

    /// Applies a restart: all sessions get the full time again, killed ids stay refused.
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
    /// Counts the entries of these kinds; those of the server itself are left out.
    pub fn of<'a>(kinds: impl Iterator<Item = &'a str>) -> Self {
        let mut log = Self::default();
        kinds.for_each(|kind| log.add(kind));
        log
    }

    /// Adds an entry.
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
