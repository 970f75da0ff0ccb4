//! How much may be open or under way at once: sockets and event streams of one address,
//! lists of the whole server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::{Answer, Problem};
use crate::per_address::{AddressPlace, PerAddress};

/// Lists that may be sent at once. Each keeps the sessions as they were when it began, which
/// costs the memory of what has changed since.
const LISTS_AT_ONCE: usize = 16;
/// How long a request waits for a free place among the lists.
const LISTS_WAIT: Duration = Duration::from_secs(10);
/// When a client should try again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("10");

/// Takes a place for one more `what` (sockets, event streams) of this address; dropping the
/// place gives it back.
///
/// # Errors
/// 503 when the address has as many open as it may.
pub fn take_place(places: &PerAddress, address: IpAddr, what: &str) -> Result<AddressPlace, Problem> {
    places.take(address).ok_or_else(|| {
        let detail = format!("{} {what} are open from this address; close some first", places.most());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, RETRY_AFTER)
    })
}

/// How often one target of alerts may be tested.
const TEST_EVERY: Duration = Duration::from_secs(5);

/// When each target of alerts was tested last. There are as many as the rules file has.
#[derive(Default)]
pub struct Tests(Mutex<HashMap<String, Instant>>);

impl Tests {
    /// Notes a test of this target.
    ///
    /// # Errors
    /// 429 when the last one is too recent.
    pub fn take(&self, target: &str) -> Answer<()> {
        let mut last = self.0.lock();
        last.retain(|_, at| at.elapsed() < TEST_EVERY);
        if last.contains_key(target) {
            let detail = "this target was tested a moment ago; wait five seconds";
            let retry = HeaderValue::from_static("5");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with_header(header::RETRY_AFTER, retry));
        }
        last.insert(target.to_owned(), Instant::now());
        Ok(())
    }
}

/// The places for lists that are being sent.
pub struct Lists(Arc<Semaphore>);

impl Default for Lists {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTS_AT_ONCE)))
    }
}

impl Lists {
    /// Takes a place, or waits up to 10 s for one.
    ///
    /// # Errors
    /// 503 when no place becomes free in that time.
    pub async fn take(&self) -> Answer<OwnedSemaphorePermit> {
        match timeout(LISTS_WAIT, self.0.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let detail = "too many lists are being read; try again in a moment, or ask for less with limit";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_header(header::RETRY_AFTER, RETRY_AFTER))
            }
        }
    }
}
