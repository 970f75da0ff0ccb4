//! All intervals of the server, and the inequalities that must hold between them. Settings
//! with which live sessions would be shown as stale or removed are refused here, with a
//! clear error, before anything starts.

use std::time::Duration;

/// All intervals. Those without a flag are computed from those with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time between heartbeats that clients are told to keep.
    pub heartbeat_interval: Duration,
    /// Time without a sign of life after which a session is shown as stale.
    pub stale_after: Duration,
    /// Time without a sign of life after which a session is removed.
    pub expire_after: Duration,
    /// How long a killed id answers 410.
    pub tombstone_ttl: Duration,
    /// How long the event log is kept.
    pub events_keep: Duration,
    /// Largest size of the event log, in bytes.
    pub events_max_bytes: u64,
    /// Longest time that a heartbeat is only in memory.
    pub flush_interval: Duration,
    /// The client's time to clean up, from the kill frame to the close of its socket.
    pub kill_grace: Duration,
    /// The rate of a session's status reports: one in this time; zero for no limit.
    pub report_every: Duration,
    /// Status reports of a session that may come at once, before the rate applies.
    pub report_burst: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(30),
            stale_after: Duration::from_secs(120),
            expire_after: Duration::from_secs(600),
            tombstone_ttl: Duration::from_secs(24 * 3_600),
            events_keep: Duration::from_secs(30 * 24 * 3_600),
            events_max_bytes: 1 << 30,
            flush_interval: Duration::from_secs(5),
            kill_grace: Duration::from_secs(2),
            report_every: Duration::from_millis(200),
            report_burst: 20,
        }
    }
}

/// A random part of a time, so that many do not do the same at one moment.
#[must_use]
pub fn random_part(of: Duration) -> Duration {
    of.mul_f64((uuid::Uuid::new_v4().as_u128() % 1_000) as f64 / 999.0)
}

impl Timing {
    /// How long a start waits for the store before it serves what is loaded so far.
    pub const RESTORE_AT_ONCE: Duration = Duration::from_millis(300);
    /// Longest time that changes are gathered before they are sent to the dashboards.
    pub const GATHER_MAX: Duration = Duration::from_millis(50);
    /// How often heartbeats that moved are sent to the dashboards.
    pub const BEATS_EVERY: Duration = Duration::from_secs(1);
    /// Longest time from the opening of a client socket to its first frame.
    pub const REGISTER_WITHIN: Duration = Duration::from_secs(5);
    /// Time that the server waits after `kill_grace` before it closes without an ack.
    pub const ACK_SLACK: Duration = Duration::from_millis(500);
    /// Longest time that a write to a socket may wait.
    pub const WRITE_WITHIN: Duration = Duration::from_secs(10);
    /// Longest time that a joining dashboard may read nothing of its snapshot or of the changes
    /// it missed. After that the server frees them, and the dashboard joins again when it
    /// reads on.
    pub const BACKLOG_WITHIN: Duration = Duration::from_secs(1);
    /// Time between a close frame and the end of the connection, so that the peer can read it.
    pub const DRAIN: Duration = Duration::from_secs(1);
    /// Longest time of a shutdown.
    pub const SHUTDOWN_WITHIN: Duration = Duration::from_secs(4);
    /// Longest time that the sender of a message waits for the clients' acknowledgements.
    pub const MESSAGE_WAIT: Duration = Duration::from_secs(1);

    /// Time between the server's pings on a client socket: 20 s, or less where `stale_after`
    /// is short, so that a session with a live socket never becomes stale.
    #[must_use]
    pub fn ping_every(&self) -> Duration {
        Duration::from_secs(20).min(self.stale_after / 4)
    }

    /// Time without a frame after which a client socket is closed: 45 s where the ping comes
    /// every 20 s, and in the same proportion otherwise.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.ping_every() * 9 / 4
    }

    /// The length of a deadline slot: a session is found stale at most this much late.
    #[must_use]
    pub fn resolution(&self) -> Duration {
        (self.stale_after / 100).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// When the clock jumps or the process sleeps for longer than this, every session gets a
    /// full `stale_after` again.
    #[must_use]
    pub fn amnesty_after(&self) -> Duration {
        (self.stale_after / 4).clamp(Duration::from_millis(500), Duration::from_secs(5))
    }

    /// Time from a kill request until the kill should be done: with a socket the grace and
    /// the closing, without one two heartbeats.
    #[must_use]
    pub fn confirm_within(&self, connected: bool, heartbeat_interval: f64) -> Duration {
        if connected {
            self.kill_grace + Duration::from_secs(1)
        } else {
            Duration::try_from_secs_f64(heartbeat_interval * 2.0).unwrap_or(self.expire_after)
        }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// They do not; the text names the two settings.
    pub fn checked(self) -> Result<Self, String> {
        let show = |duration: Duration| humantime::format_duration(duration).to_string();
        let positive = [
            ("--heartbeat-interval", self.heartbeat_interval),
            ("--tombstone-ttl", self.tombstone_ttl),
            ("--events-keep", self.events_keep),
            ("--flush-interval", self.flush_interval),
        ];
        for (name, value) in positive {
            if value.is_zero() {
                return Err(format!("{name} must be longer than 0 s"));
            }
        }
        if self.stale_after <= self.heartbeat_interval {
            return Err(format!(
                "--stale-after ({}) must be longer than --heartbeat-interval ({}), or sessions would be stale before their next heartbeat",
                show(self.stale_after),
                show(self.heartbeat_interval)
            ));
        }
        if self.expire_after <= self.stale_after {
            return Err(format!(
                "--expire-after ({}) must be longer than --stale-after ({}), or sessions would be removed before anybody sees them stale",
                show(self.expire_after),
                show(self.stale_after)
            ));
        }
        if self.flush_interval >= self.stale_after {
            return Err(format!(
                "--flush-interval ({}) must be shorter than --stale-after ({}), or a restart would show old heartbeats",
                show(self.flush_interval),
                show(self.stale_after)
            ));
        }
        if self.kill_grace > Duration::from_secs(60) {
            return Err(format!("--kill-grace ({}) must be at most 1 minute", show(self.kill_grace)));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_together() {
        let timing = Timing::default().checked().expect("the defaults");
        assert_eq!(timing.ping_every(), Duration::from_secs(20));
        assert_eq!(timing.silence(), Duration::from_secs(45));
        assert!(timing.silence() < timing.stale_after);
        assert!(timing.resolution() * 10 < timing.stale_after);
    }

    #[test]
    fn senseless_pairs_are_refused_by_name() {
        let base = Timing::default();
        let stale = Timing { stale_after: base.heartbeat_interval, ..base };
        assert!(stale.checked().expect_err("stale").contains("--heartbeat-interval"));
        let expire = Timing { expire_after: base.stale_after, ..base };
        assert!(expire.checked().expect_err("expire").contains("--stale-after"));
    }

    #[test]
    fn a_live_socket_is_never_stale_however_short_the_limits() {
        for ms in [40, 500, 2_000, 60_000, 3_600_000] {
            let stale_after = Duration::from_millis(ms);
            let timing = Timing { stale_after, ..Timing::default() };
            assert!(timing.silence() < stale_after, "{ms}");
        }
    }
}
