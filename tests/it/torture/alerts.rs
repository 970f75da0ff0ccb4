//! Alerts through crashes: none that was raised is lost, and one that arrives twice has the same id.

use super::count;
use crate::alerts::through_sigkills;

#[tokio::test]
async fn no_alert_is_lost_through_sigkills() {
    let kills = count("ALERT_KILLS", 5);
    let (answered, posts) = through_sigkills(kills).await;
    println!("{kills} SIGKILLs: {answered} jobs failed and were answered; {posts} posts arrived");
    assert!(answered >= 8 * kills, "{answered}");
}
