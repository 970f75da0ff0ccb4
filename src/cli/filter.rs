//! Which sessions or events to show: the filter that the arguments of `ls`, `watch`, `kill` and `tail` make, in the
//! language of the page's filter bar.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::Value;

use super::error::CliError;
use super::wire::{Session, State};
use crate::filter::{Field, Filter, Moment, Row, Wrong, tag_text};

/// Which sessions to show; a session has to match all parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct FilterArgs {
    /// Only what matches, as in the page's filter bar: app:risk status:running idle:>2h -user:root meta.env:prod word.
    /// Put it into single quotes
    #[arg(value_name = "FILTER")]
    words: Vec<String>,
}

impl FilterArgs {
    /// A filter of this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { words: vec![text.to_owned()] }
    }

    /// The text of the filter; empty where all match.
    pub(super) fn text(&self) -> String {
        self.words.iter().map(|word| word.trim()).collect::<Vec<_>>().join(" ")
    }

    /// The filter of sessions.
    pub(super) fn sessions(&self) -> Result<Filter, CliError> {
        let text = self.text();
        Filter::sessions(&text).map_err(|wrong| pointed(&text, &wrong))
    }

    /// The filter of events.
    pub(super) fn events(&self) -> Result<Filter, CliError> {
        let text = self.text();
        Filter::events(&text).map_err(|wrong| pointed(&text, &wrong))
    }
}

/// The commands that take a filter.
const COMMANDS: [&str; 4] = ["ls", "watch", "kill", "tail"];

/// The arguments of the program, so that a part of a filter such as `-user:root` is not read as an option: a blank is
/// put before it.
pub fn excluding(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).and_then(|command| command.to_str()).is_none_or(|command| !COMMANDS.contains(&command)) {
        return arguments;
    }
    for argument in arguments.iter_mut().skip(2).take_while(|argument| *argument != "--") {
        let text = argument.to_str().unwrap_or_default();
        let qualifier = text.strip_prefix('-').and_then(|rest| rest.split_once(':')).map(|(name, _)| name);
        if qualifier.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains('=')) {
            *argument = format!(" {text}").into();
        }
    }
    arguments
}

/// The error with the text, and a mark below the place.
pub(super) fn pointed(text: &str, wrong: &Wrong) -> CliError {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    CliError::Usage(format!("{wrong}\n  {text}\n  {:>place$}", "^", place = wrong.at))
}

/// Whether a session matches at `now` by the server's clock.
#[must_use]
pub fn matches(filter: &Filter, session: &Session, now: DateTime<Utc>) -> bool {
    filter.matches(session, now.timestamp_millis())
}

impl Row for Session {
    fn text(&self, field: Field, _now: i64) -> Option<&str> {
        match field {
            Field::App => Some(&self.app_name),
            Field::User => self.user_id.as_deref(),
            Field::Task => self.current_task.as_deref(),
            Field::Id => Some(&self.session_id),
            Field::State => Some(match self.state(DateTime::UNIX_EPOCH) {
                State::Unconfirmed => State::Ending.word(),
                state => state.word(),
            }),
            Field::Reported => Some(&self.reported_status),
            Field::Client => self.client.as_deref(),
            Field::Addr => self.remote_addr.as_deref(),
            Field::Visibility => self.visibility.as_deref(),
            Field::Connected => Some(if self.connected { "yes" } else { "no" }),
            Field::Node => self.node.as_deref(),
            Field::Reason => self.kill.as_ref()?.reason.as_deref(),
            Field::Kind | Field::By | Field::Cause | Field::Text => None,
        }
    }

    fn time(&self, moment: Moment) -> Option<i64> {
        let at = match moment {
            Moment::Idle => match self.idle_since {
                Some(told) => told,
                None => self.status_since.filter(|_| self.reported_status == "idle"),
            },
            Moment::Beat => Some(self.last_heartbeat),
            Moment::Start => Some(self.start_time),
            Moment::TaskStart => self.task_started_at,
            Moment::At => None,
        };
        at.map(|at| at.timestamp_millis())
    }

    fn unconfirmed(&self, now: i64) -> bool {
        let by = self.kill.as_ref().filter(|_| self.kill_requested).and_then(|kill| kill.confirm_by);
        by.is_some_and(|by| by.timestamp_millis() < now)
    }

    fn tags(&self, look: &mut dyn FnMut(&str, &str) -> bool) -> bool {
        self.meta.iter().any(|(name, value)| look(name, &tag_text(value)))
    }
}

/// An entry of the log, as the server sends it.
pub(super) struct Event<'a>(pub(super) &'a Value);

impl Row for Event<'_> {
    fn text(&self, field: Field, _now: i64) -> Option<&str> {
        let name = match field {
            Field::Kind => "kind",
            Field::App => "app_name",
            Field::User => "user_id",
            Field::Id => "session_id",
            Field::By => "by",
            Field::Cause => "cause",
            Field::Reason => "reason",
            Field::Text => "text",
            Field::Task => "current_task",
            _ => return None,
        };
        self.0.get(name)?.as_str()
    }

    fn time(&self, moment: Moment) -> Option<i64> {
        let at = self.0.get("at").filter(|_| moment == Moment::At)?.as_str()?;
        Some(DateTime::parse_from_rfc3339(at).ok()?.timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::cli::store::tests::{every_state, time};

    #[test]
    fn a_filter_matches_every_state() {
        let store = every_state();
        let now = time("2026-11-22T08:10:10Z");
        let ids = |text: &str| {
            let filter = FilterArgs::of(text).sessions().expect(text);
            let mut ids: Vec<&str> = store
                .rows()
                .filter(|row| matches(&filter, &row.session, now))
                .map(|row| row.session.session_id.as_str())
                .collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids("status:stale"), ["stale-1"]);
        assert_eq!(ids("status:running"), ["running-1"]);
        assert_eq!(ids("status:unconfirmed"), ["unconfirmed-1"]);
        assert_eq!(ids("MONTE"), ["running-1"]);
        assert_eq!(ids("prod"), ["hidden-1"], "a tag's value");
        assert_eq!(ids("user:bob"), Vec::<&str>::new());
        assert_eq!(ids("app:risk").len(), 6);
    }

    #[test]
    fn a_wrong_filter_is_shown_with_its_place() {
        let error = FilterArgs { words: vec!["app:risk".to_owned(), "colour:red".to_owned()] }.sessions();
        let told = error.expect_err("an error").to_string();
        assert!(told.ends_with("\n  app:risk colour:red\n           ^"), "{told}");
    }

    #[test]
    fn the_shell_may_pass_an_excluded_qualifier_without_quotes() {
        let read = |words: &[&str]| {
            let words = words.iter().map(OsString::from);
            excluding(words).into_iter().map(|word| word.into_string().expect("UTF-8")).collect::<Vec<_>>()
        };
        assert_eq!(read(&["s", "ls", "-user:root", "--json"]), ["s", "ls", " -user:root", "--json"]);
        assert_eq!(read(&["s", "ls", "--server=http://h"]), ["s", "ls", "--server=http://h"]);
        assert_eq!(read(&["s", "run", "-user:root"]), ["s", "run", "-user:root"]);
    }

    /// A session out of its short form: see `web/test/filters.mjs`, which does the same.
    fn long(short: &Value, now: i64) -> Session {
        let at = |seconds: &Value| {
            let ms = now + (seconds.as_f64().expect("a number") * 1_000.0) as i64;
            DateTime::from_timestamp_millis(ms).expect("a time").to_rfc3339()
        };
        let mut session = json!({"is_stale": false});
        for (name, value) in short.as_object().expect("an object") {
            let (name, value) = match name.as_str() {
                "id" => ("session_id", value.clone()),
                "start" => ("start_time", at(value).into()),
                "beat" => ("last_heartbeat", at(value).into()),
                "task_started" => ("task_started_at", at(value).into()),
                "status_since" => ("status_since", at(value).into()),
                "idle_since" if value.is_null() => ("idle_since", Value::Null),
                "idle_since" => ("idle_since", at(value).into()),
                "kill" => {
                    session["kill_requested"] = true.into();
                    let (asked, by) = (at(&(-9).into()), at(&value["confirm"]));
                    let kill =
                        json!({"kill_id": "k", "requested_at": asked, "confirm_by": by, "reason": value["reason"]});
                    ("kill", kill)
                }
                name => (name, value.clone()),
            };
            session[name] = value;
        }
        serde_json::from_value(session).expect("a session")
    }

    #[test]
    fn the_filter_means_what_it_means_on_the_page() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/vectors/filters.json")).expect("the vectors");
        let now = time(vectors["now"].as_str().expect("a time")).timestamp_millis();
        let sessions: Vec<Session> =
            vectors["sessions"].as_array().expect("sessions").iter().map(|short| long(short, now)).collect();
        let cases: Vec<(String, Vec<String>)> = serde_json::from_value(vectors["cases"].clone()).expect("cases");
        assert!(cases.len() > 60);
        for (text, expected) in cases {
            let filter = Filter::sessions(&text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            let found = sessions.iter().filter(|session| filter.matches(*session, now));
            let found: Vec<&str> = found.map(|session| session.session_id.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        }
        let wrong: Vec<(String, usize)> = serde_json::from_value(vectors["wrong"].clone()).expect("wrong filters");
        for (text, place) in wrong {
            let wrong = Filter::sessions(&text).err().unwrap_or_else(|| panic!("{text} is read"));
            assert_eq!(wrong.at, place, "{text}: {wrong}");
        }
    }

    /// Pieces of filters that are likely to be read, or nearly.
    const PIECES: [&str; 64] = [
        "app:",
        "status:",
        "user:",
        "task:",
        "id:",
        "meta.env:",
        "meta.n:",
        "META.a.b:",
        "idle:",
        "silent:",
        "age:",
        "busy:",
        "started:",
        "client:",
        "addr:",
        "visibility:",
        "connected:",
        "node:",
        "reason:",
        "oops:",
        "-",
        "\"",
        "\"\"",
        "\\",
        ",",
        " ",
        " ",
        " ",
        "  ",
        "\t",
        "\u{a0}",
        "\u{85}",
        "\u{feff}",
        "*",
        "**",
        "..",
        ">",
        "<=",
        "<",
        ">=",
        "5m",
        "1h30m",
        "90",
        "1.5s",
        "2d",
        "7ms",
        "2026-11-22",
        "T07:59",
        ":30",
        "Z",
        "+02:00",
        "risk",
        "RISK",
        "shop",
        "ana",
        "É",
        "é",
        "ß",
        "İ",
        "Σ",
        "running",
        "stale",
        "unconfirmed",
        "yes",
    ];

    /// A number below `most` out of a sequence that depends on the seed alone (SplitMix64).
    fn dice(seed: &mut u64, most: usize) -> usize {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most as u64) as usize
    }

    fn random_session(seed: &mut u64) -> Value {
        let one = |seed: &mut u64, of: &[Value]| of[dice(seed, of.len())].clone();
        let texts: Vec<Value> = ["risk", "Risk", "shop", "ana", "", "É", "ß ss", "ΑΣ", "a,b \"c\"", "prod", "js/0.1"]
            .map(Value::from)
            .to_vec();
        let seconds: Vec<Value> =
            [0.0, -1.0, -5.0, -60.0, -90.5, -299.999, -300.0, -5400.0, -7200.0, -90000.0].map(Value::from).to_vec();
        let tags: Vec<Value> = vec![
            json!({}),
            json!({"env": "prod"}),
            json!({"n": 1.5, "env": ""}),
            json!({"n": 100, "a.b": true, "env": "É"}),
            json!({"n": 1e21, "env": "a b"}),
        ];
        let kills =
            [Value::Null, Value::Null, json!({"confirm": -5, "reason": "risk"}), json!({"confirm": 0, "reason": null})];
        let mut session = json!({
            "id": one(seed, &["a1".into(), "b:1".into(), "c-1".into()]), "app_name": one(seed, &texts),
            "reported_status": one(seed, &["idle".into(), "running".into(), "uploading".into()]),
            "start": one(seed, &seconds), "beat": one(seed, &seconds), "status_since": one(seed, &seconds),
            "is_stale": dice(seed, 4) == 0, "connected": dice(seed, 2) == 0, "meta": one(seed, &tags),
        });
        match dice(seed, 3) {
            0 => session["idle_since"] = one(seed, &seconds),
            1 => session["idle_since"] = Value::Null,
            _ => {}
        }
        for field in ["user_id", "current_task", "client", "remote_addr", "node"] {
            if dice(seed, 3) > 0 {
                session[field] = one(seed, &texts);
            }
        }
        if dice(seed, 2) == 0 {
            session["visibility"] = one(seed, &["visible".into(), "hidden".into()]);
        }
        if dice(seed, 2) == 0 {
            session["task_started"] = one(seed, &seconds);
        }
        let kill = one(seed, &kills);
        if !kill.is_null() {
            session["kill"] = kill;
        }
        session
    }

    #[test]
    fn a_hundred_thousand_random_filters_match_as_on_the_page() {
        let now = time("2026-11-22T08:00:00Z").timestamp_millis();
        let mut seed = std::env::var("FILTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
        let sessions: Vec<(Value, Session)> =
            (0..500).map(|_| random_session(&mut seed)).map(|short| (short.clone(), long(&short, now))).collect();
        let mut cases = Vec::with_capacity(100_000);
        let mut asked = String::new();
        for _ in 0..100_000 {
            let text: String = (0..=dice(&mut seed, 9)).map(|_| PIECES[dice(&mut seed, PIECES.len())]).collect();
            let (short, session) = &sessions[dice(&mut seed, sessions.len())];
            asked.push_str(&json!({"filter": text, "session": short, "now": now}).to_string());
            asked.push('\n');
            cases.push((text, session));
        }
        let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/web/test/filters.mjs");
        let mut node = std::process::Command::new("node")
            .args([peer, "answer"])
            .env("TZ", "UTC")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("Node.js is installed");
        let mut input = node.stdin.take().expect("its input");
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, asked.as_bytes()));
        let output = node.wait_with_output().expect("it answers");
        writer.join().expect("a thread").expect("all is read");
        let answers: Vec<Option<bool>> = serde_json::from_slice(&output.stdout).expect("a list");
        assert_eq!(answers.len(), cases.len());
        let mut counts = [0; 3];
        for ((text, session), page) in cases.iter().zip(answers) {
            let here = Filter::sessions(text).ok().map(|filter| filter.matches(*session, now));
            assert_eq!(here, page, "{text:?} for {session:?}");
            counts[here.map_or(2, usize::from)] += 1;
        }
        assert!(counts.iter().all(|count| *count > 2_000), "all three answers are common: {counts:?}");
    }
}
