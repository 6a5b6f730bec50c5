//! What hosts are counted by.

use std::net::{IpAddr, Ipv6Addr};

/// The network of an address that one host has to itself: the address of version 4, also where it is written as one of version 6, or the
/// first 64 bits of one of version 6, since one host has 2^64 of these.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_network_however_its_addresses_are_written() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.3"), "192.0.2.3");
        assert_eq!(network("::ffff:192.0.2.3"), "192.0.2.3");
    }
}
