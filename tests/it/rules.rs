//! Rules: they warn, end, are called off, are stopped by their limit, and never act twice, also after a restart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sessionwatch::backend::Backend;
use sessionwatch::backend::sqlite::Sqlite;
use sessionwatch::change::{Actor, Authority, Cause, Report};
use sessionwatch::clock::Clock;
use sessionwatch::log::{Entry, Query};
use sessionwatch::monitor::Monitor;
use sessionwatch::rehearsal::Act;
use sessionwatch::rules::Rule;
use sessionwatch::session::Status;

use crate::support::{Server, until};
use crate::torture::inside::{id, registration, start};

const IDLE: &str = r#"
[[rule]]
name = "idle desks"
when = "app:torture idle:>2h -user:root"
warn = "You will be signed out in 5 minutes unless you go on."
grace = "5m"
then = "kill"
reason = "idle for two hours"
limit = "3 per 10m"
"#;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// A monitor on a real database with a clock of its own; it can be started anew.
struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
    monitor: Option<Arc<Monitor>>,
}

async fn open(folder: &Path, clock: &Clock) -> Arc<Monitor> {
    let store: Arc<dyn Backend> = Arc::new(Sqlite::open(&folder.join("s.db")).await.expect("it opens"));
    let monitor = start(store, clock).await;
    let rules = folder.join("rules.toml");
    monitor.rules().open(&rules, monitor.now()).expect("the rules are read");
    monitor
}

impl Place {
    async fn new(rules: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("rules.toml"), rules).expect("a file");
        let clock = Clock::manual();
        let monitor = open(folder.path(), &clock).await;
        clock.advance(Duration::from_millis(1));
        Self { folder, clock, monitor: Some(monitor) }
    }

    fn monitor(&self) -> &Monitor {
        self.monitor.as_deref().expect("it runs")
    }

    /// Ends the server, and starts another one on the same database.
    async fn restart(&mut self) {
        self.monitor().shutdown().await;
        // The database is free when the last reference is gone.
        self.monitor = None;
        self.monitor = Some(open(self.folder.path(), &self.clock).await);
        // Sessions that were not heard of since the start get their time first.
        self.clock.advance(Duration::from_millis(1));
        self.beat("a").await;
    }

    async fn add(&self, name: &str) {
        self.monitor().register(registration(&id(name))).await.expect("it registers");
    }

    async fn beat(&self, name: &str) {
        let _ = self.monitor().heartbeat(name, None, Authority::Server).await;
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.monitor().judge().await;
    }

    async fn log(&self) -> Vec<Entry> {
        let kinds = ["warned", "stayed", "kill_requested"].map(str::to_owned).to_vec();
        let query = Query { kinds, limit: 1_000, oldest_first: true, ..Query::default() };
        self.monitor().events(query).await.expect("the log")
    }

    async fn kinds(&self) -> Vec<String> {
        self.log().await.into_iter().map(|entry| format!("{} {}", entry.session_id, entry.kind)).collect()
    }

    fn due(&self, name: &str) -> usize {
        sessionwatch::marks::due(self.monitor().session(name).expect("a session").marks()).len()
    }
}

#[tokio::test]
async fn a_rule_warns_and_ends_once_also_over_restarts_at_every_step() {
    let mut place = Place::new(IDLE).await;
    place.add("a").await;
    place.pass(HOUR).await;
    place.restart().await;
    place.monitor().judge().await;
    assert!(place.kinds().await.is_empty(), "an hour is not two");
    place.pass(HOUR).await;
    assert_eq!(place.kinds().await, ["a warned"]);
    for _ in 0..3 {
        place.pass(MINUTE).await;
        place.restart().await;
        place.monitor().judge().await;
    }
    assert_eq!(place.kinds().await, ["a warned"], "nobody is warned twice");
    assert_eq!(place.due("a"), 1);
    place.pass(2 * MINUTE).await;
    assert_eq!(place.kinds().await, ["a warned", "a kill_requested"]);
    place.restart().await;
    place.pass(HOUR).await;
    assert_eq!(place.kinds().await, ["a warned", "a kill_requested"]);
    let log = place.log().await;
    assert_eq!(log[0].by.as_deref(), Some("rule idle desks"));
    assert_eq!(log[0].details.text.as_deref(), Some("You will be signed out in 5 minutes unless you go on."));
    assert_eq!(log[1].reason.as_deref(), Some("idle for two hours"));
    place.monitor().shutdown().await;
}

#[tokio::test]
async fn who_works_again_or_stays_is_not_ended() {
    let mut place = Place::new(IDLE).await;
    place.add("a").await;
    place.pass(2 * HOUR + MINUTE).await;
    let working = Report { status: Some(Status::Running), ..Report::default() };
    place.monitor().report(id("a"), working, Authority::Server).await.expect("a report");
    place.pass(10 * MINUTE).await;
    assert_eq!(place.kinds().await, ["a warned", "a stayed"], "no longer true: called off");
    assert_eq!(place.log().await[1].reason.as_deref(), Some("no longer matches"));

    let idle = Report { status: Some(Status::Idle), ..Report::default() };
    place.monitor().report(id("a"), idle, Authority::Server).await.expect("a report");
    place.pass(2 * HOUR + MINUTE).await;
    assert_eq!(place.due("a"), 1);
    let called_off = place.monitor().stay(id("a"), Actor::default(), Authority::Server).await.expect("it stays");
    assert_eq!(called_off.len(), 1);
    assert!(place.monitor().stay(id("a"), Actor::default(), Authority::Server).await.expect("again").is_empty());
    place.restart().await;
    place.pass(HOUR).await;
    assert_eq!(place.kinds().await.len(), 4, "staying counts as activity");
    place.pass(HOUR).await;
    assert_eq!(place.kinds().await[4], "a warned", "and after two more hours it begins again");
    place.pass(5 * MINUTE).await;
    assert_eq!(place.kinds().await[5], "a kill_requested");
    place.monitor().shutdown().await;
}

#[tokio::test]
async fn the_limit_stops_a_rule_until_it_is_released_also_after_a_restart() {
    let mut place = Place::new(IDLE).await;
    for n in 0..10 {
        place.add(&format!("s{n}")).await;
    }
    place.pass(2 * HOUR + MINUTE).await;
    assert_eq!(place.kinds().await.len(), 3);
    let done = || place.monitor().rules_done()[0].1.clone();
    assert!(done().braked.is_some());
    assert_eq!(done().warned, 3);
    place.pass(6 * MINUTE).await;
    assert_eq!(place.kinds().await.len(), 3, "a stopped rule ends nobody");
    place.restart().await;
    place.pass(3 * MINUTE).await;
    assert_eq!(place.kinds().await.len(), 6, "those that it warned are ended, and others are not begun");
    assert!(place.monitor().rules_done()[0].1.braked.is_some(), "what it did before the restart counts");
    place.monitor().release_rule("idle desks").await.expect("there is such a rule");
    assert!(place.monitor().release_rule("other").await.is_err());
    place.pass(MINUTE).await;
    assert_eq!(place.kinds().await.len(), 9);
    place.monitor().shutdown().await;
}

#[tokio::test]
async fn a_session_that_nobody_has_heard_of_since_the_start_gets_its_time() {
    let rules = "[[rule]]\nname = \"silent\"\nwhen = \"silent:>90s\"\nthen = \"kill\"\n";
    let mut place = Place::new(rules).await;
    place.add("a").await;
    place.add("b").await;
    place.clock.advance(Duration::from_secs(60));
    place.restart().await;
    place.pass(Duration::from_secs(80)).await;
    assert!(place.kinds().await.is_empty(), "how long it was silent before is not known");
    place.beat("a").await;
    place.pass(Duration::from_secs(80)).await;
    assert_eq!(place.kinds().await, ["b kill_requested"]);
    place.pass(Duration::from_secs(20)).await;
    assert_eq!(place.kinds().await, ["b kill_requested", "a kill_requested"]);
    place.monitor().shutdown().await;
}

/// A server with a rules file of this text.
async fn server(rules: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("rules.toml");
    fs::write(&path, rules).expect("a file");
    (Server::start(&["--rules", path.to_str().expect("UTF-8")]).await, folder)
}

#[tokio::test]
async fn a_client_is_warned_over_its_socket_and_may_stay() {
    let rules = "[[rule]]\nname = \"long\"\nwhen = \"app:desk age:>1s\"\nwarn = \"Save your work.\"\ngrace = \"3s\"\n\
                 then = \"kill\"\nreason = \"too long\"\n";
    let (server, _folder) = server(rules).await;
    let mut sockets = Vec::new();
    for name in ["stays", "goes"] {
        let mut socket = server.socket("/ws/client", &[]).await;
        socket.send(json!({ "type": "register", "app_name": "desk", "session_id": name })).await;
        socket.next_of("registered").await;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        let warning = socket.next_of("message").await;
        assert_eq!((&warning["level"], &warning["rule"]), (&json!("warning"), &json!("long")));
        assert_eq!((&warning["text"], &warning["by"]), (&json!("Save your work."), &json!("rule long")));
        assert!(warning["ends_at"].is_string(), "{warning}");
    }
    let due = server.get("/sessions/stays").await["due"].clone();
    assert_eq!((&due[0]["rule"], &due[0]["action"]), (&json!("long"), &json!("kill")));
    sockets[0].send(json!({ "type": "stay" })).await;
    assert_eq!(sockets[1].next_of("kill").await["reason"], "too long");
    until("it is called off", async || server.get("/sessions/stays").await["due"] == json!([])).await;
    let told = server.get("/rules").await;
    let rule = &told["rules"][0];
    assert_eq!((&rule["name"], &rule["limit"], &told["keeper"]), (&json!("long"), &json!("20 per 10m"), &json!(true)));
    until("it is counted", async || {
        let rule = server.get("/rules").await["rules"][0].clone();
        (&rule["warned"], &rule["ended"], &rule["braked"]) == (&json!(2), &json!(1), &Value::Null)
    })
    .await;
    let forged = server.ask(Method::POST, "/sessions/stays/kill", Some(json!({ "by": "rule long" }))).await;
    assert_eq!(forged.0, 422, "nobody else is named like a rule");
    assert_eq!(server.get("/sessions/stays").await["kill_requested"], false);
}

#[tokio::test]
async fn who_may_stay_and_see_the_rules() {
    let rules = "[[rule]]\nname = \"all\"\nwhen = \"app:desk\"\ngrace = \"1h\"\nthen = \"kill\"\n";
    let (server, _folder) = server(rules).await;
    let made = server.post("/sessions", json!({ "app_name": "desk", "session_id": "d" })).await;
    until("it is due", async || server.get("/sessions/d").await["due"] != json!([])).await;
    let wrong = json!({ "session_token": "wrong" });
    assert_eq!(server.ask(Method::POST, "/sessions/d/stay", Some(wrong)).await.0, 403);
    assert_eq!(server.ask(Method::POST, "/sessions/nobody/stay", None).await.0, 404);
    let own = json!({ "session_token": made["session_token"] });
    let (status, told) = server.ask(Method::POST, "/sessions/d/stay", Some(own)).await;
    assert_eq!((status.as_u16(), told), (200, json!({ "status": "stays", "called_off": ["all"] })));
    assert_eq!(server.ask(Method::POST, "/rules/all/release", None).await.0, 200);
    assert_eq!(server.ask(Method::POST, "/rules/none/release", None).await.0, 422);
}

/// A number below `most` out of a sequence that depends on the seed alone.
fn dice(seed: &mut u64, most: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % most
}

/// Twelve hours of people who come, work and go; the rules are judged every minute.
async fn history(place: &Place, mut seed: u64) {
    let mut live: Vec<String> = Vec::new();
    let mut made = 0;
    for _ in 0..12 * 60 {
        place.pass(MINUTE).await;
        for _ in 0..dice(&mut seed, 3) {
            let one = dice(&mut seed, live.len().max(1) as u64) as usize;
            match dice(&mut seed, 12) {
                0 if live.len() < 25 => {
                    live.push(format!("s{made}"));
                    place.add(&format!("s{made}")).await;
                    made += 1;
                }
                1 if !live.is_empty() && dice(&mut seed, 4) == 0 => {
                    let gone = id(&live.swap_remove(one));
                    let removed = place.monitor().remove(gone, Cause::Ended, Actor::default(), Authority::Server);
                    removed.await.expect("it is removed");
                }
                n @ 8..=9 if !live.is_empty() => {
                    let silent = if n == 8 { Duration::ZERO } else { MINUTE };
                    let report = Report { no_input_for: Some(silent), ..Report::default() };
                    let told = place.monitor().report(id(&live[one]), report, Authority::Server);
                    told.await.expect("a report");
                }
                n if n > 9 && !live.is_empty() => {
                    let status = if n == 10 { Status::Running } else { Status::Idle };
                    let task = (n == 10).then(|| format!("task {}", dice(&mut seed, 3)).into());
                    let report = Report { status: Some(status), task: Some(task), ..Report::default() };
                    let told = place.monitor().report(id(&live[one]), report, Authority::Server);
                    told.await.expect("a report");
                }
                _ => {}
            }
        }
        place.monitor().judge().await;
    }
}

#[tokio::test]
async fn a_rehearsal_tells_what_the_rule_then_does() {
    let texts = [
        IDLE.replace("idle:>2h", "idle:>=2h"),
        IDLE.replace("idle:>2h", "idle:>=10m").replace("3 per 10m", "500 per 10m"),
        IDLE.replace("idle:>2h", "busy:>=20m")
            .replace("5m\"", "0s\"")
            .replace("warn ", "# ")
            .replace("3 per", "99 per"),
        IDLE.replace("idle:>2h", "status:running age:1h..4h").replace("3 per 10m", "2 per 5m"),
    ];
    let mut all = 0;
    for (text, seed) in texts.iter().zip([1_u64, 2, 3, 4]) {
        let before = Place::new("").await;
        history(&before, seed).await;
        assert!(before.kinds().await.is_empty());
        let since = before.monitor().now().minus(24 * HOUR);
        let rule = Rule::parse(text).expect("a rule");
        let (would, _) = before.monitor().rehearse(rule, since).await.expect("a rehearsal");
        let acts = |acts: &[Act]| acts.iter().map(|act| (act.at, act.session_id.clone())).collect::<BTreeSet<_>>();

        let then = Place::new(text).await;
        history(&then, seed).await;
        let log = then.log().await;
        let did = |kind: &str| {
            let own = log.iter().filter(|entry| entry.kind == kind);
            own.map(|entry| (entry.at, entry.session_id.clone())).collect::<BTreeSet<_>>()
        };
        assert_eq!(acts(&would.warned), did("warned"), "{text}");
        assert_eq!(acts(&would.ended), did("kill_requested"), "{text}");
        assert_eq!(would.called_off, did("stayed").len(), "{text}");
        let done = then.monitor().rules_done()[0].1.clone();
        assert_eq!(would.braked, done.braked, "{text}");
        assert_eq!((would.ended_count, would.unknown), (done.ended as usize, 0), "{text}");
        all += would.ended_count;
        before.monitor().shutdown().await;
        then.monitor().shutdown().await;
    }
    assert!(all > 30, "{all} sessions were ended");
}

#[tokio::test]
async fn a_rehearsal_over_http_changes_nothing_and_refuses_what_it_cannot_tell() {
    let server = Server::start(&[]).await;
    server.post("/sessions", json!({ "app_name": "desk", "session_id": "d", "status": "running" })).await;
    let ask = async |rule: &str| {
        server.ask(Method::POST, "/rules/rehearse", Some(json!({ "rule": rule, "since": "7d" }))).await
    };
    let rule = |when: &str| format!("[[rule]]\nname = \"r\"\nwhen = '{when}'\nthen = \"kill\"\nnotify = [\"ops\"]\n");
    let (status, told) = ask(&rule("app:desk")).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!((&told["ended_count"], &told["tasks_cut"], &told["name"]), (&json!(1), &json!(1), &json!("r")));
    assert_eq!(told["ended"][0]["session_id"], "d");
    assert_eq!(server.get("/sessions/d").await["kill_requested"], false);
    let (status, told) = ask(&rule("silent:>5m")).await;
    assert_eq!(status, 422);
    assert!(told["detail"].as_str().expect("a detail").contains("heartbeats"), "{told}");
    for wrong in ["", "[[rule]]", &rule("app:"), "[[notify]]\nname='x'\nkind='json'\nsecret_file='/etc/passwd'\n"] {
        assert_eq!(ask(wrong).await.0, 422, "{wrong}");
    }
}

#[tokio::test]
async fn the_command_line_rehearses_each_rule_of_a_file() {
    let (server, folder) = server("").await;
    server.post("/sessions", json!({ "app_name": "desk", "session_id": "d", "user_id": "ana" })).await;
    let path = folder.path().join("new.toml");
    let rules = "[[rule]]\nname = \"one\"\nwhen = 'app:desk'\nthen = \"kill\"\n\n[[rule]]\nname = \"two\"\nwhen = 'app:none'\nthen = \"kill\"\n";
    fs::write(&path, rules).expect("a file");
    let run = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sessionwatch"));
        command.args(["rules", "rehearse", "--server", &server.url]).arg(&path).args(more);
        let output = command.output().await.expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (done, told) = run(&["--since", "7d"]).await;
    assert!(done && told.contains("one: since") && told.contains("ended 1, cut off 0"), "{told}");
    assert!(told.contains("  ended   desk  ana  –  d\n") && told.contains("two: since"), "{told}");
    let (done, told) = run(&["--rule", "two", "--json"]).await;
    let told: Value = serde_json::from_str(&told).expect("one line of JSON");
    assert!(done && told["name"] == "two" && told["ended_count"] == 0, "{told}");
    assert!(!run(&["--rule", "three"]).await.0);
}
