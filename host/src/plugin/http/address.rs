//! Which addresses may be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a connection to the address is allowed. `named` tells that the user wrote the host himself: then it may be
/// this computer or one of a private network.
pub(super) fn is_allowed(address: IpAddr, named: bool) -> bool {
    let kind = kind(address);
    kind == Kind::Public || (named && kind == Kind::Private)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Anybody's.
    Public,
    /// This computer, or a private network.
    Private,
    /// Nothing that keeps chunks: link-local ones, where clouds hand out credentials, and what is no single host.
    Never,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => within(address).map_or_else(|| kind_v6(address), kind_v4),
    }
}

/// The older address that is wrapped into a newer one: mapped, compatible, NAT64, 6to4.
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    let [a, b, ..] = address.octets();
    // Alibaba's and Azure's ways to their metadata, which are not link-local.
    let metadata = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
    if address.is_link_local() || a == 0 || a >= 224 || metadata.contains(&address) {
        Kind::Never
    } else if address.is_loopback() || address.is_private() || (a == 100 && b & 0xc0 == 64) {
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let first = address.segments()[0];
    // Amazon's way to its metadata, inside of what is otherwise private.
    let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let link_local = first & 0xffc0 == 0xfe80;
    if link_local || address.is_unspecified() || address.is_multicast() || address == metadata {
        Kind::Never
    } else if address.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
        Kind::Private
    } else {
        Kind::Public
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_reached() {
        let allowed = |text: &str, named| is_allowed(text.parse().unwrap(), named);
        for public in ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"] {
            assert!(allowed(public, false) && allowed(public, true), "{public}");
        }
        let private = [
            "127.0.0.1",
            "127.8.9.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "2002:7f00:1::",
            "64:ff9b::a00:1",
        ];
        for private in private {
            assert!(!allowed(private, false) && allowed(private, true), "{private}");
        }
        let never = [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
        ];
        for never in never {
            assert!(!allowed(never, false) && !allowed(never, true), "{never}");
        }
    }
}
