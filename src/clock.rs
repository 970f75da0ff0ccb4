//! Time as a value. The core does not read the clock: it gets the time as a parameter, so
//! that a test can let a day pass in a millisecond.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Wall-clock time in milliseconds since the Unix epoch. It is shown and stored; deadlines
/// are never computed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Monotonic time in milliseconds since the server started. Deadlines are computed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall-clock time.
    pub wall: Timestamp,
    /// The time since the start.
    pub mono: Mono,
}

impl Timestamp {
    /// Milliseconds from `earlier` to `self`; negative when the clock went back.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment moved by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(signed_millis(by)))
    }

    /// This moment moved back by `by`.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(signed_millis(by)))
    }

    /// The start of this moment's minute.
    #[must_use]
    pub fn minute(self) -> Self {
        Self(self.0.div_euclid(60_000).saturating_mul(60_000))
    }

    /// RFC 3339 UTC with milliseconds: exactly 24 bytes. Times before 1970 and after 9999
    /// become the first and the last time of that range.
    ///
    /// This is kept by hand because a snapshot formats three times per session and a
    /// calendar library takes several times as long; the arithmetic is Howard Hinnant's
    /// `civil_from_days`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        // Up to 9999-12-31T23:59:59.999Z, so that the year always has four digits.
        let ms = self.0.clamp(0, 253_402_300_799_999);
        let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted - era * 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
        let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);

        let mut out = *b"0000-00-00T00:00:00.000Z";
        put(&mut out[0..4], year);
        put(&mut out[5..7], month);
        put(&mut out[8..10], day);
        put(&mut out[11..13], rest / 3_600_000);
        put(&mut out[14..16], rest / 60_000 % 60);
        put(&mut out[17..19], rest / 1_000 % 60);
        put(&mut out[20..23], rest % 1_000);
        out
    }
}

fn put(digits: &mut [u8], mut value: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_bytes()).unwrap_or_default())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.to_bytes()).unwrap_or_default())
    }
}

impl Timestamp {
    /// Reads RFC 3339, in any time zone; `None` where the text is no time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_millis()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("{text:?} is no time; write it like 2026-11-22T08:00:00Z"))
        })
    }
}

impl Mono {
    /// This moment moved by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// The time since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds; `u64::MAX` when it is longer.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in whole milliseconds, as [`Timestamp`] counts them; `i64::MAX` when it is longer.
#[must_use]
pub fn signed_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The source of `Now`: the machine's clocks, or a clock that a test sets.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks; `Mono` counts from this instant.
    System(Instant),
    /// Stands still until it is set.
    Manual(Arc<Mutex<Now>>),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::System(Instant::now())
    }

    /// A clock that a test moves. It starts on 2026-01-01, so that times look realistic.
    #[must_use]
    pub fn manual() -> Self {
        let start = Now { wall: Timestamp(1_767_225_600_000), mono: Mono(0) };
        Self::Manual(Arc::new(Mutex::new(start)))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::System(start) => Now {
                wall: Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, signed_millis)),
                mono: Mono(millis(start.elapsed())),
            },
            Self::Manual(now) => *now.lock(),
        }
    }

    /// Moves both times of a manual clock forward; does nothing to a system clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            let mut now = now.lock();
            now.wall = now.wall.plus(by);
            now.mono = now.mono.plus(by);
        }
    }

    /// Moves the wall-clock time of a manual clock by `ms`, as NTP or an administrator
    /// would. The monotonic time stays.
    pub fn jump_wall(&self, ms: i64) {
        if let Self::Manual(now) = self {
            let mut now = now.lock();
            now.wall.0 = now.wall.0.saturating_add(ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, SecondsFormat, Utc};

    #[test]
    fn a_timestamp_reads_as_chrono_would_write_it() {
        let mut ms: i64 = 0;
        while ms < 253_402_300_799_999 {
            let expected = DateTime::<Utc>::from_timestamp_millis(ms)
                .expect("in range")
                .to_rfc3339_opts(SecondsFormat::Millis, true);
            assert_eq!(Timestamp(ms).to_string(), expected);
            ms += 86_399_999 * 7 + 12_345;
        }
    }

    proptest::proptest! {
        #[test]
        fn time_never_turns_around(at: i64, other: i64, seconds: u64, nanos in 0_u32..1_000_000_000, mono: u64) {
            let by = Duration::new(seconds, nanos);
            proptest::prop_assert!(Timestamp(at).plus(by) >= Timestamp(at));
            proptest::prop_assert!(Timestamp(at).minus(by) <= Timestamp(at));
            proptest::prop_assert!(Mono(mono).plus(by) >= Mono(mono));
            proptest::prop_assert!(signed_millis(by) >= 0);
            proptest::prop_assert_eq!(Timestamp(at).since(Timestamp(other)) >= 0, at >= other);
            let minute = Timestamp(at).minute().0;
            proptest::prop_assert!(minute == i64::MIN || (minute <= at && at - minute < 60_000));
            let _ = Timestamp(at).to_string();
        }
    }

    #[test]
    fn times_outside_the_calendar_do_not_panic() {
        assert_eq!(Timestamp(i64::MIN).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
