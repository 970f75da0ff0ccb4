//! What has to hold after each round.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::Value;
use sessionwatch::change::Kind;

use super::load::Load;
use super::rig::{Rig, SERVERS, STALE_AFTER};
use super::truth::{Answer, Known};
use crate::support::PATIENCE;
use crate::torture::dashboard::Screen;
use crate::torture::is_long;

/// How long the servers may take to show the same, once all of them run.
const SAME_WITHIN: Duration = Duration::from_secs(5);
/// A clock of one process may be read a little earlier than that of another.
const CLOCK_SLACK: i64 = 50;

/// A line of the log.
struct Line {
    seq: i64,
    at: i64,
    kind: String,
    id: String,
}

/// Waits until every server takes changes.
pub async fn all_take_changes(rig: &mut Rig, load: &Load) {
    let begun = Instant::now();
    for server in 0..SERVERS {
        while load.register(server).await.1 != Answer::Acknowledged {
            assert!(rig.all_live(), "a server has ended");
            assert!(begun.elapsed() < PATIENCE, "server {server} takes no changes");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Checks everything; the load has paused.
pub async fn check(rig: &Rig, load: &Load) {
    all_follow(rig, load).await;
    same_on_all(load).await;
    kills_have_closed(load).await;
    // What was shown is read before what there is: the sockets and the keeper go on.
    let shown: BTreeMap<String, (u64, BTreeSet<String>)> =
        load.truth.shown.lock().iter().map(|(epoch, shown)| (epoch.clone(), (shown.seq, shown.ids.clone()))).collect();
    let known = load.truth.known.lock().clone();
    let tables = Tables::read(rig).await;
    if let Some((seq, ids)) = shown.get(&tables.epoch) {
        assert!(*seq as i64 <= tables.head, "shown up to {seq}, and there is {}", tables.head);
        let log: HashSet<&str> = tables.log.iter().map(|line| line.id.as_str()).collect();
        let lost: Vec<&String> = ids.iter().filter(|id| !log.contains(id.as_str())).collect();
        assert!(lost.is_empty(), "shown, and not in the log: {lost:?}");
    }
    tables.are_one();
    let lives = tables.lives();
    acknowledged_is_there(&known, &lives);
    tables.none_stale_early(&known);
}

/// All servers and dashboards show in time what was committed before.
async fn all_follow(rig: &Rig, load: &Load) {
    // The short run may be on a busy machine.
    let within = if is_long("ROUNDS") { SAME_WITHIN } else { PATIENCE };
    let row = &rig.rows("SELECT cluster, seq FROM head").await[0];
    let (epoch, head): (String, i64) = (row.get(0), row.get(1));
    let begun = Instant::now();
    loop {
        let asked = (0..SERVERS).map(|server| load.ask(server, Method::GET, "/sessions?limit=1", None));
        let answers = join_all(asked).await.into_iter().flatten();
        let mut positions: Vec<(String, u64)> = answers
            .map(|(_, body)| (body["epoch"].as_str().unwrap_or_default().to_owned(), body["seq"].as_u64().unwrap_or(0)))
            .collect();
        let screens = load.screens.iter().map(|screen| {
            let screen = screen.lock();
            (screen.epoch.clone(), screen.seq)
        });
        positions.extend(screens);
        let follows = |(its, seq): &(String, u64)| *its == epoch && *seq as i64 >= head;
        if positions.len() == SERVERS + load.screens.len() && positions.iter().all(follows) {
            return;
        }
        assert!(begun.elapsed() < within, "not at {epoch}, {head} within {within:?}: {positions:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All servers and dashboards show the same at one position.
async fn same_on_all(load: &Load) {
    let begun = Instant::now();
    loop {
        let asked = (0..SERVERS).map(|server| load.ask(server, Method::GET, "/sessions", None));
        let answers = join_all(asked).await.into_iter().flatten();
        let lists: Vec<Screen> =
            answers.filter(|(status, _)| *status == 200).map(|(_, body)| comparable(Screen::of(&body))).collect();
        let screens: Vec<Screen> = load.screens.iter().map(|screen| comparable(screen.lock().clone())).collect();
        if lists.len() == SERVERS && lists.iter().chain(&screens).all(|screen| screen.shows(&lists[0])) {
            return;
        }
        // Longer, since the keeper goes on, and a moment is needed in which nothing changes.
        if begun.elapsed() > PATIENCE {
            let at = |screen: &Screen| (screen.epoch.clone(), screen.seq, screen.sessions.len());
            let differing = lists.iter().chain(&screens).find(|screen| screen.sessions != lists[0].sessions);
            let example = differing.and_then(|other| first_difference(&lists[0], other));
            panic!(
                "never the same at one position: lists {:?}, dashboards {:?}; {example:?}",
                lists.iter().map(at).collect::<Vec<_>>(),
                screens.iter().map(at).collect::<Vec<_>>()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn first_difference(one: &Screen, other: &Screen) -> Option<String> {
    let ids: BTreeSet<&String> = one.sessions.keys().chain(other.sessions.keys()).collect();
    let differs = ids.into_iter().find(|id| one.sessions.get(*id) != other.sessions.get(*id))?;
    Some(format!("{:?} and {:?}", one.sessions.get(differs), other.sessions.get(differs)))
}

/// Without what is of the moment of the question, and of the beats.
fn comparable(mut screen: Screen) -> Screen {
    for session in screen.sessions.values_mut() {
        let fields = session.as_object_mut().expect("a session");
        fields.remove("last_heartbeat");
        fields.remove("duration_seconds");
    }
    screen
}

/// Every client whose kill was acknowledged has seen it.
async fn kills_have_closed(load: &Load) {
    let begun = Instant::now();
    loop {
        let waiting = |known: &Known| known.has_socket && known.killed == Some(Answer::Acknowledged) && !known.saw_kill;
        let open: Vec<String> =
            load.truth.known.lock().iter().filter(|(_, known)| waiting(known)).map(|(id, _)| id.clone()).collect();
        if open.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "killed, and not closed: {open:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The tables at one position.
struct Tables {
    epoch: String,
    head: i64,
    log: Vec<Line>,
    feed: Vec<(i64, i64, Vec<Value>)>,
    /// The version of each row, and its body.
    sessions: HashMap<String, (i64, Value)>,
}

impl Tables {
    /// In one statement, so that all is of one position.
    async fn read(rig: &Rig) -> Self {
        let rows = rig
            .rows(
                "SELECT 'head', cluster, seq, 0::bigint, '' FROM head
                 UNION ALL SELECT 'log:' || kind, session_id, seq, at, coalesce(cause, '') FROM events
                 UNION ALL SELECT 'feed', '', first_seq, last_seq, convert_from(body, 'UTF8') FROM feed
                 UNION ALL SELECT 'session', session_id, version, 0, body FROM sessions ORDER BY 3, 4",
            )
            .await;
        let mut tables =
            Self { epoch: String::new(), head: 0, log: Vec::new(), feed: Vec::new(), sessions: HashMap::new() };
        for row in rows {
            let (what, text, one, other, body): (String, String, i64, i64, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
            match what.as_str() {
                "head" => (tables.epoch, tables.head) = (text, one),
                "feed" => tables.feed.push((one, other, serde_json::from_str(&body).expect("events"))),
                "session" => {
                    tables.sessions.insert(text, (one, serde_json::from_str(&body).expect("a session")));
                }
                log => {
                    let kind = log.trim_start_matches("log:").to_owned();
                    tables.log.push(Line { seq: one, at: other, kind, id: text });
                }
            }
        }
        tables
    }

    /// The log, the feed and the sessions tell the same.
    fn are_one(&self) {
        let Some((first, _, _)) = self.feed.first() else { panic!("the feed has its last commit") };
        let mut position = first - 1;
        let mut told = Vec::new();
        let mut last: HashMap<&str, (&str, i64, &Value)> = HashMap::new();
        for (first, to, events) in &self.feed {
            assert_eq!(*first, position + 1, "a hole or a double in the feed");
            for event in events {
                position += 1;
                assert_eq!(event["seq"].as_i64(), Some(position), "a hole or a double in a commit");
                let kind = event["kind"].as_str().expect("a kind");
                let id = event["session"]["id"].as_str().expect("an id");
                let known = Kind::parse(kind).expect("a kind");
                if known.is_logged() {
                    told.push((position, kind, id));
                }
                if known.changes_session() {
                    last.insert(id, (kind, position, &event["session"]));
                }
            }
            assert_eq!(*to, position, "a commit is as long as it says");
        }
        assert_eq!(position, self.head, "the feed leads to the head");
        let logged: Vec<(i64, &str, &str)> = self
            .log
            .iter()
            .filter(|line| line.seq >= *first)
            .map(|line| (line.seq, line.kind.as_str(), line.id.as_str()))
            .collect();
        assert!(told == logged, "the feed and the log differ: {:?}", told.iter().zip(&logged).find(|(a, b)| a != b));
        for (id, (kind, seq, session)) in last {
            match self.sessions.get(id) {
                Some((version, body)) => {
                    assert_ne!(kind, "removed", "{id} was removed and is there");
                    assert_eq!((*version, body), (seq, session), "the row of {id} is not its last version");
                }
                None => assert_eq!(kind, "removed", "{id} was not removed and is away"),
            }
        }
    }

    /// Follows each id through the log: no line may be there that does not fit to those before it.
    fn lives(&self) -> HashMap<&str, Life> {
        let mut lives: HashMap<&str, Life> = HashMap::new();
        for line in &self.log {
            let life = lives.entry(&line.id).or_default();
            let fits = match line.kind.as_str() {
                "registered" => !std::mem::replace(&mut life.is_live, true),
                "removed" => std::mem::replace(&mut life.is_live, false),
                "stale" => life.is_live && !std::mem::replace(&mut life.is_stale, true),
                "recovered" => life.is_live && std::mem::replace(&mut life.is_stale, false),
                "kill_requested" => life.is_live && !std::mem::replace(&mut life.is_killed, true),
                "kill_delivered" => life.is_killed && !std::mem::replace(&mut life.is_delivered, true),
                "kill_acknowledged" => life.is_killed && !std::mem::replace(&mut life.is_acknowledged, true),
                _ => life.is_live,
            };
            assert!(fits, "line {} ({} of {}) is there twice or in the wrong place", line.seq, line.kind, line.id);
            if line.kind == "removed" {
                *life = Life {
                    was_registered: true,
                    was_removed: true,
                    was_killed: life.was_killed || life.is_killed,
                    ..Life::default()
                };
            }
            life.was_registered |= line.kind == "registered";
        }
        let live: BTreeSet<&str> = lives.iter().filter(|(_, life)| life.is_live).map(|(id, _)| *id).collect();
        let rows: BTreeSet<&str> = self.sessions.keys().map(String::as_str).collect();
        assert!(live == rows, "the log and the sessions differ: {:?}", live.symmetric_difference(&rows).next());
        for (id, life) in &mut lives {
            life.task = self.sessions.get(*id).and_then(|(_, body)| body["task"].as_str()).map(str::to_owned);
        }
        lives
    }

    /// Who was heard less than `stale_after` ago was not marked as stale, nor expired.
    fn none_stale_early(&self, known: &HashMap<String, Known>) {
        for line in self.log.iter().filter(|line| line.kind == "stale") {
            let Some(known) = known.get(&line.id) else { continue };
            let last = known.lives.iter().filter(|at| **at <= line.at).max().copied().unwrap_or(0);
            let silent = line.at - last;
            assert!(
                silent + CLOCK_SLACK >= STALE_AFTER.as_millis() as i64,
                "{} was marked as stale (seq {}) after {silent} ms",
                line.id,
                line.seq
            );
        }
    }
}

/// What the log says of an id.
#[derive(Debug, Default)]
struct Life {
    is_live: bool,
    is_stale: bool,
    is_killed: bool,
    is_delivered: bool,
    is_acknowledged: bool,
    was_registered: bool,
    was_removed: bool,
    was_killed: bool,
    task: Option<String>,
}

fn acknowledged_is_there(known: &HashMap<String, Known>, lives: &HashMap<&str, Life>) {
    let nothing = Life::default();
    for (id, known) in known {
        let life = lives.get(id.as_str()).unwrap_or(&nothing);
        let agrees = |answer: Option<Answer>, is_there: bool| match answer {
            Some(Answer::Acknowledged) => is_there,
            // It may not have taken effect unsaid.
            Some(Answer::Refused) => !is_there,
            Some(Answer::Unknown) | None => true,
        };
        assert!(agrees(known.registered, life.was_registered), "the registration of {id}: {known:?}, {life:?}");
        assert!(agrees(known.killed, life.is_killed || life.was_killed), "the kill of {id}: {known:?}, {life:?}");
        // Other ends are possible: a kill, and silence.
        if known.ended == Some(Answer::Acknowledged) {
            assert!(life.was_removed, "the end of {id}: {known:?}, {life:?}");
        }
        if life.is_live && known.ended.is_none() && !known.tasks.is_empty() {
            let has = life.task.clone().unwrap_or_default();
            assert!(known.tasks.contains(&has), "the task of {id}: {known:?}, {life:?}");
        }
    }
}
