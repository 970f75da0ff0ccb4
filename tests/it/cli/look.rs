//! `ls`, `watch` and `tail`: what is there, what changes, what happened.

use std::process::Stdio;

use serde_json::{Value, json};

use super::support::*;

#[tokio::test]
async fn nobody_at_the_address_is_a_sentence_that_says_what_to_do() {
    for words in [&["ls"][..], &["watch"], &["tail"], &["kill", "x"]] {
        let output = finish(&mut cli_to("http://127.0.0.1:1", words)).await;
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let told = stderr(&output);
        assert!(
            told.contains("Cannot reach sessionwatch at http://127.0.0.1:1") && told.contains("--server"),
            "{words:?}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn ls_lists_filters_and_puts_concerns_first() {
    let server = Server::start().await;
    assert_eq!(stdout(&server.done(&["ls"]).await), "No live sessions match.\n");
    let put = |id: &'static str, body: Value| {
        let api = server.api();
        async move { api.put_session(id, &body, None).await.expect("a session") }
    };
    put("a1", json!({"app_name": "risk", "user_id": "ana", "status": "running", "current_task": "Q4 report"})).await;
    put("b1", json!({"app_name": "shop", "meta": {"env": "prod"}})).await;
    let ids = |words: Vec<&'static str>| {
        let server = &server;
        async move {
            let output = server.done(&[&["ls", "--json"][..], &words].concat()).await;
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let rows = stdout(&output)
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
                .collect::<Vec<_>>();
            let mut ids: Vec<String> =
                rows.iter().map(|row| row["session_id"].as_str().unwrap_or_default().to_owned()).collect();
            ids.sort();
            ids
        }
    };
    assert_eq!(ids(vec![]).await, ["a1", "b1"]);
    assert_eq!(ids(vec!["app:risk"]).await, ["a1"]);
    assert_eq!(ids(vec!["user:ana", "-idle:>2h"]).await, ["a1"]);
    assert_eq!(ids(vec!["status:idle"]).await, ["b1"]);
    assert_eq!(ids(vec!["PROD"]).await, ["b1"]);
    assert_eq!(ids(vec!["nothing"]).await, Vec::<String>::new());
    let table = stdout(&server.done(&["ls"]).await);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["STATE", "APP", "USER", "TASK", "FOR", "BEAT", "ID"]);
    assert_eq!(rows[1][..6], ["▶", "running", "risk", "ana", "Q4", "report"], "who works stands before who does not");
    assert_eq!(rows[2][..3], ["●", "idle", "shop"]);
}

#[tokio::test]
async fn watch_tells_each_change_also_after_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let mut watch = server.cli(&["watch", "--json"]).spawn().expect("it starts");
    let mut out = lines(watch.stdout.take());
    let first = server.client("risk", false).await;
    let new: Value = serde_json::from_str(&line_with(&mut out, &first.id).await).expect("JSON");
    assert_eq!(new["session"]["app_name"], "risk");
    server.crash().await;
    server.restart().await;
    let second = server.client("shop", false).await;
    let line = line_with(&mut out, &second.id).await;
    assert!(line.contains("upserted"), "{line}");
    let id = second.id.clone();
    let obeying = tokio::spawn(second.obey());
    server.api().kill(&id, &json!({})).await.expect("a kill");
    obeying.await.expect("the client's socket is closed");
    let gone: Value = serde_json::from_str(&line_with(&mut out, "\"removed\"").await).expect("JSON");
    assert_eq!(gone["cause"], "killed");
    assert_eq!(gone["app_name"], "shop");
}

#[tokio::test]
async fn watch_without_a_terminal_prints_plain_lines_and_only_what_was_asked_for() {
    let server = Server::start().await;
    let _other = server.client("shop", false).await;
    let mut client = server.client("risk", false).await;
    let mut watch = server.cli(&["watch", "app:risk"]).spawn().expect("it starts");
    let mut out = lines(watch.stdout.take());
    let present = next_line(&mut out).await;
    assert!(present.contains("idle") && present.contains(&client.id), "{present}");
    let working = json!({"type": "status", "status": "running", "current_task": "Q4 report"});
    client.say(working).await;
    let line = line_with(&mut out, "idle → running").await;
    assert!(line.contains("risk") && line.contains("Q4 report") && line.contains(&client.id), "{line}");
    client.say(json!({"type": "bye", "persisted": false})).await;
    let line = next_line(&mut out).await;
    assert!(line.contains("gone, ended"), "nothing of the other app comes between: {line}");
}

#[tokio::test]
async fn tail_begins_with_the_last_events_and_follows() {
    let server = Server::start().await;
    for id in ["a1", "a2", "a3"] {
        server.api().put_session(id, &json!({"app_name": "risk"}), None).await.expect("a session");
    }
    let mut tail = server.cli(&["tail", "-n", "2", "--json", "app:risk"]).spawn().expect("it starts");
    let mut out = lines(tail.stdout.take());
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(serde_json::from_str::<Value>(&next_line(&mut out).await).expect("JSON"));
    }
    assert_eq!([&told[0]["session_id"], &told[1]["session_id"]], ["a2", "a3"]);
    server.api().put_session("b1", &json!({"app_name": "shop"}), None).await.expect("a session");
    server.api().kill("a1", &json!({"reason": "month end", "by": "eve"})).await.expect("a kill");
    let next: Value = serde_json::from_str(&next_line(&mut out).await).expect("JSON");
    assert_eq!(
        (&next["kind"], &next["session_id"], &next["by"]),
        (&json!("kill_requested"), &json!("a1"), &json!("eve"))
    );
}

#[tokio::test]
async fn tail_of_a_kind_shows_only_that_kind_and_refusals_are_told_in_the_servers_words() {
    let server = Server::start().await;
    let leave = |mut client: Client| async move {
        client.say(json!({"type": "bye", "persisted": false})).await;
        client.id
    };
    let before = leave(server.client("risk", false).await).await;
    server.gone("risk").await;
    let mut tail = server.cli(&["tail", "-n", "1", "kind:removed"]).spawn().expect("it starts");
    let mut out = lines(tail.stdout.take());
    assert!(next_line(&mut out).await.contains(&before));
    let after = leave(server.client("risk", false).await).await;
    let line = next_line(&mut out).await;
    assert!(line.contains("removed") && line.contains("ended") && line.contains(&after), "{line}");
    let wrong = server.done(&["tail", "weather:red"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("weather"), "{}", stderr(&wrong));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let server = Server::start().await;
    for id in ["a1", "a2"] {
        server.api().put_session(id, &json!({"app_name": "risk"}), None).await.expect("a session");
    }
    let mut ls = server.cli(&["ls"]).stdin(Stdio::null()).spawn().expect("it starts");
    drop(ls.stdout.take());
    let output = ls.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[tokio::test]
async fn nodes_lists_the_server_as_a_table_and_as_json() {
    let server = Server::start_with(&["--node-name", "alone"]).await;
    let output = server.done(&["nodes", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told: Value = serde_json::from_str(stdout(&output).trim()).expect("one line of JSON");
    assert_eq!((&told["name"], &told["keeper"], &told["lag"]), (&json!("alone"), &json!(true), &json!(0)));
    let table = stdout(&server.done(&["nodes"]).await);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("SERVER") && lines[0].contains("DASHBOARDS"), "{table}");
    assert!(lines[1].starts_with("alone") && lines[1].contains("keeper") && lines.len() == 2, "{table}");
}

#[tokio::test]
async fn a_lock_is_made_listed_and_lifted() {
    let server = Server::start().await;
    assert_eq!(stdout(&server.done(&["locks"]).await), "Nobody is locked out.\n");
    let made = server.done(&["lock", "--app", "risk", "--user", "bob", "--reason", "audit", "--for", "30m"]).await;
    let told = stdout(&made);
    assert!(told.starts_with("bob in risk locked until "), "{told}{}", stderr(&made));
    let id = told.trim().rsplit(' ').next().expect("its id");
    let refused = server.api().put_session("s", &json!({"app_name": "risk", "user_id": "bob"}), None).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("audit")));
    let table = stdout(&server.done(&["locks"]).await);
    assert!(table.contains("audit") && table.contains(id), "{table}");
    assert_eq!(stdout(&server.done(&["unlock", id]).await), format!("{id} lifted\n"));
    let again = server.done(&["unlock", id]).await;
    assert!(stderr(&again).contains("there is no lock"), "{}", stderr(&again));
    let client = server.client("risk", false).await;
    let killing = ["kill", &client.id, "--lock-for", "1h"].map(str::to_owned);
    let obeying = tokio::spawn(client.obey());
    let killed = server.done(&killing.each_ref().map(String::as_str)).await;
    assert_eq!(killed.status.code(), Some(0), "{}", stderr(&killed));
    obeying.await.expect("the client's socket is closed");
    assert!(stdout(&server.done(&["locks", "--json"]).await).contains("\"user_id\":\"ana\""));
}

#[tokio::test]
async fn the_last_lines_of_the_log_without_waiting_for_more() {
    let server = Server::start().await;
    let _client = server.client("risk", false).await;
    let output = server.done(&["tail", "-n", "20", "--no-follow"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("registered"), "{}", stdout(&output));
}

#[tokio::test]
async fn help_has_the_exit_status_and_every_shell_its_completions() {
    let server = Server::start().await;
    for (command, word) in [("run", "126"), ("kill", "3 where one did not confirm")] {
        let help = server.done(&[command, "--help"]).await;
        assert!(stdout(&help).contains("Exit status") && stdout(&help).contains(word), "{}", stdout(&help));
    }
    let help = stdout(&server.done(&["serve", "--help"]).await);
    assert!(help.contains("[https://app.example.com]") && !help.contains("<https"), "{help}");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = server.done(&["completions", shell]).await;
        let text = stdout(&output);
        for word in ["backup", "completions", "no-follow"] {
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = server.done(&["man", folder.path().to_str().expect("a plain name")]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["sessionwatch.1", "sessionwatch-kill.1", "sessionwatch-token-add.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{page}: {text}");
    }
}
