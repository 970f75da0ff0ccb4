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
    let mut tail = as_admin(&["tail", "--kind", "removed"]).spawn().expect("it starts");
    let mut told = lines(tail.stdout.take());
    assert!(next_line(&mut told).await.contains("failed"), "the end is told with the session's own token");
    let mut watch = as_admin(&["watch"]).spawn().expect("it starts");
    let mut seen = lines(watch.stdout.take());
    let words = ["run", "--app", "job", "--token", &ingest, "--", "sleep", "1000"];
    let running = cli_to(&url, &words).spawn().expect("it starts");
    line_with(&mut seen, "job").await;
    let refused = finish(&mut cli_to(&url, &["kill", "--app", "job", "--yes", "--token", &ingest])).await;
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    let output = finish(&mut as_admin(&["kill", "--app", "job", "--yes"])).await;
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let ended = running.wait_with_output().await.expect("it ends");
    assert_eq!(ended.status.code(), Some(143));
}
