//! `sessionwatch kill`: only what is gone counts as done.

use std::time::Duration;

use super::support::*;

#[tokio::test]
async fn a_session_that_obeys_is_confirmed_with_its_steps() {
    let server = Server::start().await;
    let client = server.client("risk", false).await;
    let id = client.id.clone();
    let client = tokio::spawn(client.obey());
    let output = server.done(&["kill", &id, "--reason", "month end"]).await;
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{told}{}", stderr(&output));
    assert!(
        told.contains("requested") && told.contains("gone: delivered ") && told.contains(", acknowledged "),
        "{told}"
    );
    assert!(told.contains("removed ") && told.contains(" ms (killed)"), "{told}");
    client.await.expect("the client's socket is closed");
    // Asking again is answered with what is so.
    let again = server.done(&["kill", &id]).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stdout(&again).contains("gone already"), "{}", stdout(&again));
}

#[tokio::test]
async fn a_session_that_does_not_answer_is_unconfirmed() {
    let server = Server::start().await;
    let client = server.client("risk", true).await;
    let output = server.done(&["kill", &client.id]).await;
    assert_eq!(output.status.code(), Some(3), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("unconfirmed: "), "{}", stdout(&output));
    // The request stands: asked once more, the answer is the same at once.
    let again = server.done(&["kill", &client.id]).await;
    assert_eq!(again.status.code(), Some(3), "{}", stdout(&again));
}

#[tokio::test]
async fn an_unknown_id_is_told_and_the_others_are_ended_all_the_same() {
    let server = Server::start().await;
    let client = server.client("risk", false).await;
    let id = client.id.clone();
    let obeying = tokio::spawn(client.obey());
    let output = server.done(&["kill", "no-such-id", &id]).await;
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("no-such-id"), "{}", stderr(&output));
    assert!(stdout(&output).contains("gone: "), "{}", stdout(&output));
    obeying.await.expect("the client's socket is closed");
}

#[tokio::test]
async fn a_whole_app_is_ended_only_with_consent() {
    let server = Server::start().await;
    let clients = [server.client("risk", false).await, server.client("risk", true).await];
    let _other = server.client("shop", false).await;
    let output = server.done(&["kill", "app:risk"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("2 sessions (app:risk)") && stderr(&output).contains("--yes"),
        "{}",
        stderr(&output)
    );
    server.session("risk", |row| !row.session.kill_requested).await;
    for client in clients {
        tokio::spawn(client.obey());
    }
    let output = server.done(&["kill", "app:risk", "--yes"]).await;
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("2 sessions asked to end now"), "{}", stdout(&output));
    server.gone("risk").await;
    server.session("shop", |row| !row.session.kill_requested).await;
    let none = server.done(&["kill", "app:nobody", "--yes"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("nobody"), "{}", stderr(&none));
}

#[tokio::test]
async fn the_wait_for_an_end_can_be_shortened() {
    let server = Server::start_with(&["--kill-grace", "15s"]).await;
    let client = server.client("risk", true).await;
    let began = tokio::time::Instant::now();
    let output = server.done(&["kill", &client.id, "--timeout", "300ms"]).await;
    assert_eq!(output.status.code(), Some(3), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("the request stands"), "{}", stdout(&output));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
