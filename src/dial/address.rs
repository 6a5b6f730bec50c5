//! Classes of addresses that a fetch for a third party must not reach.
//!
//! The cloud metadata services are link-local (`169.254.169.254`) or, on EC2 over IPv6, a fixed unique-local address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// `169.254.0.0/16`, `fe80::/10`, and `fd00:ec2::/32`, where EC2 has the services that IPv4 puts on link-local addresses.
    LinkLocal,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `224.0.0.0/4`, `ff00::/8`, and the broadcast address.
    Multicast,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
        })
    }
}

/// The class of an address, `None` for an ordinary one. An IPv4 address inside an IPv6 one is judged as the IPv4 address.
pub(super) fn class_of(address: IpAddr) -> Option<AddressClass> {
    match address {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => class_of_v6(v6),
    }
}

fn class_of_v4(address: Ipv4Addr) -> Option<AddressClass> {
    if address.is_link_local() {
        Some(AddressClass::LinkLocal)
    } else if address.is_loopback() {
        Some(AddressClass::Loopback)
    } else if address.octets()[0] == 0 {
        Some(AddressClass::Unspecified)
    } else if address.is_multicast() || address.is_broadcast() {
        Some(AddressClass::Multicast)
    } else {
        None
    }
}

fn class_of_v6(address: Ipv6Addr) -> Option<AddressClass> {
    if address.is_loopback() {
        return Some(AddressClass::Loopback);
    }
    if address.is_unspecified() {
        return Some(AddressClass::Unspecified);
    }
    if address.is_multicast() {
        return Some(AddressClass::Multicast);
    }
    let ec2_services = address.segments()[..2] == [0xfd00, 0x0ec2];
    if address.is_unicast_link_local() || ec2_services {
        return Some(AddressClass::LinkLocal);
    }
    embedded_v4(address).and_then(class_of_v4)
}

/// The IPv4 address that a packet to this IPv6 address ends at: mapped, compatible, NAT64 or 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let v4 = |high: u16, low: u16| {
        let [h1, h2] = high.to_be_bytes();
        let [l1, l2] = low.to_be_bytes();
        Ipv4Addr::new(h1, h2, l1, l2)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(v4(high, low)),
        (0x2002, high, low, ..) => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_metadata_services_and_of_this_machine_have_a_class() {
        let classes = [
            ("169.254.169.254", Some(AddressClass::LinkLocal)),
            ("169.253.169.254", None),
            ("fe80::1", Some(AddressClass::LinkLocal)),
            ("febf::1", Some(AddressClass::LinkLocal)),
            ("fec0::1", None),
            ("fd00:ec2::254", Some(AddressClass::LinkLocal)),
            ("fd00:ec3::254", None),
            ("::ffff:169.254.169.254", Some(AddressClass::LinkLocal)),
            ("64:ff9b::a9fe:a9fe", Some(AddressClass::LinkLocal)),
            ("2002:a9fe:a9fe::1", Some(AddressClass::LinkLocal)),
            ("::ffff:10.0.0.1", None),
            ("127.0.0.1", Some(AddressClass::Loopback)),
            ("127.255.255.254", Some(AddressClass::Loopback)),
            ("128.0.0.1", None),
            ("::1", Some(AddressClass::Loopback)),
            ("::2", Some(AddressClass::Unspecified)),
            ("::ffff:127.0.0.1", Some(AddressClass::Loopback)),
            ("::127.0.0.1", Some(AddressClass::Loopback)),
            ("0.0.0.0", Some(AddressClass::Unspecified)),
            ("0.1.2.3", Some(AddressClass::Unspecified)),
            ("::", Some(AddressClass::Unspecified)),
            ("1.0.0.0", None),
            ("224.0.0.1", Some(AddressClass::Multicast)),
            ("239.255.255.255", Some(AddressClass::Multicast)),
            ("255.255.255.255", Some(AddressClass::Multicast)),
            ("ff02::1", Some(AddressClass::Multicast)),
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("172.16.0.1", None),
            ("fd12:3456::1", None),
            ("2001:db8::1", None),
        ];
        for (text, class) in classes {
            assert_eq!(class_of(text.parse().unwrap()), class, "{text}");
        }
    }
}
