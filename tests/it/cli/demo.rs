//! The demo's company on a real server.

use std::{collections::HashSet, time::Duration};

use sessionwatch::{cli::store::Store, demo};
use tokio::{sync::oneshot, time::Instant};

use super::support::Server;

#[tokio::test]
async fn the_company_comes_obeys_and_goes_at_once() {
    let server = Server::start().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let company = tokio::spawn(demo::populate(server.url.clone(), 60, stopped));
    let crowd = |store: &Store| {
        let apps: HashSet<&str> = store.rows().map(|row| row.session.app_name.as_str()).collect();
        let busy = store.rows().any(|row| row.session.current_task.is_some());
        (store.rows().count() >= 50 && apps.len() >= 5 && busy).then_some(())
    };
    server.until("a crowd", crowd).await;
    // One on a socket of its own is asked to end, acknowledges, and does not come back.
    let page = server.session("shop", |row| row.raw["connected"] == true && !row.session.kill_requested).await;
    let output = server.done(&["kill", &page.session.session_id, "--reason", "a test"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let story = server.story(&page.session.session_id).await;
    assert!(
        story.ends_with(&["kill_delivered".to_owned(), "kill_acknowledged".to_owned(), "removed killed".to_owned()]),
        "{story:?}"
    );
    let told = Instant::now();
    stop.send(()).expect("it plays");
    company.await.expect("it ends by itself");
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
}
