//! Refused secrets in the server's log: one line a second for each address at most, so
//! that who guesses fills no disk, and in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// An address is told of once in this time.
const EVERY: Duration = Duration::from_secs(1);
/// Addresses that are remembered.
const ADDRESSES: usize = 1_024;

/// Who was refused lately.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<IpAddr, (Instant, u64)>>);

/// An IPv6 subscriber has a whole /64.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Refusals {
    /// Whether this one is to be told of; if so, how many of the same address were not since
    /// the last that was.
    pub(super) fn count(&self, from: IpAddr, now: Instant) -> Option<u64> {
        let mut lately = self.0.lock();
        let address = subscriber(from);
        if !lately.contains_key(&address) && lately.len() >= ADDRESSES {
            lately.retain(|_, (told, _)| now.duration_since(*told) < EVERY);
            if lately.len() >= ADDRESSES {
                return None;
            }
        }
        match lately.get_mut(&address) {
            Some((told, untold)) if now.duration_since(*told) < EVERY => {
                *untold += 1;
                None
            }
            Some((told, untold)) => {
                *told = now;
                Some(std::mem::take(untold))
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
    fn an_address_is_told_of_once_a_second_and_a_crowd_takes_no_more_room() {
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
