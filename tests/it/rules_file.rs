//! The rules file: what is refused and where, and how a running server takes a new one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use sessionwatch::clock::Timestamp;
use sessionwatch::rules::{Limit, Notify, Occasion, Rules, RulesFile, Then};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{PATIENCE, Server, command};

/// The example of the documents.
const WHOLE: &str = r#"
[[rule]]
name   = "idle desks"
when   = "app:risk idle:>2h"
warn   = "You will be signed out in 5 minutes unless you go on."
grace  = "5m"
then   = "kill"
reason = "idle for two hours"
notify = ["ops"]
limit  = "30 per 1h"

[[rule]]
name = "long tasks"
when = "app:risk"
then = "notify"
notify = ["ops", "ops"]

[[notify]]
name = "ops"
kind = "json"
url  = "https://alerts.example/hook/T0P"
secret_file = "hook.secret"
on   = ["failed", { occasion = "stale", filter = "app:risk", delay = "2m", group = "1m", recovered = false }]

[[notify]]
name = "mail"
kind = "email"
url  = "smtps://sender@mail.example"
from = "sessionwatch <sw@example.com>"
to   = ["ops@example.com"]

[[expect]]
app = "backup"
every = "24h"
grace = "1h"

[[expect]]
name = "weekly report"
app = "report"
cron = "0 6 * * MON"
zone = "Europe/Berlin"
"#;

fn secret(folder: &Path, mode: u32) {
    let path = folder.join("hook.secret");
    fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_whole_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), 0o600);
    let file = RulesFile::parse(WHOLE, folder.path()).unwrap();
    let rule = &file.rules[0];
    assert_eq!((&*rule.name, rule.then, rule.grace.as_secs()), ("idle desks", Then::Kill, 300));
    assert_eq!(rule.limit, Limit { count: 30, per: Duration::from_secs(3_600) });
    assert_eq!((file.rules[1].limit, file.rules[1].notify.len()), (Limit::USUAL, 1));
    let Notify { on, .. } = file.target("ops").unwrap();
    assert_eq!((on[0].occasion, on[0].group.as_secs(), on[0].recovered), (Occasion::Failed, 10, true));
    assert_eq!((on[1].delay.as_secs(), on[1].group.as_secs(), on[1].recovered), (120, 60, false));
    assert_eq!(file.target("ops").unwrap().shown(), "https://alerts.example");
    assert!(!format!("{file:?}").contains("T0P") && !format!("{file:?}").contains("MfKQ"), "secrets are not shown");
    let seen = Timestamp(1_767_225_600_000);
    assert_eq!(file.expect[0].due(seen).unwrap().since(seen), 86_400_000);
    // 2026-01-01 is a Thursday; the next Monday is the 5th, and 6:00 in Berlin is 5:00 UTC.
    assert_eq!(file.expect[1].due(seen).unwrap().to_string(), "2026-01-05T05:00:00.000Z");
}

#[test]
fn a_wrong_file_is_refused_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), 0o600);
    let refused = |from: &str, to: &str, line: usize, why: &str| {
        assert!(WHOLE.contains(from), "{from}");
        let error = RulesFile::parse(&WHOLE.replacen(from, to, 1), folder.path()).expect_err(to);
        assert!(error.starts_with(&format!("line {line}: ")) && error.contains(why), "{to}: {error}");
        assert!(!error.contains("T0P"), "the URL is not told: {error}");
    };
    refused("then   = \"kill\"", "then = \"explode\"", 7, "explode");
    refused("limit  = \"30 per 1h\"", "limit = \"0 per 1h\"", 10, "zero");
    refused("limit  = \"30 per 1h\"", "limit = \"thirty\"", 10, "20 per 10m");
    refused("notify = [\"ops\"]", "notify = [\"oops\"]", 9, "no [[notify]] with the name \"oops\"");
    refused("grace  = \"5m\"", "grace = \"soon\"", 6, "write a time like");
    refused("grace  = \"5m\"", "", 5, "warn needs grace");
    refused("name = \"long tasks\"", "name = \"idle desks\"", 13, "two rules");
    refused("notify = [\"ops\", \"ops\"]", "", 13, "needs notify");
    refused("when = \"app:risk\"", "when = \"\"", 14, "empty");
    refused("when = \"app:risk\"", "when = \"app:risk sutatus:idle\"", 14, "wrong at character 10");
    refused("filter = \"app:risk\"", "filter = \"idle:>soon\"", 23, "character");
    refused("name = \"mail\"", "name = \"ops\"", 26, "two targets");
    refused("name = \"mail\"", "name = \"a/b\"", 26, "letters");
    refused("kind = \"json\"", "kind = \"fax\"", 20, "fax");
    refused("https://alerts.example/hook/T0P", "https://u:p@alerts.example/T0P", 21, "secret_file");
    refused("https://alerts.example/hook/T0P", "ftp://alerts.example/T0P", 21, "https://alerts.example/hook");
    refused("url  = \"https", "ur = \"https", 21, "ur");
    refused("hook.secret", "none.secret", 22, "cannot be read");
    refused("\"failed\"", "\"fell\"", 23, "these are: stale");
    refused("delay = \"2m\"", "delay = \"48h\"", 23, "24h");
    refused("to   = [\"ops@example.com\"]", "to = [\"nobody\"]", 30, "mail address");
    refused("every = \"24h\"", "every = \"24h\"\ncron = \"0 3 * * *\"", 33, "either every");
    refused("0 6 * * MON", "0 6 * * NEVER", 40, "cron");
    refused("Europe/Berlin", "Europe/Bonn", 41, "time zone");
    refused("app = \"report\"", "app = \"report\"\nafter = \"1h\"", 40, "after");
}

#[test]
fn who_may_read_the_secrets_and_change_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), 0o644);
    let error = RulesFile::parse(WHOLE, folder.path()).expect_err("others can read the secret");
    assert!(error.contains("chmod 600"), "{error}");
    secret(folder.path(), 0o600);
    let path = folder.path().join("rules.toml");
    fs::write(&path, WHOLE).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let error = RulesFile::read(&path).expect_err("others can change it");
    assert!(error.contains("other users can change it"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(RulesFile::read(&path).is_ok());
}

fn with_rules(count: usize) -> String {
    let target = "[[notify]]\nname = \"ops\"\nkind = \"slack\"\nurl = \"https://a.example/x\"\n";
    let rule =
        |number| format!("[[rule]]\nname = \"r{number}\"\nwhen = \"a\"\nthen = \"notify\"\nnotify = [\"ops\"]\n");
    (0..count).map(rule).collect::<String>() + target
}

#[test]
fn a_changed_file_is_taken_when_it_is_whole_and_a_wrong_one_leaves_the_old_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    fs::write(&path, with_rules(1)).unwrap();
    let rules = Rules::default();
    rules.open(&path, Timestamp(1)).unwrap();
    rules.look(Timestamp(2));
    rules.look(Timestamp(3));
    assert_eq!((rules.now().rules.len(), rules.standing().read_at), (1, Timestamp(1)), "unchanged, not read again");
    // As editors do: another file of the same name.
    let other = folder.path().join("rules.toml~");
    fs::write(&other, with_rules(2)).unwrap();
    fs::rename(&other, &path).unwrap();
    rules.look(Timestamp(4));
    assert_eq!(rules.now().rules.len(), 1, "it may still be written");
    rules.look(Timestamp(5));
    assert_eq!((rules.now().rules.len(), rules.standing().read_at), (2, Timestamp(5)));
    fs::write(&path, "[[rule]]\nname = 7").unwrap();
    rules.look(Timestamp(6));
    rules.look(Timestamp(7));
    let standing = rules.standing();
    assert_eq!((rules.now().rules.len(), standing.read_at), (2, Timestamp(5)));
    assert!(standing.refused.unwrap().contains("rules.toml: line 2: "));
    fs::remove_file(&path).unwrap();
    rules.look(Timestamp(8));
    rules.look(Timestamp(9));
    assert!(rules.standing().refused.unwrap().contains("cannot be read"));
    assert_eq!(rules.now().rules.len(), 2);
    fs::write(&path, with_rules(3)).unwrap();
    rules.reload(Timestamp(10));
    assert_eq!((rules.now().rules.len(), rules.standing().refused), (3, None));
}

#[tokio::test]
async fn a_server_does_not_start_with_a_wrong_file_and_the_command_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (db, path) = (folder.path().join("test.db"), folder.path().join("rules.toml"));
    fs::write(&path, "[[rule]]\nnam = \"a\"\n").unwrap();
    let args = ["--rules", path.to_str().unwrap()];
    let output = command(&db, "127.0.0.1:0", &args).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("rules.toml: line 2: unknown field `nam`"), "{error}");
    assert!(!db.exists(), "nothing was made");
    let check =
        || std::process::Command::new(env!("CARGO_BIN_EXE_sessionwatch")).args(["rules", "check", args[1]]).output();
    assert!(String::from_utf8(check().unwrap().stderr).unwrap().contains("line 2"));
    fs::write(&path, with_rules(2)).unwrap();
    let said = String::from_utf8(check().unwrap().stdout).unwrap();
    assert!(said.contains("2 rules, 1 target, 0 expected apps"), "{said}");
}

#[tokio::test]
async fn sighup_reads_the_file_again_and_does_not_end_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (db, path) = (folder.path().join("test.db"), folder.path().join("rules.toml"));
    fs::write(&path, with_rules(1)).unwrap();
    let mut child = command(&db, "127.0.0.1:0", &["--rules", path.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = out.next_line().await.unwrap().unwrap();
    let url = url.rsplit(' ').next().unwrap().to_owned();
    let mut server = Server::attached(child, db, url, 0);
    // The handler is in place when the server serves.
    server.get("/healthz").await;
    server.signal(libc::SIGHUP);
    let line = async {
        while let Ok(Some(line)) = log.next_line().await {
            if line.contains("the rules file was read again") {
                return line;
            }
        }
        panic!("the log ended");
    };
    let line = tokio::time::timeout(PATIENCE, line).await.unwrap();
    assert!(line.contains("rules=1") && line.contains("targets=1"), "{line}");
    server.get("/healthz").await;
    assert_eq!(server.stop().await, 0);
}
