//! External addresses of this host's own ports.
//!
//! Purpose   what one guest sends to another one's external address, both on
//!           this host, goes straight from port to port and not out to the
//!           boundary and back (hairpinning: RFC 4787 REQ-9, RFC 5382 REQ-8).
//! Terms     claim   an external address with a range of its ports, and whose
//!                   it is
//! Rules     A shared address is claimed for the ports of its range only; the
//!           rest of it is some other guest's, perhaps on another host, and
//!           the boundary knows whose. If two ports claim the same, which is a
//!           mistake, one of them has it.

use crate::api::{ExternalIps, PortId, external};
use crate::flow::{Proto, Tuple};
use crate::ordered::OrderedMap;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Who has what.
#[derive(Debug, Default)]
pub(super) struct Claims {
    all: List,
    /// The same for each port, so that a change costs what changes.
    of: OrderedMap<PortId, List>,
}

/// Claims by address, first port and whose they are.
type List = OrderedMap<(IpAddr, u16, PortId), Claim>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    last_port: u16,
    /// The address is the port's alone, in every protocol.
    whole: bool,
}

impl Claims {
    /// Whose is the far end of a flow that leaves by an internet gateway?
    pub(super) fn whose(&self, flow: &Tuple) -> Option<PortId> {
        let remote = flow.remote_ip();
        let (port, mapped) = match flow.proto {
            Proto::TCP | Proto::UDP => (flow.remote_port, true),
            // A reply bears the identifier of who has asked.
            _ if flow.is_echo() => (flow.local_port, true),
            _ => (0, false),
        };
        let up_to = (remote, port, PortId(u32::MAX));
        let ((addr, _, owner), claim) = self.all.last_until(&up_to)?;
        let has = claim.whole || mapped && port <= claim.last_port;
        (*addr == remote && has).then_some(*owner)
    }

    /// Makes a port claim these addresses and no others. Returns the addresses
    /// for which that makes a difference.
    pub(super) fn set(&mut self, owner: PortId, ips: &ExternalIps) -> Vec<IpAddr> {
        let new = of(owner, ips);
        let old = match new.is_empty() {
            true => self.of.remove(&owner),
            false => self.of.insert(owner, new.clone()),
        };
        let old = old.unwrap_or_default();
        let mut changed = Vec::new();
        for (key, claim) in old.iter() {
            if new.get(key) != Some(claim) {
                self.all.remove(key);
                changed.push(key.0);
            }
        }
        for (key, claim) in new {
            if old.get(&key) != Some(&claim) {
                self.all.insert(key, claim);
                changed.push(key.0);
            }
        }
        changed.dedup();
        changed
    }
}

/// What a port with these addresses claims.
fn of(owner: PortId, ips: &ExternalIps) -> List {
    let of = |claim: external::Claim| {
        let key = (claim.address, claim.first_port, owner);
        let last_port = claim.last_port;
        let whole = claim.field != external::SNAT;
        (key, Claim { last_port, whole })
    };
    ips.claims().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Family;
    use crate::flow::tuple::from_ip;

    fn ips(text: &str) -> ExternalIps {
        toml::from_str(text).unwrap()
    }

    fn to(proto: Proto, remote: &str, local_port: u16, remote_port: u16) -> Tuple {
        Tuple {
            local: [9; 16],
            remote: from_ip(remote.parse().unwrap()),
            local_port,
            remote_port,
            proto,
            family: Family::V4,
        }
    }

    #[test]
    fn an_address_is_whose_it_is_and_a_shared_one_by_its_ports() {
        let mut claims = Claims::default();
        let shared = |first, last| {
            ips(&std::format!(
                "snat = [{{ address = \"192.0.2.1\", first_port = {first}, last_port = {last} }}]"
            ))
        };
        claims.set(PortId(1), &shared(1_024, 2_047));
        claims.set(PortId(2), &shared(2_048, 4_095));
        claims.set(PortId(3), &ips("floating = [{ address = \"192.0.2.9\" }]"));
        claims.set(PortId(4), &ips("ephemeral = [\"192.0.2.10\"]"));
        for (addr, port, owner) in [
            ("192.0.2.1", 1_023, None),
            ("192.0.2.1", 1_024, Some(1)),
            ("192.0.2.1", 2_047, Some(1)),
            ("192.0.2.1", 2_048, Some(2)),
            ("192.0.2.1", 4_096, None),
            ("192.0.2.2", 1_024, None),
            ("192.0.2.9", 80, Some(3)),
            ("192.0.2.10", 0, Some(4)),
            ("192.0.2.11", 0, None),
        ] {
            let owner = owner.map(PortId);
            for proto in [Proto::TCP, Proto::UDP] {
                assert_eq!(
                    claims.whose(&to(proto, addr, 7, port)),
                    owner,
                    "{addr} {port}"
                );
            }
            assert_eq!(claims.whose(&to(Proto::ICMP, addr, port, 0)), owner);
        }
        // What has no ports finds whole addresses only.
        assert_eq!(
            claims.whose(&to(Proto(47), "192.0.2.9", 0, 0)),
            Some(PortId(3))
        );
        assert_eq!(claims.whose(&to(Proto(47), "192.0.2.1", 0, 0)), None);
    }

    #[test]
    fn a_change_names_the_addresses_that_it_is_about() {
        let mut claims = Claims::default();
        let both = ips("ephemeral = [\"192.0.2.1\"]\nfloating = [{ address = \"192.0.2.2\" }]");
        let one = ips("ephemeral = [\"192.0.2.1\"]");
        assert_eq!(claims.set(PortId(1), &both).len(), 2);
        assert!(claims.set(PortId(1), &both).is_empty());
        let gone: IpAddr = "192.0.2.2".parse().unwrap();
        assert_eq!(claims.set(PortId(1), &one), [gone]);
        assert_eq!(claims.set(PortId(2), &both).len(), 2, "another port's");
        assert_eq!(claims.set(PortId(1), &ExternalIps::default()).len(), 1);
        let owner = claims.whose(&to(Proto::UDP, "192.0.2.1", 1, 1));
        assert_eq!(owner, Some(PortId(2)));
    }
}
