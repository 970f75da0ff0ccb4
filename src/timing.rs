//! Every interval of the system in one place, and the inequalities between them.
//! A pair of values that would declare living sessions dead is refused here, with
//! a sentence, before anything starts.

use std::time::Duration;

/// All intervals. Those without a flag of their own follow from those that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What a client is told to promise between heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence after which a session is shown as stale.
    pub stale_after: Duration,
    /// Silence after which a session is removed.
    pub expire_after: Duration,
    /// How long a killed id answers 410.
    pub tombstone_ttl: Duration,
    /// How long the event log is kept.
    pub events_keep: Duration,
    /// How many bytes of it are kept at most.
    pub events_max_bytes: u64,
    /// Longest time a heartbeat stands only in memory.
    pub flush_interval: Duration,
    /// How long a client may clean up between the kill frame and the close.
    pub kill_grace: Duration,
    /// Over time, one report of a session in this time is written; zero for no limit.
    pub report_every: Duration,
    /// Reports of a session that are written at once.
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

impl Timing {
    /// How long a start waits for the store before it serves what is there already.
    pub const RESTORE_AT_ONCE: Duration = Duration::from_millis(300);
    /// How long changes gather at most before they are sent to the dashboards.
    pub const GATHER_MAX: Duration = Duration::from_millis(50);
    /// How often heartbeats that moved are sent to the dashboards.
    pub const BEATS_EVERY: Duration = Duration::from_secs(1);
    /// How long a client socket may wait before its first frame.
    pub const REGISTER_WITHIN: Duration = Duration::from_secs(5);
    /// What the server waits beyond the grace before it closes without an ack.
    pub const ACK_SLACK: Duration = Duration::from_millis(500);
    /// How long a socket gets to take what is written to it.
    pub const WRITE_WITHIN: Duration = Duration::from_secs(10);
    /// How long a dashboard may take nothing of what it is owed before it has to let go of
    /// it, and joins anew when it reads on.
    pub const OWED_WITHIN: Duration = Duration::from_secs(1);
    /// How long the other side gets to see a close frame before the connection goes.
    pub const DRAIN: Duration = Duration::from_secs(1);
    /// How long a shutdown may take.
    pub const SHUTDOWN_WITHIN: Duration = Duration::from_secs(4);
    /// How long a message waits for the clients' acknowledgements before it answers.
    pub const MESSAGE_WAIT: Duration = Duration::from_secs(1);

    /// Time between the server's pings on a client socket: 20 s, or less where
    /// sessions go stale sooner, so that a live socket is never stale.
    #[must_use]
    pub fn ping_every(&self) -> Duration {
        Duration::from_secs(20).min(self.stale_after / 4)
    }

    /// Silence after which a client socket is closed: 45 s in the usual proportion.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.ping_every() * 9 / 4
    }

    /// How fine the deadlines are cut: a session is found stale at most this much late.
    #[must_use]
    pub fn resolution(&self) -> Duration {
        (self.stale_after / 100).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// A jump of the clocks, or a sleep of the process, longer than this gives every
    /// session a full `stale_after` anew.
    #[must_use]
    pub fn amnesty_after(&self) -> Duration {
        (self.stale_after / 4).clamp(Duration::from_millis(500), Duration::from_secs(5))
    }

    /// When a kill that is asked for now should be done: with a socket after the grace
    /// and the closing, without one after two heartbeats.
    #[must_use]
    pub fn confirm_within(&self, connected: bool, heartbeat_interval: f64) -> Duration {
        if connected {
            self.kill_grace + Duration::from_secs(1)
        } else {
            Duration::try_from_secs_f64(heartbeat_interval * 2.0).unwrap_or(self.expire_after)
        }
    }

    /// Refuses values that make no sense together.
    ///
    /// # Errors
    /// A sentence that names the two settings.
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
