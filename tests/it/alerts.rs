//! Alerts of real servers to real targets: signatures, chats, targets that are down,
//! addresses that are refused, SIGKILLs, and a keeper that dies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use sessionwatch::delivery::is_public;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::{Server, until};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a target was sent.
#[derive(Clone)]
pub struct Post {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Post {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }
}

/// A target: a real HTTP server on this machine.
#[derive(Clone)]
pub struct Target {
    posts: Arc<Mutex<Vec<Post>>>,
    answer: Arc<Mutex<u16>>,
    /// Where a redirect leads.
    elsewhere: Arc<Mutex<String>>,
    port: u16,
}

impl Target {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Self {
            posts: Arc::default(),
            answer: Arc::new(Mutex::new(204)),
            elsewhere: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let app = axum::Router::new().fallback(take).with_state(target.clone());
        tokio::spawn(async move { axum_serve(listener, app).await });
        target
    }

    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook/T0PSECRET?key=K3Y", self.port)
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().clone()
    }

    pub async fn has(&self, count: usize) -> Vec<Post> {
        until("the target was told", || async { self.posts().len() >= count }).await;
        self.posts()
    }
}

async fn take(
    State(target): State<Target>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    target.posts.lock().push(Post { path: uri.to_string(), headers, body });
    let status = StatusCode::from_u16(*target.answer.lock()).unwrap();
    (status, [("location", target.elsewhere.lock().clone())], "no T0PSECRET here")
}

/// `axum::serve` without its feature: one task for each connection.
async fn axum_serve(listener: TcpListener, app: axum::Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(app.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

/// A folder with a rules file.
pub struct Rules(tempfile::TempDir);

impl Rules {
    pub fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("hook.secret");
        fs::write(&secret, KEY).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.path().join("rules.toml"), text).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("rules.toml")
    }

    pub async fn server(&self, more: &[&str]) -> Server {
        let path = self.path();
        Server::start(&[&["--rules", path.to_str().unwrap()], more].concat()).await
    }
}

/// A target in the rules file that is told of failed jobs at once.
pub fn target(name: &str, kind: &str, url: &str, more: &str) -> String {
    let on = "{ occasion = \"failed\", group = \"0s\" }";
    format!("[[notify]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\non = [{on}]\n{more}\n")
}

pub fn json_target(url: &str) -> String {
    target("ops", "json", url, "secret_file = \"hook.secret\"\nallow_private = true")
}

pub async fn fail(server: &Server, id: &str) {
    assert_eq!(server.post_status(&format!("/ping/backup/{id}/1?task=copy"), json!({})).await, 200);
}

async fn alerts(server: &Server) -> Vec<Value> {
    server.get("/alerts").await["alerts"].as_array().unwrap().clone()
}

/// Waits until an alert has been tried, and returns it.
pub async fn tried(server: &Server, target: &str) -> Value {
    let of = async || alerts(server).await.into_iter().find(|alert| alert["target"] == target && alert["tries"] != 0);
    until("it was tried", || async { of().await.is_some() }).await;
    of().await.unwrap()
}

#[tokio::test]
async fn a_failed_job_arrives_signed_and_the_example_of_the_documents_agrees() {
    let sink = Target::start().await;
    let rules = Rules::new(&json_target(&sink.url("127.0.0.1")));
    let server = rules.server(&[]).await;
    fail(&server, "nightly").await;
    let post = sink.has(1).await.remove(0);
    standardwebhooks::Webhook::new(KEY).unwrap().verify(&post.body, &post.headers).expect("the signature is right");
    let body = post.json();
    assert_eq!((&body["type"], &body["data"]["title"]), (&json!("failed"), &json!("1 job of backup failed")));
    assert_eq!((&body["data"]["id"], &body["data"]["app_name"]), (&json!(post.id()), &json!("backup")));
    assert_eq!(
        (&body["data"]["subjects"][0]["id"], &body["data"]["subjects"][0]["task"]),
        (&json!("nightly"), &json!("copy"))
    );
    assert_eq!(post.path, "/hook/T0PSECRET?key=K3Y");
    until("it is delivered", || async { alerts(&server).await[0]["state"] == "delivered" }).await;
    let page = server.get("/alerts").await;
    assert_eq!(page["alerts"][0]["answer"], "HTTP 204");
    assert_eq!(page["targets"][0]["address"], format!("http://127.0.0.1:{}", sink.port));
    assert!(
        !page.to_string().contains("T0PSECRET")
            && !page.to_string().contains("K3Y")
            && !page.to_string().contains("MfKQ")
    );
    let counted = "sessionwatch_alerts_total{result=\"delivered\",target=\"ops\"} 1";
    until("it is counted", || async {
        let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
        metrics.contains(counted) && !metrics.contains("sessionwatch_alerts_waiting{")
    })
    .await;

    // The example in Python, as a reader would run it.
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md")).unwrap();
    let example = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let text = |name: &str| post.headers[name].to_str().unwrap().to_owned();
    let call = format!(
        "{example}\nimport sys\nbody = sys.stdin.buffer.read()\nheaders = {}\nprint(verify({}, headers, body), verify({}, headers, body + b' '))\n",
        json!({ "webhook-id": text("webhook-id"), "webhook-timestamp": text("webhook-timestamp"), "webhook-signature": text("webhook-signature") }),
        json!(KEY),
        json!(KEY),
    );
    let mut python = tokio::process::Command::new("python3")
        .args(["-c", &call])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&post.body).await.unwrap();
    let said = python.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "True False");
}

#[tokio::test]
async fn a_target_that_is_down_is_tried_again_with_the_same_id_and_delays_no_other() {
    let (down, up) = (Target::start().await, Target::start().await);
    *down.answer.lock() = 503;
    let more = target("other", "slack", &up.url("127.0.0.1"), "allow_private = true");
    let rules = Rules::new(&(json_target(&down.url("127.0.0.1")) + &more));
    let server = rules.server(&[]).await;
    fail(&server, "nightly").await;
    up.has(1).await;
    let posts = down.has(2).await;
    *down.answer.lock() = 200;
    let alert = tried(&server, "ops").await;
    assert!(alert["answer"].as_str().unwrap().starts_with("HTTP 503"), "{alert}");
    assert!(!alert.to_string().contains("T0PSECRET"), "an answer that repeats a secret is not shown: {alert}");
    until("it is taken at last", || async { tried(&server, "ops").await["state"] == "delivered" }).await;
    let ids: BTreeSet<String> = down.posts().iter().map(Post::id).collect();
    assert_eq!((ids.len(), &posts[0].id()), (1, ids.first().unwrap()));
    assert_eq!(up.posts().len(), 1);
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name_and_redirects_are_not_followed() {
    let (sink, inner) = (Target::start().await, Target::start().await);
    *sink.answer.lock() = 307;
    *sink.elsewhere.lock() = inner.url("127.0.0.1");
    let text = target("number", "slack", &inner.url("127.0.0.1"), "")
        + &target("name", "slack", &inner.url("localhost"), "")
        + &target("mapped", "slack", &inner.url("[::ffff:127.0.0.1]"), "")
        + &target(
            "mail",
            "email",
            &format!("smtp://localhost:{}", inner.port),
            "from = \"a@b.example\"\nto = [\"c@d.example\"]",
        )
        + &target("redirect", "slack", &sink.url("127.0.0.1"), "allow_private = true");
    let server = Rules::new(&text).server(&[]).await;
    fail(&server, "nightly").await;
    for name in ["number", "name", "mapped", "mail"] {
        let alert = tried(&server, name).await;
        assert!(alert["answer"].as_str().unwrap().contains("allow_private"), "{alert}");
        assert_eq!(alert["state"], "waiting");
    }
    let alert = tried(&server, "redirect").await;
    assert!(alert["answer"].as_str().unwrap().starts_with("HTTP 307"), "{alert}");
    assert!(inner.posts().is_empty(), "nobody reached it");
}

#[test]
fn only_addresses_of_the_internet_are_public() {
    let public = ["1.1.1.1", "172.15.0.1", "100.63.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"];
    let private = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
        "::127.0.0.1",
        "2001::1",
        "fec0::1",
    ];
    for text in public {
        assert!(is_public(text.parse::<IpAddr>().unwrap()), "{text}");
    }
    for text in private {
        assert!(!is_public(text.parse::<IpAddr>().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn chats_get_what_sessions_say_without_mentions() {
    let sink = Target::start().await;
    let url = |kind: &str| format!("http://127.0.0.1:{}/{kind}", sink.port);
    let kinds = ["slack", "teams", "discord", "ntfy"];
    let text: String = kinds.iter().map(|kind| target(kind, kind, &url(kind), "allow_private = true")).collect();
    let server = Rules::new(&text).server(&[]).await;
    let body = json!({ "app_name": "<!channel> *a*", "session_id": "x", "user_id": "@everyone <@U1> [a](http://b)" });
    assert_eq!(server.post_status("/sessions", body).await, 201);
    assert_eq!(server.post_status("/ping/%3C%21channel%3E%20%2Aa%2A/x/fail", json!({})).await, 200);
    let posts: BTreeMap<String, Value> =
        sink.has(4).await.iter().map(|post| (post.path.clone(), post.json())).collect();
    let slack = &posts["/slack"];
    assert_eq!(slack["text"], "1 job of &lt;!channel&gt; *a* failed");
    assert_eq!(slack["blocks"][0]["text"]["type"], "plain_text");
    let discord = &posts["/discord"];
    assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    assert!(!discord["content"].as_str().unwrap().contains("@everyone"), "{discord}");
    let card = &posts["/teams"]["attachments"][0]["content"]["body"];
    assert_eq!(card[0]["inlines"][0]["text"], "1 job of <!channel> *a* failed");
    let ntfy = &posts["/"];
    assert_eq!((&ntfy["topic"], &ntfy["title"]), (&json!("ntfy"), &json!("1 job of <!channel> *a* failed")));
}

#[tokio::test]
async fn targets_are_told_what_a_rule_did_and_that_its_limit_has_stopped_it() {
    let sink = Target::start().await;
    let rule = "[[rule]]\nname = \"night\"\nwhen = \"app:desk\"\nthen = \"kill\"\nreason = \"closed\"\n\
                notify = [\"ops\"]\nlimit = \"1 per 1h\"\n";
    let server = Rules::new(&format!("{rule}\n{}", json_target(&sink.url("127.0.0.1")))).server(&[]).await;
    for id in ["d1", "d2"] {
        server.post("/sessions", json!({ "app_name": "desk", "session_id": id, "user_id": "ana" })).await;
    }
    let titles = || sink.posts().iter().map(|post| post.json()["data"]["title"].clone()).collect::<Vec<_>>();
    let told = |words: &str| titles().iter().any(|title| title.as_str().is_some_and(|title| title.contains(words)));
    until("both are told", async || told("rule night: ended") && told("rule night: stopped by its limit")).await;
    assert_eq!(server.get("/rules").await["rules"][0]["ended"], 1);
    let forged = server.ask(Method::POST, "/sessions/d1/kill", Some(json!({ "by": "rule night" }))).await;
    assert_eq!(forged.0, 422);
}

#[tokio::test]
async fn locks_are_told_when_they_are_set_and_lifted() {
    let sink = Target::start().await;
    let text = json_target(&sink.url("127.0.0.1")).replace("\"failed\"", "\"lock\"");
    let server = Rules::new(&text).server(&[]).await;
    let lock = server.post("/locks", json!({ "app_name": "risk", "user_id": "ana", "reason": "audit" })).await;
    let set = sink.has(1).await.remove(0).json();
    assert_eq!(set["data"]["title"], "1 lock of risk was set", "{set}");
    assert_eq!(
        (&set["data"]["subjects"][0]["user"], &set["data"]["subjects"][0]["reason"]),
        (&json!("ana"), &json!("audit"))
    );
    let id = set["data"]["subjects"][0]["id"].as_str().unwrap();
    let (status, answer) = server.ask(Method::DELETE, &format!("/locks/{id}"), None).await;
    assert!(status.is_success(), "{lock} {answer}");
    assert_eq!(sink.has(2).await[1].json()["data"]["title"], "1 lock of risk was lifted");
}

#[tokio::test]
async fn a_test_is_sent_to_one_target_by_administrators_and_not_too_often() {
    let sink = Target::start().await;
    let text = json_target(&sink.url("127.0.0.1")).replace("secret_file = \"hook.secret\"", "");
    let server = Rules::new(&text).server(&[]).await;
    let (status, answer) = server.ask(Method::POST, "/alerts/ops/test", None).await;
    assert_eq!(status, 202, "{answer}");
    let post = sink.has(1).await.remove(0);
    assert_eq!((json!(post.id()), &post.json()["type"]), (answer["id"].clone(), &json!("test")));
    assert!(post.headers.contains_key("webhook-signature"), "a key was made");
    assert_eq!(server.ask(Method::POST, "/alerts/ops/test", None).await.0, 429);
    assert_eq!(server.ask(Method::POST, "/alerts/nobody/test", None).await.0, 404);
}

/// Sends failed jobs while the server is killed again and again: each of them that was answered
/// arrives, and one that arrives twice has the same id.
pub async fn through_sigkills(kills: usize) -> (usize, usize) {
    let sink = Target::start().await;
    let rules = Rules::new(&json_target(&sink.url("127.0.0.1")));
    let mut server = rules.server(&[]).await;
    let mut answered = BTreeSet::new();
    let mut next = 0;
    for round in 0..=kills {
        for _ in 0..8 {
            let id = format!("job-{next}");
            next += 1;
            let path = format!("{}/ping/backup/{id}/1", server.url);
            if server.client.post(path).send().await.is_ok_and(|answer| answer.status() == 200) {
                answered.insert(id);
            }
        }
        if round < kills {
            // At different moments: before and after it is gathered, stored, posted, noted.
            tokio::time::sleep(Duration::from_millis((round as u64 * 73) % 500)).await;
            server = server.kill9_and_restart().await;
        }
    }
    // Of many jobs in one alert only the first are listed; all are counted.
    let told = || -> u64 {
        let posts = sink.posts();
        let alerts: BTreeMap<String, Value> = posts.iter().map(|post| (post.id(), post.json())).collect();
        alerts.values().map(|alert| alert["data"]["count"].as_u64().expect("a count")).sum()
    };
    let failed = server.get("/events?kind=removed&limit=1000").await["events"].as_array().map_or(0, Vec::len) as u64;
    assert!(failed >= answered.len() as u64, "what was answered is in the log");
    until("all alerts have arrived", || async { told() >= failed }).await;
    assert_eq!(told(), failed, "each job is counted in one alert");
    let arrived = || -> BTreeMap<String, BTreeSet<String>> {
        let mut jobs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for post in sink.posts() {
            for subject in post.json()["data"]["subjects"].as_array().unwrap() {
                jobs.entry(subject["id"].as_str().unwrap().to_owned()).or_default().insert(post.id());
            }
        }
        jobs
    };
    for (job, ids) in arrived() {
        assert_eq!(ids.len(), 1, "{job} was told under several ids");
    }
    (answered.len(), sink.posts().len())
}

#[tokio::test]
async fn when_the_keeper_dies_another_server_delivers() {
    let sink = Target::start().await;
    *sink.answer.lock() = 503;
    let rules = Rules::new(&json_target(&sink.url("127.0.0.1")));
    let url = crate::postgres::database().await;
    let (path, url) = (rules.path(), PathBuf::from(url));
    let args = ["--rules", path.to_str().unwrap()];
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        servers.push(Server::start_on(&url, "127.0.0.1:0", &[&args[..], &["--node-name", name]].concat()).await);
    }
    // Raised by both, delivered by the keeper.
    fail(&servers[0], "a").await;
    fail(&servers[1], "b").await;
    let subjects = |posts: &[Post]| -> BTreeSet<String> {
        let of = |post: &Post| post.json()["data"]["subjects"].as_array().unwrap().clone();
        posts.iter().flat_map(of).map(|subject| subject["id"].as_str().unwrap().to_owned()).collect()
    };
    until("both were tried", || async { subjects(&sink.posts()).len() == 2 }).await;
    let nodes = servers[0].get("/nodes").await;
    let keeper =
        nodes["nodes"].as_array().unwrap().iter().find(|node| node["keeper"] == true).expect("a keeper")["name"]
            .clone();
    let mut keeper = servers.remove(usize::from(keeper == "two"));
    keeper.kill9().await;
    let (before, ids) = (sink.posts().len(), sink.posts().iter().map(Post::id).collect::<BTreeSet<_>>());
    *sink.answer.lock() = 204;
    let other = servers.remove(0);
    until("the other one has delivered all", || async {
        let alerts = alerts(&other).await;
        alerts.len() == ids.len() && alerts.iter().all(|alert| alert["state"] == "delivered")
    })
    .await;
    let again: BTreeSet<String> = sink.posts()[before..].iter().map(Post::id).collect();
    assert_eq!(again, ids, "under the same ids");
}
