//! What events raise, and the keeper's book: delays, groups, recoveries, absences, tries. All of
//! it with the time as a parameter.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use sessionwatch::alerts::{
    Alert, Answer, Book, Kept, Look, Raised, Settled, State, arise, by_rule, of_server, of_session,
};
use sessionwatch::alerts::{Subject, backoff};
use sessionwatch::change::{Cause, Event, Kind};
use sessionwatch::clock::Timestamp;
use sessionwatch::nodes::Known;
use sessionwatch::rules::{Occasion, RulesFile};
use sessionwatch::session::{Session, SessionId};

use crate::contract::{event, session};

fn file(more: &str) -> RulesFile {
    let text = format!(
        "[[notify]]\nname = \"ops\"\nkind = \"json\"\nurl = \"https://a.example/x\"\n{more}\n\
         [[notify]]\nname = \"other\"\nkind = \"slack\"\nurl = \"https://b.example/y\"\n"
    );
    RulesFile::parse(&text, Path::new(".")).unwrap()
}

/// A store in which a book is kept, so that each test also shows that a restart changes nothing.
#[derive(Default)]
struct Kept2 {
    notes: HashMap<String, String>,
    alerts: HashMap<String, Alert>,
}

impl Kept2 {
    fn settle(&mut self, settled: Settled) -> Vec<Alert> {
        for (key, value) in settled.notes {
            match value {
                Some(value) => self.notes.insert(key, value),
                None => self.notes.remove(&key),
            };
        }
        for alert in &settled.alerts {
            self.alerts.insert(alert.id.clone(), alert.clone());
        }
        settled.alerts
    }

    fn open(&self) -> Book {
        let waiting = self.alerts.values().filter(|alert| alert.state == State::Waiting);
        Book::open(Kept { notes: self.notes.clone().into_iter().collect(), alerts: waiting.cloned().collect() })
    }

    /// One tick of a server that was restarted before it.
    fn tick(
        &mut self,
        now: i64,
        file: &RulesFile,
        rows: Vec<Raised>,
        look: impl Fn(&str) -> Option<Look>,
    ) -> Vec<Alert> {
        let mut book = self.open();
        book.take(rows.into_iter().map(|row| (1, row)).collect(), file);
        book.end(Timestamp(now), look);
        book.gather(Timestamp(now), file);
        self.settle(book.changes())
    }
}

fn stale(seq: u64, id: &str, app: &str) -> Event {
    event(seq, Kind::Stale, Session { app: app.into(), id: SessionId::parse(id).unwrap(), ..session(id) })
}

fn is_stale(_: &str) -> Option<Look> {
    Some(Look { stale: true, last: Timestamp(0), ending: false })
}

fn titles(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.title.as_str()).collect()
}

#[test]
fn a_storm_is_one_alert_for_each_target_and_memory_stays_bounded() {
    let file = file("on = [\"stale\"]");
    let mut kept = Kept2::default();
    let events: Vec<Event> =
        (1..=10_000).map(|n| Event { at: Timestamp(1_000), ..stale(n, &format!("s{n}"), "risk") }).collect();
    let rows: Vec<Raised> = events.chunks(512).flat_map(|batch| arise(batch, &file, &Known::default())).collect();
    assert_eq!(rows.len(), 20, "one row for each commit");
    assert!(kept.tick(2_000, &file, rows, is_stale).is_empty(), "they are gathered");
    assert!(kept.tick(10_999, &file, Vec::new(), is_stale).is_empty());
    let alerts = kept.tick(11_000, &file, Vec::new(), is_stale);
    assert_eq!(titles(&alerts), ["10000 sessions of risk went stale"]);
    assert_eq!((alerts[0].count, alerts[0].subjects.len(), &*alerts[0].target), (10_000, 10, "ops"));
    assert!(kept.tick(99_000, &file, Vec::new(), is_stale).is_empty(), "once");
    // More than the book holds: the rest is left out, not kept.
    let more: Vec<Event> = (1..=30_000).map(|n| stale(n, &format!("t{n}"), "risk")).collect();
    kept.tick(99_000, &file, arise(&more, &file, &Known::default()), is_stale);
    assert_eq!(kept.notes.len(), 20_000);
}

#[test]
fn few_apps_are_told_apart_and_many_together() {
    let file = file("on = [{ occasion = \"stale\", group = \"0s\" }]");
    let of = |apps: u64| -> Vec<Event> { (1..=apps).map(|n| stale(n, &format!("s{n}"), &format!("app{n}"))).collect() };
    let alerts = Kept2::default().tick(9_000, &file, arise(&of(2), &file, &Known::default()), is_stale);
    assert_eq!(titles(&alerts), ["1 session of app1 went stale", "1 session of app2 went stale"]);
    assert_eq!(alerts[1].app_name.as_deref(), Some("app2"));
    let alerts = Kept2::default().tick(999_000, &file, arise(&of(300), &file, &Known::default()), is_stale);
    assert_eq!(titles(&alerts), ["300 sessions of 300 apps went stale"]);
    assert_eq!(alerts[0].app_name, None, "a token of one app does not see it");
}

#[test]
fn what_recovers_within_the_delay_is_not_told_and_a_recovery_is_told_only_of_what_was() {
    let file = file("on = [{ occasion = \"stale\", delay = \"1m\", group = \"1s\" }]");
    let mut kept = Kept2::default();
    let alive = |at| move |_: &str| Some(Look { stale: false, last: Timestamp(at), ending: false });
    let event = || Event { at: Timestamp(1_000), ..stale(1, "a", "risk") };
    let rows = || arise(&[event()], &file, &Known::default());
    assert!(kept.tick(1_000, &file, rows(), is_stale).is_empty());
    assert!(kept.tick(50_000, &file, Vec::new(), alive(40_000)).is_empty());
    assert!(kept.tick(90_000, &file, Vec::new(), is_stale).is_empty(), "called off");
    assert!(kept.notes.is_empty());
    assert!(kept.tick(1_000, &file, rows(), is_stale).is_empty());
    // After a restart no session is stale at first, and it has sent nothing either.
    assert!(kept.tick(50_000, &file, Vec::new(), alive(900)).is_empty());
    assert_eq!(titles(&kept.tick(62_000, &file, Vec::new(), alive(900))), ["1 session of risk went stale"]);
    assert!(kept.tick(63_000, &file, rows(), is_stale).is_empty(), "the same again is not told again");
    assert!(kept.tick(70_000, &file, Vec::new(), alive(69_000)).is_empty());
    let told = kept.tick(71_000, &file, Vec::new(), alive(69_000));
    assert_eq!((titles(&told), told[0].recovered), (vec!["1 session of risk came back"], true));
    assert!(kept.notes.is_empty(), "nothing is left");
}

#[test]
fn a_filter_and_an_occasion_choose_what_is_told() {
    let file = file("on = [\"failed\", { occasion = \"stale\", filter = \"app:risk\" }]");
    let failed = Event { cause: Some(Cause::Failed), ..event(3, Kind::Removed, session("f")) };
    let ended = event(4, Kind::Removed, session("e"));
    let events = [stale(1, "a", "shop"), stale(2, "b", "risk"), failed, ended];
    let rows = arise(&events, &file, &Known::default());
    let told: Vec<(Occasion, &str)> = rows
        .iter()
        .map(|row| match row {
            Raised::Alert(row) => (row.occasion, row.subjects[0].id.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(Occasion::Stale, "b"), (Occasion::Failed, "f")]);
    assert!(of_server(&file, "disk", "the disk is nearly full", Timestamp(1)).is_empty());
}

#[test]
fn a_rule_tells_the_targets_that_it_names() {
    let text = "[[rule]]\nname = \"idle\"\nwhen = \"app:risk\"\nthen = \"notify\"\nnotify = [\"other\"]\n";
    let rules = RulesFile::parse(
        &format!("{text}[[notify]]\nname = \"other\"\nkind = \"slack\"\nurl = \"https://b.example/y\"\n"),
        Path::new("."),
    )
    .unwrap();
    let rows = by_rule(&rules, &rules.rules[0], &session("a"), "ended", &Known::default(), Timestamp(1_000));
    let alerts = Kept2::default().tick(20_000, &rules, rows, is_stale);
    assert_eq!(titles(&alerts), ["rule idle: ended (1 session of risk)"]);
    assert_eq!((&*alerts[0].target, alerts[0].occasion), ("other", Occasion::Rule));
}

#[test]
fn an_unconfirmed_kill_is_told_once_and_its_end_too() {
    let file = file("on = [{ occasion = \"unconfirmed\", group = \"0s\" }]");
    let mut kept = Kept2::default();
    let ending = |_: &str| Some(Look { stale: false, last: Timestamp(0), ending: true });
    let rows = |at| {
        let found = of_session(
            &file,
            Occasion::Unconfirmed,
            &session("a"),
            &Subject::of(&session("a")),
            &Known::default(),
            Timestamp(at),
        );
        found.into_iter().map(Raised::Alert).collect()
    };
    assert_eq!(
        titles(&kept.tick(1_000, &file, rows(1_000), ending)),
        ["the end of 1 session of risk is not confirmed"]
    );
    assert!(kept.tick(6_000, &file, rows(6_000), ending).is_empty());
    assert_eq!(titles(&kept.tick(9_000, &file, Vec::new(), |_| None)), ["1 session of risk ended after all"]);
}

#[test]
fn an_absent_job_is_told_once_also_over_restarts_and_so_is_its_return() {
    let text = "[[notify]]\nname = \"ops\"\nkind = \"json\"\nurl = \"https://a.example/x\"\non = [{ occasion = \"absent\", group = \"0s\" }]\n\
                [[expect]]\napp = \"backup\"\nevery = \"24h\"\ngrace = \"1h\"\n";
    let file = RulesFile::parse(text, Path::new(".")).unwrap();
    let mut kept = Kept2::default();
    const HOUR: i64 = 3_600_000;
    let mut at = |hour: i64, rows: Vec<Raised>, last: Option<i64>| -> Vec<Alert> {
        let mut book = kept.open();
        book.take(rows.into_iter().map(|row| (1, row)).collect(), &file);
        book.expect(Timestamp(hour * HOUR), &file, |_| last.map(|hour| Timestamp(hour * HOUR)));
        book.gather(Timestamp(hour * HOUR), &file);
        kept.settle(book.changes())
    };
    assert!(at(100, Vec::new(), None).is_empty(), "from now on it is expected");
    assert!(at(125, Vec::new(), None).is_empty(), "within the grace");
    let told = at(126, Vec::new(), None);
    assert_eq!(titles(&told), ["backup was not seen in time"]);
    assert!(at(127, Vec::new(), None).is_empty() && at(500, Vec::new(), None).is_empty(), "once");
    let seen = Raised::Seen { app: "backup".to_owned(), at: Timestamp(501 * HOUR) };
    let told = at(501, vec![seen], None);
    assert_eq!((titles(&told), told[0].recovered), (vec!["backup was seen again"], true));
    assert!(at(527, Vec::new(), Some(520)).is_empty(), "a live session of it has beaten since");
    assert_eq!(at(546, Vec::new(), Some(520)).len(), 1);
}

#[test]
fn a_try_that_failed_is_repeated_for_a_day_and_then_given_up() {
    let file = file("");
    let mut book = Book::default();
    let id = "msg_1".to_owned();
    book.test("ops", id.clone(), Timestamp(0), &file);
    let refused = Answer { taken: false, text: "503 busy".to_owned() };
    let (mut now, mut tries) = (0, 0);
    while let Some(alert) = book.due("ops", Timestamp(now)).cloned() {
        assert_eq!(alert.id, id, "always the same id");
        tries += 1;
        book.answered(&id, &refused, Timestamp(now), 0.5);
        now = book.changes().alerts.last().unwrap().next_try.0;
    }
    assert!((24..48).contains(&tries), "{tries}");
    assert!(now > 23 * 3_600_000, "{now}");
    assert!(backoff(1, 0.0) >= Duration::from_millis(750) && backoff(60, 1.0) <= Duration::from_secs(4_500));
    let id = "msg_2".to_owned();
    book.test("ops", id.clone(), Timestamp(now), &file);
    book.answered(&id, &Answer { taken: true, text: "204".to_owned() }, Timestamp(now), 0.5);
    assert_eq!(book.changes().alerts[0].state, State::Delivered);
    book.test("gone", "msg_3".to_owned(), Timestamp(now), &file);
    assert_eq!(book.changes().alerts[0].state, State::Failed, "no such target");
}

#[test]
fn what_waits_for_a_dead_target_is_bounded() {
    let file = file("");
    let mut book = Book::default();
    let first = "msg_0000".to_owned();
    book.test("ops", first.clone(), Timestamp(0), &file);
    for at in 1..=1_000 {
        book.test("ops", format!("msg_{at:04}"), Timestamp(at), &file);
    }
    assert_eq!(book.waiting()["ops"], 1_000);
    let failed: Vec<Alert> = book.changes().alerts.into_iter().filter(|alert| alert.state == State::Failed).collect();
    assert_eq!((failed.len(), &failed[0].id), (1, &first), "the oldest goes");
}
