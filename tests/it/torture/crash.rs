//! SIGKILL under many writers: afterwards all acknowledged changes are there, and no others.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::model::{Ask, Life, Log, Model};
use super::{Dice, count};
use crate::support::Server;

/// The ids that one writer uses at a time.
const IDS: u64 = 4;

/// One writer's ids with their acknowledged states, and its last request without an answer.
#[derive(Default)]
struct Writer {
    models: HashMap<String, Model>,
    in_doubt: Option<(String, Ask)>,
}

/// The number of SIGKILLs per database.
const KILLS_EACH: usize = 100;

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_nothing_is_invented() {
    let (kills, writers) = (count("KILLS", 50), count("WRITERS", 16));
    let mut dice = Dice::new();
    let mut acknowledged = 0;
    for begun in (0..kills).step_by(KILLS_EACH) {
        acknowledged += kill_again_and_again(KILLS_EACH.min(kills - begun), writers, &mut dice).await;
    }
    assert!(acknowledged > kills as u64 * 10, "there was something to lose: {acknowledged}");
    println!("{kills} SIGKILLs under {writers} writers: {acknowledged} acknowledged changes, 0 lost, 0 invented");
}

/// Returns the number of acknowledged changes.
async fn kill_again_and_again(kills: usize, writers: usize, dice: &mut Dice) -> u64 {
    let mut server = Server::start(&[]).await;
    let mut all = HashMap::new();
    let mut acknowledged = 0;
    for round in 0..kills {
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let (client, url) = (server.client.clone(), server.url.clone());
                tokio::spawn(write(client, url, format!("r{round}-w{writer}"), dice.fork()))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(10 + dice.below(120))).await;
        server = server.kill9_and_restart().await;
        let stored = Stored::read(&server.db, &format!("r{round}-"));
        let live = live(&server).await;
        for task in tasks {
            let writer = task.await.expect("a writer fails only by its asserts");
            acknowledged += writer.models.values().map(|model| model.log.lines()).sum::<u64>();
            for (id, model) in writer.models {
                let mut allowed = vec![model];
                if let Some((_, ask)) = writer.in_doubt.as_ref().filter(|(doubtful, _)| *doubtful == id) {
                    allowed.push(model.after(*ask).0);
                }
                let (life, log) = (stored.life(&id, live.get(&id)), stored.log(&id));
                let found = Model { life, log, since: Duration::ZERO };
                assert!(allowed.contains(&found), "{id} in round {round}: found {found:?}, may be one of {allowed:?}");
                all.insert(id, found.life);
            }
        }
        // There is no session that no writer registered, and those of earlier rounds are unchanged.
        for id in live.keys() {
            assert!(matches!(all.get(id), Some(Life::Live { .. })), "{id} was invented, or came back");
        }
        let lost = all.iter().find(|(id, life)| matches!(life, Life::Live { .. }) && !live.contains_key(*id));
        assert_eq!(lost, None, "lost in round {round}");
    }
    let check: String = open(&server.db).query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
    acknowledged
}

/// Requests one change after another until the server is killed; compares each answer with
/// the model.
async fn write(client: reqwest::Client, url: String, name: String, mut dice: Dice) -> Writer {
    let mut writer = Writer::default();
    for step in 0.. {
        let id = format!("{name}-{}", step / 40 * IDS + dice.below(IDS));
        let model = writer.models.get(&id).copied().unwrap_or_default();
        let ask = match (model.life, dice.below(10)) {
            (Life::Unknown, _) => Ask::Register,
            (_, 0 | 1) => Ask::Kill,
            (_, 2) => Ask::Delete,
            (_, 3) => Ask::Beat,
            _ => Ask::Status(step),
        };
        let (method, path, body) = match ask {
            Ask::Register => (Method::POST, "/sessions".to_owned(), json!({ "app_name": "torture", "session_id": id })),
            Ask::Status(task) => {
                let body = json!({ "status": "running", "current_task": task.to_string() });
                (Method::PUT, format!("/sessions/{id}/status"), body)
            }
            Ask::Beat => (Method::POST, format!("/sessions/{id}/heartbeat"), json!({})),
            Ask::Kill => (Method::POST, format!("/sessions/{id}/kill"), json!({ "reason": "torture" })),
            Ask::Delete => (Method::DELETE, format!("/sessions/{id}"), json!({})),
        };
        writer.models.entry(id.clone()).or_default();
        let asked = client.request(method, format!("{url}{path}")).json(&body).send().await;
        let Ok(response) = asked else {
            writer.in_doubt = Some((id, ask));
            break;
        };
        let (after, answer) = model.after(ask);
        assert_eq!(response.status().as_u16(), answer, "{ask:?} of {id}, {model:?}");
        // The status acknowledges the change; the body may be cut off.
        writer.models.insert(id, after);
    }
    writer
}

async fn live(server: &Server) -> HashMap<String, Value> {
    let listed = server.get("/sessions").await;
    let sessions = listed["sessions"].as_array().expect("sessions").iter();
    sessions.map(|session| (session["session_id"].as_str().expect("an id").to_owned(), session.clone())).collect()
}

fn open(db: &Path) -> Connection {
    Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens")
}

/// Reads the ids of a round from the database file.
struct Stored {
    logs: HashMap<String, Log>,
    graves: Vec<String>,
}

impl Stored {
    fn read(db: &Path, prefix: &str) -> Self {
        let connection = open(db);
        let pattern = format!("{prefix}%");
        let mut logs: HashMap<String, Log> = HashMap::new();
        let mut lines = connection.prepare("SELECT session_id, kind FROM events WHERE session_id LIKE ?1").unwrap();
        let lines = lines.query_map([&pattern], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        for (id, kind) in lines.unwrap().map(Result::unwrap) {
            logs.entry(id).or_default().add(&kind);
        }
        let mut graves = connection.prepare("SELECT session_id FROM tombstones WHERE session_id LIKE ?1").unwrap();
        let graves = graves.query_map([&pattern], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        Self { logs, graves }
    }

    fn log(&self, id: &str) -> Log {
        self.logs.get(id).copied().unwrap_or_default()
    }

    fn life(&self, id: &str, live: Option<&Value>) -> Life {
        let killed = self.graves.iter().any(|grave| grave == id);
        match live {
            Some(session) => {
                assert!(!killed, "{id} lives and is killed");
                let task = session["current_task"].as_str().and_then(|task| task.parse().ok());
                Life::Live { task, asked_to_end: session["kill_requested"] == true }
            }
            None if killed => Life::Killed,
            None => Life::Unknown,
        }
    }
}
