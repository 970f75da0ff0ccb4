//! The values of qualifiers: texts with `*`, durations, moments, and ranges of these.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveTime};

/// The text in lower case; borrowed where it is already.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.into()
    } else {
        text.to_lowercase().into()
    }
}

/// A value that a text is compared with; case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// The whole text.
    Whole(String),
    /// The whole text, with anything between the pieces: what `*` stands for.
    Pieces(Vec<String>),
    /// Anywhere in the text; the empty value stands for no text.
    Within(String),
}

impl Pattern {
    pub(super) fn whole(value: &str) -> Self {
        let value = value.to_lowercase();
        if value.contains('*') { Self::Pieces(pieces(&value)) } else { Self::Whole(value) }
    }

    pub(super) fn within(value: &str) -> Self {
        Self::Within(value.to_lowercase())
    }

    /// Whether the text matches. No text is the empty text.
    pub(super) fn fits(&self, text: Option<&str>) -> bool {
        let text = lower(text.unwrap_or_default());
        match self {
            Self::Whole(wanted) => *wanted == *text,
            Self::Within(needle) if needle.is_empty() => text.is_empty(),
            Self::Within(needle) => text.contains(&**needle),
            Self::Pieces(pieces) => fits_pieces(&text, pieces),
        }
    }
}

/// What stands between runs of `*`.
fn pieces(value: &str) -> Vec<String> {
    let mut pieces: Vec<String> = value.split('*').map(str::to_owned).collect();
    let last = pieces.len() - 1;
    let mut place = 0;
    pieces.retain(|piece| {
        let inner = place > 0 && place < last;
        place += 1;
        !(inner && piece.is_empty())
    });
    pieces
}

fn fits_pieces(text: &str, pieces: &[String]) -> bool {
    let [first, inner @ .., last] = pieces else { return false };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for piece in inner {
        let Some(at) = rest.find(piece.as_str()) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last.as_str())
}

/// An inclusive range of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    /// `>5m`, `<=2h`, `5m..1h`, or `5m`, which means at least 5 minutes; `None` when it is none of these.
    pub(super) fn read(value: &str, read: fn(&str) -> Option<f64>) -> Option<Self> {
        if let Some((from, to)) = value.split_once("..") {
            let low = if from.is_empty() { Some(f64::NEG_INFINITY) } else { read(from) };
            let high = if to.is_empty() { Some(f64::INFINITY) } else { read(to) };
            return Some(Self { low: low?, high: high? });
        }
        let digits = value.trim_start_matches(['<', '>']);
        let (sign, limit) = match &value[..value.len() - digits.len()] {
            sign @ (">" | "<") if digits.starts_with('=') => (if sign == ">" { ">=" } else { "<=" }, &digits[1..]),
            sign => (sign, digits),
        };
        let limit = read(limit)?;
        match sign {
            ">" => Some(Self { low: limit + 1.0, high: f64::INFINITY }),
            "<" => Some(Self { low: f64::NEG_INFINITY, high: limit - 1.0 }),
            "<=" => Some(Self { low: f64::NEG_INFINITY, high: limit }),
            ">=" | "" => Some(Self { low: limit, high: f64::INFINITY }),
            _ => None,
        }
    }

    pub(super) fn holds(self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }
}

/// `90`, `90s`, `5m`, `1h30m`, `2d` in milliseconds.
pub(super) fn duration(text: &str) -> Option<f64> {
    if let Some((number, "")) = number(text) {
        return Some(number * 1_000.0);
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (number, unit) = number(rest)?;
        let (factor, length) = match unit.as_bytes() {
            [b'm', b's', ..] => (1.0, 2),
            [b's', ..] => (1_000.0, 1),
            [b'm', ..] => (60_000.0, 1),
            [b'h', ..] => (3_600_000.0, 1),
            [b'd', ..] => (86_400_000.0, 1),
            _ => return None,
        };
        sum += number * factor;
        rest = &unit[length..];
    }
    (!text.is_empty()).then_some(sum)
}

/// Digits, maybe with a fraction, and what follows them.
fn number(text: &str) -> Option<(f64, &str)> {
    let whole = digits(text);
    if whole == 0 {
        return None;
    }
    let fraction = text[whole..].strip_prefix('.').map_or(0, digits);
    let end = if fraction > 0 { whole + 1 + fraction } else { whole };
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// An ISO date or date and time in milliseconds since 1970; UTC unless it names a zone.
pub(super) fn instant(text: &str) -> Option<f64> {
    let Some((date, time)) = text.split_once('T') else {
        return Some(day(text)?.and_time(NaiveTime::MIN).and_utc().timestamp_millis() as f64);
    };
    let day = day(date)?;
    let at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(at);
    let shape = shape(time);
    let format = match shape.split_once('.') {
        None if shape == "00:00" => "%H:%M",
        None if shape == "00:00:00" => "%H:%M:%S",
        Some(("00:00:00", fraction))
            if fraction.bytes().all(|byte| byte == b'0') && (1..=9).contains(&fraction.len()) =>
        {
            "%H:%M:%S%.f"
        }
        _ => return None,
    };
    // A leap second is no time here.
    let time = NaiveTime::parse_from_str(time, format).ok().filter(|_| !time.contains(":60"))?;
    let local = day.and_time(time);
    if zone.is_empty() || zone == "Z" {
        return Some(local.and_utc().timestamp_millis() as f64);
    }
    let whole = format!("{}{zone}", local.format("%Y-%m-%dT%H:%M:%S%.3f"));
    let zoned = (self::shape(&zone[1..]) == "00:00").then(|| DateTime::parse_from_rfc3339(&whole).ok())??;
    Some(zoned.timestamp_millis() as f64)
}

fn day(text: &str) -> Option<NaiveDate> {
    (shape(text) == "0000-00-00").then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())?
}

/// The text with each digit as 0.
fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}
