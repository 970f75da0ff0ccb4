//! The rate limit of log lines about refused secrets: at most one line per second and
//! address, so that guessing does not fill the disk. Its memory is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Shortest time between two log lines about an address.
const EVERY: Duration = Duration::from_secs(1);
/// Most addresses that are remembered; refusals of more are not logged.
const ADDRESSES: usize = 1_024;

/// For each address the time of its last log line, and the refusals since.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<IpAddr, (Instant, u64)>>);

/// The address that is counted: for IPv6 the first one of the subscriber's /64.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Refusals {
    /// Counts a refusal. When it is to be logged, returns the number of earlier refusals of
    /// the same address that were not logged.
    pub(super) fn count(&self, from: IpAddr, now: Instant) -> Option<u64> {
        let mut lately = self.0.lock();
        let address = subscriber(from);
        if !lately.contains_key(&address) && lately.len() >= ADDRESSES {
            lately.retain(|_, (logged, _)| now.duration_since(*logged) < EVERY);
            if lately.len() >= ADDRESSES {
                return None;
            }
        }
        match lately.get_mut(&address) {
            Some((logged, missed)) if now.duration_since(*logged) < EVERY => {
                *missed += 1;
                None
            }
            Some((logged, missed)) => {
                *logged = now;
                Some(std::mem::take(missed))
            }
            None => {
                lately.insert(address, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_logged_once_a_second_and_the_memory_is_bounded() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let from = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
        assert_eq!(refusals.count(from(1), now), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.count(from(1), now), None);
        }
        assert_eq!(refusals.count(from(1), now + EVERY), Some(5));
        let told = (0..10_000).filter(|n| refusals.count(from(*n), now + EVERY).is_some()).count();
        assert!(told <= ADDRESSES && refusals.0.lock().len() <= ADDRESSES);
        assert_eq!(refusals.count(from(70_000), now + EVERY * 3), Some(0), "there is room again");
        let v6 = |text: &str| text.parse().expect("an address");
        assert_eq!(refusals.count(v6("2001:db8::1"), now + EVERY * 3), Some(0));
        assert_eq!(refusals.count(v6("2001:db8::2"), now + EVERY * 3), None, "one subscriber");
    }
}
