//! The arrangement that is shown: two sleds, three guests, an internet.
//!
//! What the sleds are told stands in `sled_a.toml` and `sled_b.toml`; all
//! addresses of the demo are read from them. Scenarios use it, too.

use crate::lab::rack::Plan;

/// The sleds, A with g1 and g2, and B with g3.
pub(crate) const PLANS: [Plan<'_>; 2] = [
    Plan {
        name: "sled-a",
        setup: include_str!("sled_a.toml"),
    },
    Plan {
        name: "sled-b",
        setup: include_str!("sled_b.toml"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fabric::mappings;
    use opte_core::api::Setup;
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv6Addr};

    fn setups() -> Vec<Setup> {
        PLANS
            .iter()
            .map(|plan| toml::from_str(plan.setup).unwrap())
            .collect()
    }

    #[test]
    fn the_sleds_agree_on_where_everything_is() {
        let setups = setups();
        let [a, b] = setups.as_slice() else {
            panic!("two sleds")
        };
        assert_eq!(a.v2p, b.v2p);
        assert_eq!(a.v2b, b.v2b);
        for setup in &setups {
            let here = setup.underlay.as_ref().unwrap().address;
            for port in &setup.ports {
                let own: Vec<_> = a.v2p.iter().filter(|v2p| v2p.mac == port.mac).collect();
                assert_eq!(own.len(), 2);
                assert!(
                    own.iter()
                        .all(|v2p| v2p.sled == here && v2p.vni == port.vni)
                );
            }
        }
    }

    #[test]
    fn no_two_guests_share_an_address_or_an_external_port() {
        let mut seen = BTreeSet::new();
        for setup in setups() {
            for port in &setup.ports {
                let mut address = |ip: IpAddr| assert!(seen.insert((ip, 0)), "{ip} twice");
                address(IpAddr::V4(port.ipv4.unwrap().address));
                address(IpAddr::V6(port.ipv6.unwrap().address));
                for mapping in mappings(port, Ipv6Addr::LOCALHOST) {
                    for port in mapping.ports {
                        assert!(seen.insert((mapping.external.addr(), port)), "{port} twice");
                    }
                }
            }
        }
    }
}
