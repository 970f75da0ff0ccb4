//! A server that asks for tokens, under a path of its own.

use super::support::*;

async fn strict() -> (Server, String) {
    let server = Server::start_with(&["--strict", "--base-path", "/monitor"]).await;
    let url = server.url.clone();
    assert!(url.ends_with("/monitor"), "{url}");
    (server, url)
}

#[tokio::test]
async fn who_has_no_token_is_told_how_to_give_one() {
    let (_server, url) = strict().await;
    for words in [&["ls"][..], &["watch"], &["tail"], &["kill", "x"], &["ls", "--token", "wrong"]] {
        let output = finish(&mut cli_to(&url, words)).await;
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(stderr(&output).contains("SESSIONWATCH_TOKEN"), "{words:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn a_command_runs_unwatched_without_a_token_and_says_so_once() {
    let (_server, url) = strict().await;
    let output =
        finish(&mut cli_to(&url, &["run", "--app", "job", "--", "sh", "-c", "echo on; sleep 1; exit 4"])).await;
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(stdout(&output), "on\n");
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("runs unwatched"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_token_comes_out_of_a_file_and_is_not_handed_to_the_command_unless_told() {
    let (server, url) = strict().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (one, own) = (folder.path().join("sessionwatch.token"), server.token_file());
    std::fs::write(&one, format!("{}\n", server.token("admin"))).expect("written");
    let (one, own) = (one.to_str().expect("text"), own.to_str().expect("text"));
    let with = |words: &[&str], name: &str, value: &str| {
        let mut command = cli_to(&url, words);
        command.env(name, value);
        command
    };
    for mut command in [
        cli_to(&url, &["ls", "--token-file", one]),
        cli_to(&url, &["ls", "--token-file", own]),
        with(&["ls"], "SESSIONWATCH_TOKEN_FILE", one),
        with(&["ls"], "CREDENTIALS_DIRECTORY", folder.path().to_str().expect("text")),
    ] {
        let output = finish(&mut command).await;
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", stderr(&output));
    }
    let missing = finish(&mut cli_to(&url, &["ls", "--token-file", "/nowhere/token"])).await;
    assert!(stderr(&missing).contains("/nowhere/token cannot be read"), "{}", stderr(&missing));
    // The command is watched, and has the token only where it is meant to.
    let words = |more: &'static [&'static str]| {
        [
            &["run", "--app", "job", "--verbose"],
            more,
            &["--", "sh", "-c", "echo ${SESSIONWATCH_TOKEN-none} ${SESSIONWATCH_TOKEN_FILE-none}"],
        ]
        .concat()
    };
    let run = async |more, name: &str, value: &str| {
        let output = finish(&mut with(&words(more), name, value)).await;
        assert!(!stderr(&output).contains("unwatched"), "{}", stderr(&output));
        stdout(&output)
    };
    let ingest = server.token("ingest");
    assert_eq!(run(&[], "SESSIONWATCH_TOKEN", &ingest).await, "none none\n");
    assert_eq!(run(&[], "SESSIONWATCH_TOKEN_FILE", own).await, "none none\n");
    assert_eq!(run(&["--pass-token"], "SESSIONWATCH_TOKEN", &ingest).await, format!("{ingest} none\n"));
    assert_eq!(run(&["--pass-token"], "SESSIONWATCH_TOKEN_FILE", own).await, format!("none {own}\n"));
}

#[tokio::test]
async fn the_ingest_token_runs_and_the_admins_looks_and_kills() {
    let (server, url) = strict().await;
    let (ingest, admin) = (server.token("ingest"), server.token("admin"));
    let as_admin = |words: &[&str]| {
        let mut command = cli_to(&url, words);
        command.env("SESSIONWATCH_TOKEN", &admin);
        command
    };
    let words = ["run", "--app", "job", "--token", &ingest, "--", "sh", "-c", "exit 3"];
    assert_eq!(finish(&mut cli_to(&url, &words)).await.status.code(), Some(3));
    let mut tail = as_admin(&["tail", "kind:removed"]).spawn().expect("it starts");
    let mut told = lines(tail.stdout.take());
    assert!(next_line(&mut told).await.contains("failed"), "the end is told with the session's own token");
    let mut watch = as_admin(&["watch"]).spawn().expect("it starts");
    let mut seen = lines(watch.stdout.take());
    let words = ["run", "--app", "job", "--token", &ingest, "--", "sleep", "1000"];
    let running = cli_to(&url, &words).spawn().expect("it starts");
    line_with(&mut seen, "job").await;
    let refused = finish(&mut cli_to(&url, &["kill", "app:job", "--yes", "--token", &ingest])).await;
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    let output = finish(&mut as_admin(&["kill", "app:job", "--yes"])).await;
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let ended = running.wait_with_output().await.expect("it ends");
    assert_eq!(ended.status.code(), Some(143));
}
