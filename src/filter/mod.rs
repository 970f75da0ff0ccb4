//! The filter language: `app:risk status:running idle:>2h -user:root meta.env:prod report`.
//!
//! All terms must match. A qualifier with several values (commas) matches one of them; a leading minus excludes; `*`
//! stands for anything; a free word is looked for in all texts of a session. The page's filter bar (`web/query.js`)
//! means the same: `tests/vectors/filters.json` holds both to it.

mod fields;
mod syntax;
mod value;

use std::fmt;

use fields::{Compare, EVENT, EVENT_WORDS, SESSION, SESSION_WORDS};
pub use fields::{Field, Moment};
use syntax::Term;
use value::{Pattern, Range, duration, instant, lower};

/// The longest filter, in characters.
pub const TEXT_MAX: usize = 2_000;
/// The most terms and values of a filter together, so that a filter costs little for each session.
const VALUES_MAX: usize = 100;

/// What a filter can be matched with: a session or an event. Times are milliseconds since 1970.
pub trait Row {
    /// One of its texts; `None` where it has none.
    fn text(&self, field: Field, now: i64) -> Option<&str>;

    /// One of its times; `None` where it has none.
    fn time(&self, moment: Moment) -> Option<i64>;

    /// Whether a kill was not confirmed in time.
    fn unconfirmed(&self, _now: i64) -> bool {
        false
    }

    /// Calls `look` with the name and the value of each tag until it answers true; whether it did.
    fn tags(&self, _look: &mut dyn FnMut(&str, &str) -> bool) -> bool {
        false
    }
}

/// A value of a tag as the page shows it: JavaScript's `String(value)`.
#[must_use]
pub fn tag_text(value: &serde_json::Value) -> std::borrow::Cow<'_, str> {
    match value {
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Number(number) => match number.as_f64() {
            Some(number) => ryu_js::Buffer::new().format(number).to_owned().into(),
            None => number.to_string().into(),
        },
        value => value.to_string().into(),
    }
}

/// Why a filter cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The place of the term, in characters from 1.
    pub at: usize,
    /// What is wrong there, and what to do.
    pub detail: String,
}

impl Wrong {
    fn at(at: usize, detail: String) -> Self {
        Self { at, detail }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the filter is wrong at character {}: {}", self.at, self.detail)
    }
}

impl std::error::Error for Wrong {}

/// A filter that was read. The default one matches all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: Box<str>,
    tests: Vec<Test>,
    words: &'static [Field],
}

/// Filters of the same text and of the same kind of row are equal.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.words == other.words
    }
}

impl Eq for Filter {}

/// A filter of live sessions stands in JSON as its text.
impl serde::Serialize for Filter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Filter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::sessions(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// One term.
#[derive(Clone, Debug)]
struct Test {
    not: bool,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A free word, in lower case.
    Anywhere(String),
    Text(Field, Vec<Pattern>),
    Status(Vec<Pattern>),
    Meta(String, Vec<Pattern>),
    Since(Moment, Vec<Range>),
    Time(Moment, Vec<Range>),
}

impl Filter {
    /// Reads a filter of live sessions. An empty text matches all.
    ///
    /// # Errors
    /// The text cannot be read; the error tells the place.
    pub fn sessions(text: &str) -> Result<Self, Wrong> {
        Self::read(text, &SESSION, &SESSION_WORDS)
    }

    /// Reads a filter of events of the log. An empty text matches all.
    ///
    /// # Errors
    /// The text cannot be read; the error tells the place.
    pub fn events(text: &str) -> Result<Self, Wrong> {
        Self::read(text, &EVENT, &EVENT_WORDS)
    }

    fn read(text: &str, fields: &[(&str, Compare)], words: &'static [Field]) -> Result<Self, Wrong> {
        if text.chars().count() > TEXT_MAX {
            return Err(Wrong::at(TEXT_MAX, format!("it is longer than {TEXT_MAX} characters; make it shorter")));
        }
        let terms = syntax::parse(text)?;
        let mut values = 0;
        let mut tests = Vec::with_capacity(terms.len());
        for term in terms {
            values += term.values.len();
            if values > VALUES_MAX {
                return Err(Wrong::at(term.at, format!("it has more than {VALUES_MAX} values; make it shorter")));
            }
            tests.push(Test { not: term.not, what: compile(&term, fields)? });
        }
        // The tags of a row have to be parsed, so what reads them is asked last.
        tests.sort_by_key(|test| matches!(test.what, What::Meta(..) | What::Anywhere(_)));
        Ok(Self { text: text.trim().into(), tests, words })
    }

    /// The text that was read, without blanks around it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches everything, since it has no term.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Whether it compares the age of this moment.
    #[must_use]
    pub fn looks_at(&self, moment: Moment) -> bool {
        self.tests.iter().any(|test| matches!(&test.what, What::Since(of, _) if *of == moment))
    }

    /// Whether a qualifier reads this text; free words read all and do not count.
    #[must_use]
    pub fn reads(&self, field: Field) -> bool {
        self.tests.iter().any(|test| matches!(&test.what, What::Text(of, _) if *of == field))
    }

    /// Whether a qualifier reads tags.
    #[must_use]
    pub fn reads_tags(&self) -> bool {
        self.tests.iter().any(|test| matches!(test.what, What::Meta(..)))
    }

    /// Whether it matches a row at `now`.
    #[must_use]
    pub fn matches(&self, row: &impl Row, now: i64) -> bool {
        self.tests.iter().all(|test| test.what.holds(row, now, self.words) != test.not)
    }

    /// The next moment after `now` at which it may match otherwise although the row is the same; `None` when time alone
    /// does not change it. A heartbeat moves `silent`, so a moment that was told may have to be asked for again.
    #[must_use]
    pub fn next_change(&self, row: &impl Row, now: i64) -> Option<i64> {
        self.tests.iter().filter_map(|test| test.what.next_change(row, now)).min()
    }
}

fn compile(term: &Term, fields: &[(&str, Compare)]) -> Result<What, Wrong> {
    let Some(key) = &term.key else {
        return Ok(What::Anywhere(term.values[0].to_lowercase()));
    };
    let (name, tag) = key.split_once('.').map_or((key.as_str(), None), |(name, tag)| (name, Some(tag)));
    let found = fields.iter().find(|(known, _)| *known == name).map(|(_, compare)| *compare);
    let compare = match (found, tag) {
        (Some(Compare::Meta), None) => {
            return Err(Wrong::at(term.at, "meta needs the name of a tag, as in meta.env:prod".to_owned()));
        }
        (Some(compare @ Compare::Meta), Some(_)) => compare,
        (Some(compare), None) => compare,
        (Some(_) | None, _) => {
            let known: Vec<&str> = fields.iter().map(|(known, _)| *known).collect();
            return Err(Wrong::at(
                term.at,
                format!(
                    "there is no {key}: the qualifiers are {}; put a word with a colon into quotes",
                    known.join(", ")
                ),
            ));
        }
    };
    let whole = || term.values.iter().map(|value| Pattern::whole(value)).collect();
    let within = || term.values.iter().map(|value| Pattern::within(value)).collect();
    let ranges = |read: fn(&str) -> Option<f64>, example: &str| {
        let range = |value: &String| {
            Range::read(value, read).ok_or_else(|| {
                Wrong::at(term.at, format!("{key}:{value} cannot be read; write it as in {key}:{example}"))
            })
        };
        term.values.iter().map(range).collect::<Result<Vec<Range>, Wrong>>()
    };
    Ok(match compare {
        Compare::Word(field) => What::Text(field, whole()),
        Compare::Part(field) => What::Text(field, within()),
        Compare::Status => What::Status(whole()),
        Compare::Meta => What::Meta(tag.unwrap_or_default().to_owned(), whole()),
        Compare::Since(moment) => What::Since(moment, ranges(duration, ">5m or 5m..1h")?),
        Compare::Time(moment) => What::Time(moment, ranges(instant, "2026-11-22T14:00.. or <2026-11-22")?),
    })
}

impl What {
    fn holds(&self, row: &impl Row, now: i64, words: &[Field]) -> bool {
        let any = |patterns: &[Pattern], text: Option<&str>| patterns.iter().any(|pattern| pattern.fits(text));
        match self {
            Self::Anywhere(needle) => {
                let holds = |text: &str| lower(text).contains(&**needle);
                words.iter().filter_map(|field| row.text(*field, now)).any(holds)
                    || row.tags(&mut |_, value| holds(value))
            }
            Self::Text(field, patterns) => any(patterns, row.text(*field, now)),
            Self::Status(patterns) => {
                let state = row.text(Field::State, now);
                any(patterns, state)
                    || (state == Some("running") && any(patterns, row.text(Field::Reported, now)))
                    || (row.unconfirmed(now) && any(patterns, Some("unconfirmed")))
            }
            Self::Meta(tag, patterns) => {
                let mut found = false;
                let fits = row.tags(&mut |name, value| {
                    found |= name == tag;
                    name == tag && any(patterns, Some(value))
                });
                fits || (!found && any(patterns, None))
            }
            Self::Since(moment, ranges) => {
                let holds = |at: i64| ranges.iter().any(|range| range.holds(now.saturating_sub(at) as f64));
                row.time(*moment).is_some_and(holds)
            }
            Self::Time(moment, ranges) => {
                row.time(*moment).is_some_and(|at| ranges.iter().any(|range| range.holds(at as f64)))
            }
        }
    }

    fn next_change(&self, row: &impl Row, now: i64) -> Option<i64> {
        let Self::Since(moment, ranges) = self else { return None };
        let at = row.time(*moment)?;
        // It changes when the age reaches `low`, and when it has passed `high`.
        let edges = ranges.iter().flat_map(|range| [range.low.ceil(), range.high.floor() + 1.0]);
        // Ages beyond this are more than a century.
        let moments = edges.filter(|edge| edge.abs() < 4e12).map(|edge| at.saturating_add(edge as i64));
        moments.filter(|moment| *moment > now).min()
    }
}
