//! `sessionwatch watch` on a terminal: what a person sees, and what each key does.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{hostile, screen::Screen, support::*};

async fn put(server: &Server, id: &str, body: Value) {
    server.api().put_session(id, &body, None).await.expect("a session");
}

/// The line that is shown inverted, which is the selected session's.
fn selected(screen: &Screen) -> Option<String> {
    let lines = screen.lines();
    let inverted = |row: &usize| {
        let cell = screen.emulated().cell(u16::try_from(*row).unwrap_or_default(), 0);
        cell.is_some_and(vt100::Cell::inverse)
    };
    (0..lines.len()).find(inverted).map(|row| lines[row].clone())
}

async fn until_selected(screen: &mut Screen, text: &str) {
    let is = |screen: &Screen| selected(screen).is_some_and(|line| line.contains(text));
    screen.until(&format!("{text} selected"), is).await;
}

#[tokio::test]
async fn it_draws_on_a_screen_of_its_own_and_leaves_the_terminal_as_it_was() {
    let mut server = Server::start().await;
    let client = server.client("risk", false).await;
    let mut screen = Screen::run(&server.url, &["watch"], 12, 70);
    screen.until("the alternate screen", |screen| screen.emulated().alternate_screen()).await;
    screen.until_text("● Live").await;
    screen.until_text("q quit").await;
    screen.until_text(&client.id[..8]).await;
    screen.until_text("1 session ").await;
    let _second = server.client("shop", false).await;
    screen.until_text("2 sessions").await;
    server.crash().await;
    screen.until_text("Reconnecting").await;
    server.restart().await;
    screen.until_text("● Live").await;
    screen.press("q").await;
    assert_eq!(screen.end().await.code(), Some(0));
    let after = screen.emulated();
    assert!(!after.alternate_screen() && !after.hide_cursor() && !after.bracketed_paste());
    assert!(String::from_utf8_lossy(&screen.raw).contains("\u{1b}[?7h"), "lines wrap again");
}

#[tokio::test]
async fn a_filter_applies_while_it_is_typed() {
    let server = Server::start().await;
    put(&server, "a1", json!({"app_name": "risk", "current_task": "Monte Carlo"})).await;
    put(&server, "b1", json!({"app_name": "shop", "meta": {"env": "prod"}})).await;
    let mut screen = Screen::run(&server.url, &["watch"], 12, 70);
    screen.until_text("2 sessions").await;
    screen.press("/MONTE").await;
    screen.until("only a1", |screen| screen.line_of("risk").is_some() && screen.line_of("shop").is_none()).await;
    screen.press("\r").await;
    screen.until_text("1 session  MONTE").await;
    screen.until_text("q quit").await;
    // Esc brings back the filter that was there before.
    screen.press("/x").await;
    screen.until_text("No live sessions match.").await;
    screen.press("\u{1b}").await;
    screen.until_text("1 session  MONTE").await;
    screen.press("/\u{15}prod\r").await;
    screen.until("only b1", |screen| screen.line_of("shop").is_some() && screen.line_of("risk").is_none()).await;
    screen.press("/\u{15}\r").await;
    screen.until_text("2 sessions ").await;
    screen.press("?").await;
    screen.until_text("any key goes back").await;
    screen.press("q").await;
    screen.until_text("2 sessions ").await;
    screen.press("\u{3}").await;
    assert_eq!(screen.end().await.code(), Some(0));
}

#[tokio::test]
async fn the_selection_moves_with_the_keys_and_stays_with_its_session() {
    let server = Server::start().await;
    for id in ["a1", "a2", "a3"] {
        put(&server, id, json!({"app_name": format!("app-{id}"), "meta": {"tag": id}})).await;
    }
    let mut screen = Screen::run(&server.url, &["watch"], 12, 70);
    screen.until_text("3 sessions").await;
    assert_eq!(selected(&screen), None);
    screen.press("j").await;
    until_selected(&mut screen, "app-a3").await;
    screen.until_text("a3  started").await;
    screen.until_text("tag=a3").await;
    screen.press("\u{1b}[B").await;
    until_selected(&mut screen, "app-a2").await;
    screen.press("k").await;
    until_selected(&mut screen, "app-a3").await;
    screen.press("G").await;
    until_selected(&mut screen, "app-a1").await;
    // A session at work goes to the top, and the selection with it.
    put_status(&server, "a1").await;
    let moved = |screen: &Screen| screen.line_of("app-a1") < screen.line_of("app-a3");
    screen.until("a1 at the top", moved).await;
    until_selected(&mut screen, "app-a1").await;
    screen.press("\u{1b}").await;
    screen.until("nothing selected", |screen| selected(screen).is_none()).await;
}

/// Makes the session busy.
async fn put_status(server: &Server, id: &str) {
    let body = json!({"app_name": format!("app-{id}"), "status": "running", "current_task": "Q4"});
    // Without its token the session belongs to whoever has the command line's.
    server.api().put_session(id, &body, None).await.expect("the same session");
}

#[tokio::test]
async fn a_kill_is_confirmed_and_its_steps_are_shown() {
    let server = Server::start().await;
    let client = server.client("risk", false).await;
    let id = client.id.clone();
    let mut screen = Screen::run(&server.url, &["watch", "--by", "eve"], 14, 140);
    screen.until_text(&id).await;
    screen.press("jx").await;
    screen.until_text(&format!("End {id}  risk  ana?")).await;
    screen.press("month end").await;
    screen.until_text("Reason: month end").await;
    // A pasted line break and a pasted y are text, or nothing; they never confirm.
    screen.press("\u{1b}[200~\ry\u{1b}[201~\u{7f}").await;
    screen.press("\r").await;
    screen.until_text("y end this session").await;
    screen.until_text("Reason: month end").await;
    server.session("risk", |row| !row.session.kill_requested).await;
    let obeying = tokio::spawn(client.obey());
    screen.press("y").await;
    screen.until_text("gone: delivered ").await;
    let told = screen.lines().join("\n");
    assert!(told.contains(", acknowledged ") && told.contains("(killed)"), "{told}");
    screen.until_text("0 sessions").await;
    obeying.await.expect("the client's socket is closed");
    let events = server.api().timeline(&id).await.expect("a timeline");
    let kill = events.iter().find(|event| event["kind"] == "kill_requested").expect("a kill");
    assert_eq!((&kill["reason"], &kill["by"]), (&json!("month end"), &json!("eve")));
    screen.press("q").await;
    assert_eq!(screen.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_cancelled_kill_asks_nobody_to_end() {
    let server = Server::start().await;
    let client = server.client("risk", false).await;
    let mut screen = Screen::run(&server.url, &["watch"], 12, 100);
    screen.until_text("1 session ").await;
    screen.press("x").await;
    screen.until_text("Select a session first").await;
    for cancel in ["\u{1b}", "\rn", "why\r\u{1b}"] {
        screen.press("\u{1b}").await;
        let shown = ["Cancelled", "Select a session"];
        let cleared = |screen: &Screen| shown.iter().all(|text| screen.line_of(text).is_none());
        screen.until("no message", |screen| cleared(screen) && selected(screen).is_none()).await;
        screen.press("jx").await;
        screen.until_text(&format!("End {}", client.id)).await;
        screen.press(cancel).await;
        screen.until_text("Cancelled: nobody was asked to end.").await;
    }
    screen.press("q").await;
    assert_eq!(screen.end().await.code(), Some(0));
    assert_eq!(server.story(&client.id).await, ["registered"]);
}

#[tokio::test]
async fn a_session_that_does_not_answer_is_shown_as_unconfirmed() {
    let server = Server::start().await;
    let client = server.client("risk", true).await;
    let mut screen = Screen::run(&server.url, &["watch"], 12, 140);
    screen.until_text(&client.id).await;
    screen.press("jx\r").await;
    screen.until_text("y end this session").await;
    screen.press("y").await;
    screen.until_text("unconfirmed: delivered, but not acknowledged in time").await;
    screen.until_text("! unconfirmed 1").await;
}

#[tokio::test]
async fn what_the_server_refuses_is_told_and_the_screen_goes_on() {
    let server = Server::start_with(&["--strict"]).await;
    let (viewer, ingest) = (server.token("view"), server.token("ingest"));
    let running = cli_to(&server.url, &["run", "--app", "job", "--token", &ingest, "--", "sleep", "1000"]).spawn();
    let _running = running.expect("it starts");
    let mut screen = Screen::run_with(&server.url, &["watch"], &[("SESSIONWATCH_TOKEN", &viewer)], 12, 140);
    screen.until_text("job").await;
    screen.press("jx\r").await;
    screen.until_text("y end this session").await;
    screen.press("y").await;
    screen.until_text("not asked to end: ").await;
    screen.until_text("1 session ").await;
    screen.press("q").await;
    assert_eq!(screen.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_terminal_may_be_small_and_change_its_size() {
    let server = Server::start().await;
    for id in ["a1", "a2", "a3", "a4", "a5", "a6"] {
        put(&server, id, json!({"app_name": "risk", "user_id": "ana", "current_task": "Q4 report"})).await;
    }
    let mut screen = Screen::run(&server.url, &["watch"], 8, 30);
    screen.until_text("● Live").await;
    screen
        .until("state, app and no id", |screen| screen.line_of("APP").is_some() && screen.line_of("ID").is_none())
        .await;
    screen.resize(20, 120);
    screen.until("all columns", |screen| screen.line_of("ID").is_some()).await;
    screen.until("all sessions", |screen| screen.line_of("a1").is_some() && screen.line_of("a6").is_some()).await;
    screen.resize(3, 20);
    screen.until("three lines", |screen| screen.line_of("idle").is_none_or(|at| at < 3)).await;
    screen.resize(1, 4);
    screen.resize(12, 70);
    screen.until_text("q quit").await;
    screen.until_text("6 sessions").await;
    screen.press("q").await;
    assert_eq!(screen.end().await.code(), Some(0));
}

#[tokio::test]
async fn without_colours_the_selection_still_shows() {
    let server = Server::start().await;
    put(&server, "a1", json!({"app_name": "risk"})).await;
    let mut screen = Screen::run_with(&server.url, &["watch"], &[("NO_COLOR", "1")], 12, 70);
    screen.until_text("1 session ").await;
    screen.press("j").await;
    until_selected(&mut screen, "risk").await;
    let (rows, columns) = screen.emulated().size();
    let cells = (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |column| (row, column)));
    let colours = cells.filter_map(|(row, column)| screen.emulated().cell(row, column)).map(vt100::Cell::fgcolor);
    assert!(colours.into_iter().all(|colour| colour == vt100::Color::Default));
}

#[tokio::test]
async fn no_text_of_a_session_reaches_the_terminal_as_a_control() {
    let server = hostile::Server::start(Arc::new(hostile::sessions())).await;
    let mut screen = Screen::run(&server.url, &["watch"], 20, 120);
    screen.until_text("3 sessions").await;
    screen.press("j").await;
    until_selected(&mut screen, "evil").await;
    screen.press("x").await;
    screen.until_text("End evil").await;
    screen.press("\u{1b}").await;
    screen.until_text("Cancelled").await;
    screen.press("q").await;
    screen.end().await;
    assert!(screen.line_of("3 sessions").is_none(), "the alternate screen was left");
    hostile::is_clean(&screen.raw);
    let mut ls = Screen::run(&server.url, &["ls"], 20, 120);
    ls.end().await;
    hostile::is_clean(&ls.raw);
    assert!(ls.line_of("\\u{1b}]0;owned\\u{7}").is_some(), "{:#?}", ls.lines());
}

#[tokio::test]
async fn wide_and_combining_characters_line_up() {
    let server = hostile::Server::start(Arc::new(hostile::sessions())).await;
    for words in [&["watch"][..], &["ls"]] {
        let mut screen = Screen::run(&server.url, words, 20, 120);
        screen.until_text("wide").await;
        screen.until_text("plain").await;
        let column = |screen: &Screen, text: &str, line: &str| {
            let row = u16::try_from(screen.line_of(line).expect("the line")).expect("a row");
            let text_at = |column: u16| {
                let rest = screen.emulated().contents_between(row, column, row, 119);
                rest.starts_with(text)
            };
            (0..120).find(|column| text_at(*column)).unwrap_or_else(|| panic!("{text} in {:#?}", screen.lines()))
        };
        let plain = column(&screen, "task-of-plain", "plain");
        assert_eq!(column(&screen, "task-of-wide", "task-of-wide"), plain, "{:#?}", screen.lines());
    }
}
