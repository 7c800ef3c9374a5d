//! The address that a request comes from. Only proxies that the configuration names are believed.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address of the client: the peer's, or, where that is a trusted proxy, the last one in `X-Forwarded-For` that is
/// not a trusted proxy too. What stands left of it the client could have written itself.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    if !is_trusted(&address) {
        return address;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    for text in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(next) = text.trim().parse::<IpAddr>() else { break };
        address = next.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    address
}

/// What counts as one address for rate limits: whoever has an IPv6 address usually has the whole /64.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a network")];
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2".parse().expect("a value"));
        assert_eq!(client_address(address("9.9.9.9"), &headers, &trusted), address("9.9.9.9"));
        assert_eq!(client_address(address("10.0.0.1"), &headers, &trusted), address("1.2.3.4"));
        assert_eq!(client_address(address("::ffff:10.0.0.1"), &headers, &trusted), address("1.2.3.4"));
        assert_eq!(client_address(address("10.0.0.1"), &headers, &[]), address("10.0.0.1"));
        headers.append("x-forwarded-for", "5.6.7.8".parse().expect("a value"));
        assert_eq!(client_address(address("10.0.0.1"), &headers, &trusted), address("5.6.7.8"));
        headers.append("x-forwarded-for", "nonsense".parse().expect("a value"));
        assert_eq!(client_address(address("10.0.0.1"), &headers, &trusted), address("10.0.0.1"));
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        assert_eq!(network_of(address("2001:db8:1:2:3::4")), network_of(address("2001:db8:1:2::5")));
        assert_ne!(network_of(address("2001:db8:1:2::4")), network_of(address("2001:db8:1:3::4")));
        assert_eq!(network_of(address("1.2.3.4")), address("1.2.3.4"));
    }
}
