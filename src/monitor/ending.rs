//! The end of the server, and the time before it in which its sockets are closed one by one.

use std::time::Duration;

use tokio::sync::watch;

use crate::timing::random_part;

/// How far the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The server runs.
    #[default]
    No,
    /// Sockets are closed, spread over this time, so that their clients do not come back to
    /// other servers all at once. Requests are still answered.
    Draining(Duration),
    /// The server ends.
    Now,
}

/// Waits until the server ends.
pub async fn ended(ending: &mut watch::Receiver<Ending>) {
    // An error means that the monitor is gone, which is the end as well.
    let _ = ending.wait_for(|ending| *ending == Ending::Now).await;
}

/// Waits until one socket has to close: at its moment of a drain, or when the server ends.
pub async fn must_close(ending: &mut watch::Receiver<Ending>) {
    let draining = ending.wait_for(|ending| *ending != Ending::No).await.map(|ending| *ending);
    if let Ok(Ending::Draining(over)) = draining {
        let _ = tokio::time::timeout(random_part(over), ended(ending)).await;
    }
}
