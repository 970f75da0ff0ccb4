//! A limit per address on what is open at once: connections, sockets or event streams.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use dashmap::DashMap;

/// Counts what each address has open. Loopback addresses are not counted.
pub struct PerAddress {
    most: usize,
    open: Arc<DashMap<IpAddr, usize>>,
}

/// One of an address's places; released when dropped.
#[derive(Debug, Default)]
pub struct AddressPlace(Option<(Arc<DashMap<IpAddr, usize>>, IpAddr)>);

impl PerAddress {
    /// Allows `most` for each address.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// The limit of each address.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes a place; `None` when the address has reached its limit.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<AddressPlace> {
        if address.is_loopback() {
            return Some(AddressPlace(None));
        }
        let address = subscriber(address);
        let mut open = self.open.entry(address).or_default();
        if *open >= self.most {
            return None;
        }
        *open += 1;
        Some(AddressPlace(Some((self.open.clone(), address))))
    }
}

/// The address that is counted: an IPv6 subscriber has a whole /64, so its first address
/// stands for all of them.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        if let Some((open, address)) = &self.0 {
            open.remove_if_mut(address, |_, count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 8;

    #[test]
    fn an_address_has_its_places_and_gets_them_back() {
        let places = PerAddress::new(MOST);
        let take = |address: &str| places.take(address.parse().expect("an address"));
        let taken: Vec<AddressPlace> = (0..MOST).map(|_| take("192.0.2.7").expect("a place")).collect();
        assert!(take("192.0.2.7").is_none());
        assert!(take("192.0.2.8").is_some(), "another address has its own");
        drop(taken);
        assert!(take("192.0.2.7").is_some());
        assert!(places.open.is_empty(), "an address with nothing open takes no memory");
    }

    #[test]
    fn an_ipv6_subscriber_counts_as_one_and_loopback_is_not_counted() {
        let places = PerAddress::new(MOST);
        let take = |address: String| places.take(address.parse().expect("an address"));
        let _taken: Vec<AddressPlace> =
            (0..MOST).map(|n| take(format!("2001:db8:0:1::{n:x}")).expect("a place")).collect();
        assert!(take("2001:db8:0:1:ffff::1".to_owned()).is_none());
        assert!(take("2001:db8:0:2::1".to_owned()).is_some());
        let local: Vec<_> = (0..=MOST).map(|_| take("127.0.0.1".to_owned())).collect();
        assert!(local.iter().all(Option::is_some));
    }
}
